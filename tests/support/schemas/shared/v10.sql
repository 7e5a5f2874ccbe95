-- V10: forgetting on request.
ALTER TABLE knowledge_nodes ADD COLUMN suppression_count INTEGER DEFAULT 0;
ALTER TABLE knowledge_nodes ADD COLUMN suppressed_at TEXT;
CREATE INDEX idx_nodes_suppression_count ON knowledge_nodes(suppression_count) WHERE suppression_count > 0;
CREATE INDEX idx_nodes_suppressed_at ON knowledge_nodes(suppressed_at) WHERE suppressed_at IS NOT NULL;
