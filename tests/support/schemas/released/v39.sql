-- V39: what a walk through the graph was asked, so that it can be done again. Another branch calls this V40.
CREATE TABLE walk_receipts (
    receipt_id TEXT PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    canonical_json TEXT NOT NULL,
    engine_version TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX idx_walk_receipts_created_at ON walk_receipts(created_at DESC);
