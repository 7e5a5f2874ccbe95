-- V19: the key of a fetched record includes its project.
DROP INDEX idx_nodes_source_key;
CREATE UNIQUE INDEX idx_nodes_source_key
    ON knowledge_nodes(source_system, COALESCE(source_project, ''), source_id)
    WHERE source_system IS NOT NULL AND source_id IS NOT NULL;
