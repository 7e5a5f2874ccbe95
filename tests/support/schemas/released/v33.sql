-- V33: what a failure after a retrieval cost the memories retrieved.
CREATE TABLE failure_feedback (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    failure_id TEXT NOT NULL REFERENCES knowledge_nodes(id) ON DELETE CASCADE,
    memory_id TEXT NOT NULL REFERENCES knowledge_nodes(id) ON DELETE CASCADE,
    receipt_id TEXT NOT NULL,
    rank INTEGER NOT NULL CHECK (rank >= 0),
    delta REAL NOT NULL CHECK (delta >= 0),
    applied_at TEXT NOT NULL,
    reverted_at TEXT
);
CREATE INDEX idx_failure_feedback_failure ON failure_feedback(failure_id);
CREATE INDEX idx_failure_feedback_memory ON failure_feedback(memory_id);
