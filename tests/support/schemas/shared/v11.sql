-- V11: the two tables of V4 that nothing used go.
DROP TABLE knowledge_edges;
DROP TABLE compressed_memories;
