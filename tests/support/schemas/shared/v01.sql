-- V1: memories with their review state, one vector each, and a full-text index without its own copy of the text.
CREATE TABLE knowledge_nodes (
    id TEXT PRIMARY KEY,
    content TEXT NOT NULL,
    node_type TEXT NOT NULL DEFAULT 'fact',
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    last_accessed TEXT NOT NULL,
    stability REAL DEFAULT 1.0,
    difficulty REAL DEFAULT 5.0,
    reps INTEGER DEFAULT 0,
    lapses INTEGER DEFAULT 0,
    learning_state TEXT DEFAULT 'new',
    storage_strength REAL DEFAULT 1.0,
    retrieval_strength REAL DEFAULT 1.0,
    retention_strength REAL DEFAULT 1.0,
    sentiment_score REAL DEFAULT 0.0,
    sentiment_magnitude REAL DEFAULT 0.0,
    next_review TEXT,
    scheduled_days INTEGER DEFAULT 0,
    source TEXT,
    tags TEXT DEFAULT '[]',
    has_embedding INTEGER DEFAULT 0,
    embedding_model TEXT
);
CREATE INDEX idx_nodes_retention ON knowledge_nodes(retention_strength);
CREATE INDEX idx_nodes_next_review ON knowledge_nodes(next_review);
CREATE INDEX idx_nodes_created ON knowledge_nodes(created_at);
CREATE INDEX idx_nodes_has_embedding ON knowledge_nodes(has_embedding);

CREATE TABLE node_embeddings (
    node_id TEXT PRIMARY KEY REFERENCES knowledge_nodes(id) ON DELETE CASCADE,
    embedding BLOB NOT NULL,
    dimensions INTEGER NOT NULL DEFAULT 768,
    model TEXT NOT NULL DEFAULT 'BAAI/bge-base-en-v1.5',
    created_at TEXT NOT NULL
);

CREATE VIRTUAL TABLE knowledge_fts USING fts5(
    id, content, tags, content='knowledge_nodes', content_rowid='rowid'
);
CREATE TRIGGER knowledge_ai AFTER INSERT ON knowledge_nodes BEGIN
    INSERT INTO knowledge_fts(rowid, id, content, tags) VALUES (new.rowid, new.id, new.content, new.tags);
END;
CREATE TRIGGER knowledge_ad AFTER DELETE ON knowledge_nodes BEGIN
    INSERT INTO knowledge_fts(knowledge_fts, rowid, id, content, tags)
        VALUES ('delete', old.rowid, old.id, old.content, old.tags);
END;
CREATE TRIGGER knowledge_au AFTER UPDATE ON knowledge_nodes BEGIN
    INSERT INTO knowledge_fts(knowledge_fts, rowid, id, content, tags)
        VALUES ('delete', old.rowid, old.id, old.content, old.tags);
    INSERT INTO knowledge_fts(rowid, id, content, tags) VALUES (new.rowid, new.id, new.content, new.tags);
END;

CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL);
