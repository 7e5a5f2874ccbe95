-- V18: traces of agent runs, receipts of retrievals, and a review queue for risky writes.
CREATE TABLE agent_traces (
    id TEXT PRIMARY KEY,
    run_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    tool TEXT,
    payload TEXT NOT NULL,
    at INTEGER NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX idx_agent_traces_run ON agent_traces(run_id, seq);
CREATE INDEX idx_agent_traces_type ON agent_traces(event_type);
CREATE INDEX idx_agent_traces_at ON agent_traces(at);

CREATE TABLE agent_runs (
    run_id TEXT PRIMARY KEY,
    first_tool TEXT,
    event_count INTEGER NOT NULL DEFAULT 0,
    retrieved_count INTEGER NOT NULL DEFAULT 0,
    suppressed_count INTEGER NOT NULL DEFAULT 0,
    write_count INTEGER NOT NULL DEFAULT 0,
    veto_count INTEGER NOT NULL DEFAULT 0,
    started_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX idx_agent_runs_last_at ON agent_runs(last_at DESC);

CREATE TABLE memory_receipts (
    receipt_id TEXT PRIMARY KEY,
    run_id TEXT,
    tool TEXT,
    query TEXT,
    retrieved_count INTEGER NOT NULL DEFAULT 0,
    suppressed_count INTEGER NOT NULL DEFAULT 0,
    trust_floor REAL NOT NULL DEFAULT 0,
    decay_risk TEXT NOT NULL DEFAULT 'low',
    payload TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX idx_memory_receipts_run ON memory_receipts(run_id);
CREATE INDEX idx_memory_receipts_created_at ON memory_receipts(created_at DESC);

CREATE TABLE memory_prs (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    title TEXT NOT NULL,
    subject_id TEXT,
    run_id TEXT,
    diff TEXT NOT NULL DEFAULT '{}',
    signals TEXT NOT NULL DEFAULT '[]',
    decision TEXT,
    created_at TEXT NOT NULL,
    decided_at TEXT
);
CREATE INDEX idx_memory_prs_status ON memory_prs(status);
CREATE INDEX idx_memory_prs_kind ON memory_prs(kind);
CREATE INDEX idx_memory_prs_created_at ON memory_prs(created_at DESC);
