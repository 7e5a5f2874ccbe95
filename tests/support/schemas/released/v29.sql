-- V29: an index over the scope as it is read.
CREATE INDEX idx_nodes_normalized_scope ON knowledge_nodes(COALESCE(NULLIF(trim(scope), ''), 'user'));
