-- V31: which lines of code a memory speaks of.
CREATE TABLE code_memory_anchors (
    id TEXT PRIMARY KEY,
    node_id TEXT NOT NULL REFERENCES knowledge_nodes(id) ON DELETE CASCADE,
    file_path TEXT NOT NULL,
    symbol TEXT,
    symbol_kind TEXT,
    start_line INTEGER,
    end_line INTEGER,
    span_lines INTEGER,
    content_hash TEXT,
    captured_at TEXT NOT NULL,
    last_verified_at TEXT,
    last_status TEXT
);
CREATE INDEX idx_code_anchors_node ON code_memory_anchors(node_id);
CREATE INDEX idx_code_anchors_path ON code_memory_anchors(file_path);
