-- Secondary indexes, one statement each, the name first: built after the load on a fresh destination.
CREATE INDEX IF NOT EXISTS idx_knowledge_nodes_search_vec ON knowledge_nodes USING gin (search_vec);
CREATE INDEX IF NOT EXISTS idx_knowledge_nodes_tags ON knowledge_nodes USING gin (tags);
CREATE INDEX IF NOT EXISTS idx_knowledge_nodes_domains ON knowledge_nodes USING gin (domains);
CREATE INDEX IF NOT EXISTS idx_knowledge_nodes_shared_with_groups ON knowledge_nodes USING gin (shared_with_groups);
CREATE INDEX IF NOT EXISTS idx_knowledge_nodes_node_type ON knowledge_nodes (node_type);
CREATE INDEX IF NOT EXISTS idx_knowledge_nodes_created_at ON knowledge_nodes (created_at);
CREATE INDEX IF NOT EXISTS idx_knowledge_nodes_updated_at ON knowledge_nodes (updated_at);
CREATE INDEX IF NOT EXISTS idx_knowledge_nodes_owner_user_id ON knowledge_nodes (owner_user_id);
CREATE INDEX IF NOT EXISTS idx_knowledge_nodes_codebase ON knowledge_nodes (codebase) WHERE codebase IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_knowledge_nodes_scope ON knowledge_nodes ((metadata #>> '{sqlite,scope}')) WHERE (metadata #>> '{sqlite,scope}') IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_scheduling_next_review ON scheduling (next_review);
CREATE INDEX IF NOT EXISTS idx_scheduling_last_review ON scheduling (last_review);
CREATE INDEX IF NOT EXISTS idx_edges_target_id ON edges (target_id);
CREATE INDEX IF NOT EXISTS idx_edges_edge_type ON edges (edge_type);
CREATE INDEX IF NOT EXISTS idx_review_events_memory_id ON review_events (memory_id);
CREATE INDEX IF NOT EXISTS idx_review_events_occurred_at ON review_events (occurred_at);
