CREATE INDEX IF NOT EXISTS idx_knowledge_nodes_embedding_hnsw ON knowledge_nodes
    USING hnsw (embedding vector_cosine_ops) WITH (m = 16, ef_construction = 64);
