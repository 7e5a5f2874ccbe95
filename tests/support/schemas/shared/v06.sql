-- V6: when the server last dreamed.
CREATE TABLE dream_history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    dreamed_at TEXT NOT NULL,
    duration_ms INTEGER NOT NULL DEFAULT 0,
    memories_replayed INTEGER NOT NULL DEFAULT 0,
    connections_found INTEGER NOT NULL DEFAULT 0,
    insights_generated INTEGER NOT NULL DEFAULT 0,
    memories_strengthened INTEGER NOT NULL DEFAULT 0,
    memories_compressed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX idx_dream_history_dreamed_at ON dream_history(dreamed_at);
