-- Fork "gemini" (repository panasee/vestige): vectors of another model, 1,536 floats, beside the old ones.
ALTER TABLE knowledge_nodes ADD COLUMN embedding_v2 BLOB DEFAULT NULL;
ALTER TABLE knowledge_nodes ADD COLUMN gemini_retry_count INTEGER DEFAULT 0;
