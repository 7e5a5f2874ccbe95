-- Fork "typed" (repository przbat-public/vestige): where a memory came from, as JSON.
ALTER TABLE knowledge_nodes ADD COLUMN provenance TEXT DEFAULT '{}';
