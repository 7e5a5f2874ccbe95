-- Of the shape of Vestige's own table of that name (V13), with nothing of a memory but its id.
CREATE TABLE IF NOT EXISTS {table} (
    memory_id uuid PRIMARY KEY,
    deleted_at timestamptz NOT NULL DEFAULT now(),
    reason text,
    node_type text,
    tags text[] NOT NULL DEFAULT '{{}}',
    edges_pruned integer NOT NULL DEFAULT 0,
    insights_rewritten integer NOT NULL DEFAULT 0,
    insights_deleted integer NOT NULL DEFAULT 0,
    children_orphaned integer NOT NULL DEFAULT 0
);
