-- V17: where a memory came from, for connectors that fetch from outside.
ALTER TABLE knowledge_nodes ADD COLUMN source_system TEXT;
ALTER TABLE knowledge_nodes ADD COLUMN source_id TEXT;
ALTER TABLE knowledge_nodes ADD COLUMN source_url TEXT;
ALTER TABLE knowledge_nodes ADD COLUMN source_updated_at TEXT;
ALTER TABLE knowledge_nodes ADD COLUMN content_hash TEXT;
ALTER TABLE knowledge_nodes ADD COLUMN synced_at TEXT;
ALTER TABLE knowledge_nodes ADD COLUMN source_project TEXT;
ALTER TABLE knowledge_nodes ADD COLUMN source_type TEXT;
ALTER TABLE knowledge_nodes ADD COLUMN source_author TEXT;
CREATE UNIQUE INDEX idx_nodes_source_key ON knowledge_nodes(source_system, source_id)
    WHERE source_system IS NOT NULL AND source_id IS NOT NULL;
CREATE INDEX idx_nodes_source_system ON knowledge_nodes(source_system) WHERE source_system IS NOT NULL;
CREATE INDEX idx_nodes_source_project ON knowledge_nodes(source_project) WHERE source_project IS NOT NULL;

CREATE TABLE connector_cursors (
    source_system TEXT NOT NULL,
    scope TEXT NOT NULL,
    cursor_updated_at TEXT,
    last_synced_at TEXT,
    last_full_reconcile_at TEXT,
    records_seen INTEGER NOT NULL DEFAULT 0,
    config TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (source_system, scope)
);
