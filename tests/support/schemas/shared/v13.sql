-- V13: what was purged, without its content.
CREATE TABLE deletion_tombstones (
    memory_id TEXT PRIMARY KEY,
    deleted_at TEXT NOT NULL,
    reason TEXT,
    node_type TEXT NOT NULL,
    tags TEXT NOT NULL DEFAULT '[]',
    edges_pruned INTEGER NOT NULL DEFAULT 0,
    insights_rewritten INTEGER NOT NULL DEFAULT 0,
    insights_deleted INTEGER NOT NULL DEFAULT 0,
    children_orphaned INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX idx_deletion_tombstones_deleted_at ON deletion_tombstones(deleted_at);
