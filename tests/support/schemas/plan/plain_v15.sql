-- V15 as plain tables: one for each table of the destination, with the destination's column names. Keys and foreign
-- keys are declared, but nothing else is enforced (no NOT NULL, CHECK or UNIQUE), so that tests can plant bad rows.
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL);
CREATE TABLE embedding_model (id INTEGER PRIMARY KEY, name TEXT, dimension INTEGER, hash TEXT, created_at TEXT);
CREATE TABLE users (
    id TEXT PRIMARY KEY, handle TEXT, display_name TEXT, created_at TEXT, metadata TEXT DEFAULT '{}'
);
CREATE TABLE groups (
    id TEXT PRIMARY KEY, handle TEXT, display_name TEXT, created_at TEXT, metadata TEXT DEFAULT '{}'
);
CREATE TABLE group_memberships (
    user_id TEXT REFERENCES users(id) ON DELETE CASCADE,
    group_id TEXT REFERENCES groups(id) ON DELETE CASCADE,
    role TEXT DEFAULT 'member',
    joined_at TEXT,
    PRIMARY KEY (user_id, group_id)
);
INSERT INTO users (id, handle, created_at)
    VALUES ('00000000-0000-0000-0000-000000000001', 'local', '2026-05-27 09:35:58');
CREATE TABLE domains (
    id TEXT PRIMARY KEY,
    label TEXT,
    centroid BLOB,
    top_terms TEXT DEFAULT '[]',
    memory_count INTEGER DEFAULT 0,
    created_at TEXT
);
CREATE TABLE knowledge_nodes (
    id TEXT PRIMARY KEY,
    content TEXT,
    node_type TEXT DEFAULT 'fact',
    tags TEXT DEFAULT '[]',
    metadata TEXT DEFAULT '{}',
    domains TEXT DEFAULT '[]',
    domain_scores TEXT DEFAULT '{}',
    embedding BLOB,
    codebase TEXT,
    owner_user_id TEXT DEFAULT '00000000-0000-0000-0000-000000000001' REFERENCES users(id),
    visibility TEXT DEFAULT 'private',
    shared_with_groups TEXT DEFAULT '[]',
    created_at TEXT,
    updated_at TEXT
);
CREATE INDEX idx_nodes_created ON knowledge_nodes(created_at);
CREATE TABLE scheduling (
    memory_id TEXT PRIMARY KEY REFERENCES knowledge_nodes(id) ON DELETE CASCADE,
    stability REAL DEFAULT 1.0,
    difficulty REAL DEFAULT 5.0,
    retrievability REAL DEFAULT 1.0,
    last_review TEXT,
    next_review TEXT,
    reps INTEGER DEFAULT 0,
    lapses INTEGER DEFAULT 0
);
CREATE TABLE edges (
    source_id TEXT REFERENCES knowledge_nodes(id) ON DELETE CASCADE,
    target_id TEXT REFERENCES knowledge_nodes(id) ON DELETE CASCADE,
    edge_type TEXT,
    weight REAL DEFAULT 1.0,
    created_at TEXT,
    PRIMARY KEY (source_id, target_id)
);
CREATE TABLE review_events (
    id TEXT PRIMARY KEY,
    memory_id TEXT REFERENCES knowledge_nodes(id) ON DELETE CASCADE,
    occurred_at TEXT,
    retrievability_before REAL,
    retrievability_after REAL,
    rating INTEGER,
    kind TEXT DEFAULT 'review',
    metadata TEXT DEFAULT '{}'
);
