-- V22: capture events have a public id and a policy, capture items the evidence. The real step also fills the new
-- columns of rows that are there; here there are none yet.
ALTER TABLE synaptic_events ADD COLUMN public_event_id TEXT;
ALTER TABLE synaptic_events ADD COLUMN event_state TEXT NOT NULL DEFAULT 'closed'
    CHECK (event_state IN ('open', 'closed'));
ALTER TABLE synaptic_events ADD COLUMN tag_lifetime_hours REAL;
ALTER TABLE synaptic_events ADD COLUMN minimum_tag_strength REAL;
ALTER TABLE synaptic_events ADD COLUMN minimum_association_score REAL;
ALTER TABLE synaptic_events ADD COLUMN maximum_captures INTEGER;
ALTER TABLE synaptic_events ADD COLUMN decay_function TEXT;
ALTER TABLE synaptic_events ADD COLUMN context_threshold REAL;
ALTER TABLE synaptic_events ADD COLUMN context_algorithm_version TEXT;
ALTER TABLE synaptic_events ADD COLUMN signal_snapshot_json TEXT;
ALTER TABLE synaptic_capture_items ADD COLUMN evaluation_direction TEXT;
ALTER TABLE synaptic_capture_items ADD COLUMN temporal_score REAL;
ALTER TABLE synaptic_capture_items ADD COLUMN context_score REAL;
ALTER TABLE synaptic_capture_items ADD COLUMN context_method TEXT;
ALTER TABLE synaptic_capture_items ADD COLUMN association_score REAL;
ALTER TABLE synaptic_capture_items ADD COLUMN competition_rank INTEGER;
ALTER TABLE synaptic_capture_items ADD COLUMN algorithm_version TEXT;
ALTER TABLE synaptic_capture_items ADD COLUMN reason_code TEXT;
CREATE UNIQUE INDEX ux_synaptic_events_public_event_id ON synaptic_events(public_event_id);
CREATE INDEX idx_synaptic_events_forward_open
    ON synaptic_events(event_state, window_to_ms, occurred_at_ms, event_id);
