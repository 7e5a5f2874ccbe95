-- V21: synaptic tags and captures, the first STRICT tables.
CREATE TABLE synaptic_tags (
    tag_id TEXT PRIMARY KEY,
    memory_id TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    initial_strength REAL NOT NULL,
    encoding_context TEXT,
    algorithm_version TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'captured', 'expired')),
    capture_event_id TEXT,
    captured_at_ms INTEGER,
    recorded_at TEXT NOT NULL,
    UNIQUE (memory_id, created_at_ms),
    FOREIGN KEY (memory_id) REFERENCES knowledge_nodes(id) ON DELETE CASCADE
) STRICT;
CREATE INDEX idx_synaptic_tags_active_time ON synaptic_tags(state, created_at_ms, tag_id);
CREATE INDEX idx_synaptic_tags_memory ON synaptic_tags(memory_id, created_at_ms DESC);
CREATE UNIQUE INDEX idx_synaptic_tags_one_active_per_memory ON synaptic_tags(memory_id) WHERE state = 'active';

CREATE TABLE synaptic_events (
    event_id TEXT PRIMARY KEY,
    trigger_memory_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    occurred_at_ms INTEGER NOT NULL,
    window_from_ms INTEGER NOT NULL,
    window_to_ms INTEGER NOT NULL,
    strength REAL NOT NULL,
    algorithm_version TEXT NOT NULL,
    receipt_id TEXT UNIQUE,
    recorded_at TEXT NOT NULL
) STRICT;
CREATE INDEX idx_synaptic_events_open_window
    ON synaptic_events(window_from_ms, window_to_ms, occurred_at_ms, event_id);
CREATE INDEX idx_synaptic_events_trigger ON synaptic_events(trigger_memory_id, occurred_at_ms DESC);

CREATE TABLE synaptic_capture_items (
    event_id TEXT NOT NULL,
    tag_id TEXT NOT NULL,
    memory_id TEXT NOT NULL,
    evidence_slot TEXT NOT NULL,
    receipt_id TEXT NOT NULL,
    encoded_at_ms INTEGER NOT NULL,
    temporal_distance_hours REAL NOT NULL,
    capture_probability REAL NOT NULL,
    tag_strength_at_evaluation REAL NOT NULL,
    capture_score REAL NOT NULL,
    disposition TEXT NOT NULL,
    reason TEXT,
    retrieval_before REAL,
    retrieval_after REAL,
    retention_before REAL,
    retention_after REAL,
    stability_before REAL,
    stability_after REAL,
    recorded_at TEXT NOT NULL,
    PRIMARY KEY (event_id, tag_id),
    FOREIGN KEY (event_id) REFERENCES synaptic_events(event_id) ON DELETE CASCADE,
    FOREIGN KEY (tag_id) REFERENCES synaptic_tags(tag_id) ON DELETE CASCADE
) STRICT;
CREATE INDEX idx_synaptic_capture_items_receipt ON synaptic_capture_items(receipt_id);
