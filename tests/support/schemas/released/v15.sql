-- V15 of the released line: which memories were used together. Nothing of the plan line's V15 (users, owners).
CREATE TABLE composition_events (
    id TEXT PRIMARY KEY,
    created_at TEXT NOT NULL,
    tool TEXT NOT NULL,
    mode TEXT NOT NULL DEFAULT 'deep_reference',
    query TEXT,
    query_hash TEXT,
    confidence REAL,
    status TEXT,
    output_preview TEXT,
    metadata TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX idx_composition_events_created_at ON composition_events(created_at);
CREATE INDEX idx_composition_events_tool ON composition_events(tool);
CREATE INDEX idx_composition_events_mode ON composition_events(mode);
CREATE INDEX idx_composition_events_query_hash ON composition_events(query_hash);

CREATE TABLE composition_members (
    event_id TEXT NOT NULL,
    memory_id TEXT NOT NULL,
    role TEXT NOT NULL,
    rank INTEGER NOT NULL DEFAULT 0,
    trust REAL,
    score REAL,
    preview TEXT,
    metadata TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (event_id, memory_id, role),
    FOREIGN KEY (event_id) REFERENCES composition_events(id) ON DELETE CASCADE
);
CREATE INDEX idx_composition_members_memory ON composition_members(memory_id);
CREATE INDEX idx_composition_members_role ON composition_members(role);

CREATE TABLE composition_outcomes (
    id TEXT PRIMARY KEY,
    event_id TEXT NOT NULL,
    outcome_type TEXT NOT NULL,
    labeled_at TEXT NOT NULL,
    label_source TEXT NOT NULL DEFAULT 'tool',
    confidence_delta REAL,
    notes TEXT,
    metadata TEXT NOT NULL DEFAULT '{}',
    FOREIGN KEY (event_id) REFERENCES composition_events(id) ON DELETE CASCADE
);
CREATE INDEX idx_composition_outcomes_event ON composition_outcomes(event_id);
CREATE INDEX idx_composition_outcomes_type ON composition_outcomes(outcome_type);
CREATE INDEX idx_composition_outcomes_labeled_at ON composition_outcomes(labeled_at);
