-- Tables and indexes that V12 to V15 (plan line) add to an older file. Every statement may run again.

CREATE INDEX IF NOT EXISTS idx_nodes_domains ON knowledge_nodes (domains);
CREATE INDEX IF NOT EXISTS idx_nodes_domain_scores ON knowledge_nodes (domain_scores);
CREATE INDEX IF NOT EXISTS idx_nodes_owner ON knowledge_nodes (owner_user_id);
CREATE INDEX IF NOT EXISTS idx_nodes_codebase ON knowledge_nodes (codebase) WHERE codebase IS NOT NULL;

CREATE TABLE IF NOT EXISTS sync_tombstones (
    table_name TEXT NOT NULL,
    row_id TEXT NOT NULL,
    deleted_at TEXT NOT NULL,
    reason TEXT,
    PRIMARY KEY (table_name, row_id)
);
CREATE INDEX IF NOT EXISTS idx_sync_tombstones_deleted_at ON sync_tombstones (deleted_at);

CREATE TABLE IF NOT EXISTS deletion_tombstones (
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
CREATE INDEX IF NOT EXISTS idx_deletion_tombstones_deleted_at ON deletion_tombstones (deleted_at);

CREATE TABLE IF NOT EXISTS review_events (
    id TEXT PRIMARY KEY,
    memory_id TEXT NOT NULL REFERENCES knowledge_nodes (id) ON DELETE CASCADE,
    occurred_at TEXT NOT NULL,
    retrievability_before REAL,
    retrievability_after REAL,
    rating INTEGER NOT NULL,
    kind TEXT NOT NULL DEFAULT 'review',
    metadata TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS idx_review_events_memory ON review_events (memory_id);
CREATE INDEX IF NOT EXISTS idx_review_events_occurred_at ON review_events (occurred_at);

CREATE TABLE IF NOT EXISTS embedding_model (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    name TEXT NOT NULL,
    dimension INTEGER NOT NULL CHECK (dimension > 0),
    hash TEXT,
    created_at TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS domains (
    id TEXT PRIMARY KEY,
    label TEXT NOT NULL,
    centroid BLOB,
    top_terms TEXT NOT NULL DEFAULT '[]',
    memory_count INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_domains_created_at ON domains (created_at);

CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY,
    handle TEXT NOT NULL UNIQUE,
    display_name TEXT,
    created_at TEXT NOT NULL,
    metadata TEXT NOT NULL DEFAULT '{}'
);

CREATE TABLE IF NOT EXISTS groups (
    id TEXT PRIMARY KEY,
    handle TEXT NOT NULL UNIQUE,
    display_name TEXT,
    created_at TEXT NOT NULL,
    metadata TEXT NOT NULL DEFAULT '{}'
);

CREATE TABLE IF NOT EXISTS group_memberships (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    role TEXT NOT NULL DEFAULT 'member' CHECK (role IN ('member', 'admin')),
    joined_at TEXT NOT NULL,
    PRIMARY KEY (user_id, group_id)
);

INSERT OR IGNORE INTO users (id, handle, created_at)
VALUES ('00000000-0000-0000-0000-000000000001', 'local', strftime('%Y-%m-%dT%H:%M:%SZ', 'now'));
