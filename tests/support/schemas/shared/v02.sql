-- V2: when a memory holds true.
ALTER TABLE knowledge_nodes ADD COLUMN valid_from TEXT;
ALTER TABLE knowledge_nodes ADD COLUMN valid_until TEXT;
CREATE INDEX idx_nodes_valid_from ON knowledge_nodes(valid_from);
CREATE INDEX idx_nodes_valid_until ON knowledge_nodes(valid_until);
