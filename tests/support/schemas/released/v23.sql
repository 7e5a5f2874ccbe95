-- V23: capsules to replay a retrieval without the query or the text.
CREATE TABLE retrieval_replay_capsules (
    capsule_id TEXT PRIMARY KEY,
    source_receipt_id TEXT NOT NULL UNIQUE,
    schema_version INTEGER NOT NULL,
    algorithm_version TEXT NOT NULL,
    selection_boundary TEXT NOT NULL,
    redaction_generation INTEGER NOT NULL DEFAULT 0 CHECK (redaction_generation >= 0),
    privacy_state TEXT NOT NULL CHECK (privacy_state IN ('active', 'redacted', 'purged')),
    replayable INTEGER NOT NULL CHECK (replayable IN (0, 1)),
    policy_digest TEXT NOT NULL,
    baseline_evidence_digest TEXT,
    baseline_merkle_root TEXT,
    item_count INTEGER,
    total_token_estimate INTEGER,
    trust_floor REAL,
    decay_risk TEXT CHECK (decay_risk IS NULL OR decay_risk IN ('low', 'medium', 'high')),
    created_at TEXT NOT NULL,
    FOREIGN KEY (source_receipt_id) REFERENCES memory_receipts(receipt_id) ON DELETE CASCADE
) STRICT;
CREATE INDEX idx_replay_capsules_privacy ON retrieval_replay_capsules(privacy_state, replayable, created_at);

CREATE TABLE retrieval_replay_items (
    capsule_id TEXT NOT NULL,
    ordinal INTEGER NOT NULL CHECK (ordinal >= 0),
    evidence_slot TEXT NOT NULL,
    memory_id TEXT,
    private_digest TEXT,
    token_estimate INTEGER,
    trust_score REAL,
    decay_risk TEXT CHECK (decay_risk IS NULL OR decay_risk IN ('low', 'medium', 'high')),
    PRIMARY KEY (capsule_id, ordinal),
    UNIQUE (capsule_id, evidence_slot),
    FOREIGN KEY (capsule_id) REFERENCES retrieval_replay_capsules(capsule_id) ON DELETE CASCADE
) STRICT;
CREATE INDEX idx_replay_items_memory ON retrieval_replay_items(memory_id) WHERE memory_id IS NOT NULL;

CREATE TABLE counterfactual_replays (
    replay_id TEXT PRIMARY KEY,
    idempotency_key TEXT NOT NULL UNIQUE,
    capsule_id TEXT NOT NULL,
    source_receipt_id TEXT NOT NULL,
    receipt_id TEXT UNIQUE,
    algorithm_version TEXT NOT NULL,
    redaction_generation INTEGER NOT NULL CHECK (redaction_generation >= 0),
    withheld_slots_json TEXT NOT NULL,
    result_json TEXT,
    privacy_state TEXT NOT NULL CHECK (privacy_state IN ('active', 'redacted', 'purged')),
    created_at TEXT NOT NULL,
    FOREIGN KEY (capsule_id) REFERENCES retrieval_replay_capsules(capsule_id) ON DELETE CASCADE,
    FOREIGN KEY (source_receipt_id) REFERENCES memory_receipts(receipt_id) ON DELETE CASCADE,
    FOREIGN KEY (receipt_id) REFERENCES memory_receipts(receipt_id) ON DELETE SET NULL
) STRICT;
CREATE INDEX idx_counterfactual_replays_source ON counterfactual_replays(source_receipt_id, created_at DESC);
CREATE INDEX idx_counterfactual_replays_privacy ON counterfactual_replays(privacy_state, created_at DESC);
