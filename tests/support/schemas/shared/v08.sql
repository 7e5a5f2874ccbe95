-- V8: replay tags, usefulness, and how retention develops.
ALTER TABLE knowledge_nodes ADD COLUMN waking_tag BOOLEAN DEFAULT FALSE;
ALTER TABLE knowledge_nodes ADD COLUMN waking_tag_at TEXT;
ALTER TABLE knowledge_nodes ADD COLUMN utility_score REAL DEFAULT 0.0;
ALTER TABLE knowledge_nodes ADD COLUMN times_retrieved INTEGER DEFAULT 0;
ALTER TABLE knowledge_nodes ADD COLUMN times_useful INTEGER DEFAULT 0;

CREATE TABLE retention_snapshots (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    snapshot_at TEXT NOT NULL,
    avg_retention REAL NOT NULL,
    total_memories INTEGER NOT NULL,
    memories_below_target INTEGER NOT NULL DEFAULT 0,
    gc_triggered BOOLEAN DEFAULT FALSE
);
CREATE INDEX idx_retention_snapshots_at ON retention_snapshots(snapshot_at);
