-- The plan line's V12 may also carry the review log (docs/versions.md); its columns are named there, their types
-- follow the destination's.
CREATE TABLE review_events (
    id TEXT PRIMARY KEY,
    memory_id TEXT NOT NULL REFERENCES knowledge_nodes(id) ON DELETE CASCADE,
    occurred_at TEXT NOT NULL,
    retrievability_before REAL,
    retrievability_after REAL,
    rating INTEGER NOT NULL,
    kind TEXT NOT NULL DEFAULT 'review',
    metadata TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX idx_review_events_memory ON review_events(memory_id);
CREATE INDEX idx_review_events_occurred_at ON review_events(occurred_at);
