-- V4: scopes, sessions, versions of embeddings; two tables that nothing ever wrote (dropped in V11).
CREATE TABLE knowledge_edges (
    id TEXT PRIMARY KEY,
    source_id TEXT NOT NULL,
    target_id TEXT NOT NULL,
    edge_type TEXT NOT NULL,
    weight REAL NOT NULL DEFAULT 1.0,
    valid_from TEXT,
    valid_until TEXT,
    created_at TEXT NOT NULL,
    created_by TEXT,
    confidence REAL NOT NULL DEFAULT 1.0,
    metadata TEXT,
    FOREIGN KEY (source_id) REFERENCES knowledge_nodes(id) ON DELETE CASCADE,
    FOREIGN KEY (target_id) REFERENCES knowledge_nodes(id) ON DELETE CASCADE
);
CREATE INDEX idx_edges_source ON knowledge_edges(source_id);
CREATE INDEX idx_edges_target ON knowledge_edges(target_id);
CREATE INDEX idx_edges_type ON knowledge_edges(edge_type);
CREATE INDEX idx_edges_valid_from ON knowledge_edges(valid_from);
CREATE INDEX idx_edges_valid_until ON knowledge_edges(valid_until);

ALTER TABLE knowledge_nodes ADD COLUMN scope TEXT DEFAULT 'user';
CREATE INDEX idx_nodes_scope ON knowledge_nodes(scope);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL DEFAULT 'default',
    started_at TEXT NOT NULL,
    ended_at TEXT,
    context TEXT,
    memory_count INTEGER DEFAULT 0
);
CREATE INDEX idx_sessions_user ON sessions(user_id);
CREATE INDEX idx_sessions_started ON sessions(started_at);

ALTER TABLE node_embeddings ADD COLUMN version INTEGER DEFAULT 1;
CREATE INDEX idx_embeddings_version ON node_embeddings(version);

CREATE TABLE compressed_memories (
    id TEXT PRIMARY KEY,
    original_id TEXT NOT NULL,
    compressed_content TEXT NOT NULL,
    original_length INTEGER NOT NULL,
    compressed_length INTEGER NOT NULL,
    compression_ratio REAL NOT NULL,
    semantic_fidelity REAL NOT NULL,
    compressed_at TEXT NOT NULL,
    model_used TEXT NOT NULL DEFAULT 'llm',
    FOREIGN KEY (original_id) REFERENCES knowledge_nodes(id) ON DELETE CASCADE
);
CREATE INDEX idx_compressed_original ON compressed_memories(original_id);
CREATE INDEX idx_compressed_at ON compressed_memories(compressed_at);

ALTER TABLE knowledge_nodes ADD COLUMN memory_system TEXT DEFAULT 'semantic';
CREATE INDEX idx_nodes_memory_system ON knowledge_nodes(memory_system);
