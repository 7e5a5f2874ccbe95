-- The plan line's V15: who owns a memory and who may see it. No REFERENCES on owner_user_id: SQLite refuses to add
-- a referencing column that has a default while foreign keys are on, as Vestige has them.
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    handle TEXT NOT NULL UNIQUE,
    display_name TEXT,
    created_at TEXT NOT NULL,
    metadata TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE groups (
    id TEXT PRIMARY KEY,
    handle TEXT NOT NULL UNIQUE,
    display_name TEXT,
    created_at TEXT NOT NULL,
    metadata TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE group_memberships (
    user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    group_id TEXT NOT NULL REFERENCES groups(id) ON DELETE CASCADE,
    role TEXT NOT NULL DEFAULT 'member',
    joined_at TEXT NOT NULL,
    PRIMARY KEY (user_id, group_id)
);
INSERT INTO users (id, handle, created_at)
    VALUES ('00000000-0000-0000-0000-000000000001', 'local', '2026-05-27 09:35:58');

ALTER TABLE knowledge_nodes ADD COLUMN owner_user_id TEXT NOT NULL
    DEFAULT '00000000-0000-0000-0000-000000000001';
ALTER TABLE knowledge_nodes ADD COLUMN visibility TEXT NOT NULL DEFAULT 'private';
ALTER TABLE knowledge_nodes ADD COLUMN shared_with_groups TEXT NOT NULL DEFAULT '[]';
ALTER TABLE knowledge_nodes ADD COLUMN codebase TEXT;
CREATE INDEX idx_nodes_owner ON knowledge_nodes(owner_user_id);
CREATE INDEX idx_nodes_codebase ON knowledge_nodes(codebase) WHERE codebase IS NOT NULL;
