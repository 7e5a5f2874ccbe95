-- V34: suppressions, with the state before, so that they can be taken back.
CREATE TABLE suppression_operations (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    node_id TEXT NOT NULL REFERENCES knowledge_nodes(id) ON DELETE CASCADE,
    created_at TEXT NOT NULL,
    before_state TEXT NOT NULL,
    after_state TEXT NOT NULL,
    reverted_at TEXT
);
CREATE INDEX idx_suppression_operations_active
    ON suppression_operations(node_id, sequence DESC) WHERE reverted_at IS NULL;
