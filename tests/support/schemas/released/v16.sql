-- V16: model registry and domains. The plan line had the very same tables two numbers earlier.
CREATE TABLE embedding_model (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    name TEXT NOT NULL,
    dimension INTEGER NOT NULL,
    hash TEXT NOT NULL,
    created_at TEXT NOT NULL
);
ALTER TABLE knowledge_nodes ADD COLUMN domains TEXT NOT NULL DEFAULT '[]';
ALTER TABLE knowledge_nodes ADD COLUMN domain_scores TEXT NOT NULL DEFAULT '{}';
CREATE INDEX idx_nodes_domains ON knowledge_nodes(domains);
CREATE INDEX idx_nodes_domain_scores ON knowledge_nodes(domain_scores);

CREATE TABLE domains (
    id TEXT PRIMARY KEY,
    label TEXT NOT NULL,
    centroid BLOB,
    top_terms TEXT NOT NULL DEFAULT '[]',
    memory_count INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL
);
CREATE INDEX idx_domains_created_at ON domains(created_at);
