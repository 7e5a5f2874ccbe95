-- V14: merging and superseding memories, with a way back.
ALTER TABLE knowledge_nodes ADD COLUMN protected INTEGER NOT NULL DEFAULT 0;
ALTER TABLE knowledge_nodes ADD COLUMN superseded_by TEXT;
CREATE INDEX idx_nodes_protected ON knowledge_nodes(protected);
CREATE INDEX idx_nodes_superseded_by ON knowledge_nodes(superseded_by);

CREATE TABLE merge_plans (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    created_at TEXT NOT NULL,
    applied_at TEXT,
    survivor_id TEXT,
    member_ids TEXT NOT NULL DEFAULT '[]',
    confidence REAL,
    classification TEXT,
    payload TEXT NOT NULL
);
CREATE INDEX idx_merge_plans_status ON merge_plans(status);
CREATE INDEX idx_merge_plans_created_at ON merge_plans(created_at);

CREATE TABLE merge_operations (
    id TEXT PRIMARY KEY,
    plan_id TEXT,
    op_type TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'applied',
    created_at TEXT NOT NULL,
    reverted_at TEXT,
    reverts_op_id TEXT,
    survivor_id TEXT,
    affected_ids TEXT NOT NULL DEFAULT '[]',
    confidence REAL,
    signals TEXT,
    reason TEXT,
    undo_payload TEXT NOT NULL
);
CREATE INDEX idx_merge_operations_status ON merge_operations(status);
CREATE INDEX idx_merge_operations_created_at ON merge_operations(created_at);
CREATE INDEX idx_merge_operations_survivor ON merge_operations(survivor_id);
