-- Fork "typed": memories with a kind. Vestige's own V11 drops two tables, which stay here.
ALTER TABLE knowledge_nodes ADD COLUMN memory_kind TEXT NOT NULL DEFAULT 'raw';
ALTER TABLE knowledge_nodes ADD COLUMN subject TEXT;
ALTER TABLE knowledge_nodes ADD COLUMN predicate TEXT;
ALTER TABLE knowledge_nodes ADD COLUMN object TEXT;
ALTER TABLE knowledge_nodes ADD COLUMN episodic_at TEXT;
ALTER TABLE knowledge_nodes ADD COLUMN procedural_frequency TEXT;
CREATE INDEX idx_nodes_memory_kind ON knowledge_nodes(memory_kind);
CREATE INDEX idx_nodes_subject ON knowledge_nodes(subject) WHERE subject IS NOT NULL;
CREATE INDEX idx_nodes_episodic_at ON knowledge_nodes(episodic_at) WHERE episodic_at IS NOT NULL;
