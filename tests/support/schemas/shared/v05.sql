-- V5: access log, activation, and the scheduler's own parameters (one row from the start).
CREATE TABLE memory_access_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    node_id TEXT NOT NULL,
    access_type TEXT NOT NULL,
    accessed_at TEXT NOT NULL,
    FOREIGN KEY (node_id) REFERENCES knowledge_nodes(id) ON DELETE CASCADE
);
CREATE INDEX idx_access_log_node ON memory_access_log(node_id);
CREATE INDEX idx_access_log_time ON memory_access_log(accessed_at);

ALTER TABLE knowledge_nodes ADD COLUMN activation REAL;
CREATE INDEX idx_nodes_activation ON knowledge_nodes(activation);

CREATE TABLE fsrs_config (key TEXT PRIMARY KEY, value REAL NOT NULL, updated_at TEXT NOT NULL);
INSERT INTO fsrs_config (key, value, updated_at) VALUES ('w20', 0.1542, '2025-11-03 08:15:00');

ALTER TABLE consolidation_history ADD COLUMN duplicates_merged INTEGER DEFAULT 0;
ALTER TABLE consolidation_history ADD COLUMN activations_computed INTEGER DEFAULT 0;
ALTER TABLE consolidation_history ADD COLUMN w20_optimized REAL;
