-- V12: deletions that other devices must learn of.
CREATE TABLE sync_tombstones (
    table_name TEXT NOT NULL,
    row_id TEXT NOT NULL,
    deleted_at TEXT NOT NULL,
    reason TEXT,
    PRIMARY KEY (table_name, row_id)
);
CREATE INDEX idx_sync_tombstones_deleted_at ON sync_tombstones(deleted_at);
