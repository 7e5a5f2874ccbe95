-- V36: graphs of intentions: one state a scope, and a journal of what changed it.
CREATE TABLE intention_graph_state (
    scope TEXT PRIMARY KEY,
    state_json TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE TABLE intention_graph_journal (
    scope TEXT NOT NULL,
    seq INTEGER NOT NULL,
    command_json TEXT NOT NULL,
    evaluated_at TEXT NOT NULL,
    output_digest TEXT NOT NULL,
    state_digest TEXT NOT NULL,
    PRIMARY KEY (scope, seq)
);
