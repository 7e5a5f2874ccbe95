-- A V15 file of the plan line with plain tables (docs/versions.md).
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL);
CREATE TABLE embedding_model (
    id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL, dimension INTEGER NOT NULL, hash TEXT, created_at TEXT NOT NULL
);
CREATE TABLE users (
    id TEXT PRIMARY KEY, handle TEXT NOT NULL UNIQUE, display_name TEXT, created_at TEXT NOT NULL, metadata TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE groups (
    id TEXT PRIMARY KEY, handle TEXT NOT NULL UNIQUE, display_name TEXT, created_at TEXT NOT NULL, metadata TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE group_memberships (
    user_id TEXT NOT NULL REFERENCES users (id), group_id TEXT NOT NULL REFERENCES groups (id),
    role TEXT NOT NULL, joined_at TEXT NOT NULL, PRIMARY KEY (user_id, group_id)
);
CREATE TABLE domains (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, centroid BLOB, top_terms TEXT NOT NULL, memory_count INTEGER NOT NULL, created_at TEXT NOT NULL
);
CREATE TABLE knowledge_nodes (
    id TEXT PRIMARY KEY, content TEXT NOT NULL, node_type TEXT NOT NULL, tags TEXT NOT NULL, metadata TEXT NOT NULL,
    domains TEXT NOT NULL, domain_scores TEXT NOT NULL, embedding BLOB, codebase TEXT,
    owner_user_id TEXT NOT NULL REFERENCES users (id), visibility TEXT NOT NULL, shared_with_groups TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL
);
CREATE INDEX idx_nodes_created ON knowledge_nodes (created_at);
CREATE TABLE scheduling (
    memory_id TEXT PRIMARY KEY REFERENCES knowledge_nodes (id), stability REAL, difficulty REAL, retrievability REAL,
    last_review TEXT, next_review TEXT, reps INTEGER, lapses INTEGER
);
CREATE TABLE edges (
    source_id TEXT NOT NULL REFERENCES knowledge_nodes (id), target_id TEXT NOT NULL REFERENCES knowledge_nodes (id),
    edge_type TEXT NOT NULL, weight REAL NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (source_id, target_id)
);
CREATE TABLE review_events (
    id TEXT PRIMARY KEY, memory_id TEXT NOT NULL REFERENCES knowledge_nodes (id), occurred_at TEXT NOT NULL,
    retrievability_before REAL, retrievability_after REAL, rating INTEGER NOT NULL, kind TEXT NOT NULL, metadata TEXT NOT NULL
);
INSERT INTO schema_version VALUES (15, '2026-01-05 08:00:00');
