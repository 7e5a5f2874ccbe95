-- V38: who wrote a memory, who agrees with it, and what their word weighs. Seven rows of policy come with it.
CREATE TABLE actor_role_weights (
    role TEXT PRIMARY KEY,
    weight_prior REAL NOT NULL CHECK (weight_prior > 0.0 AND weight_prior <= 1.5),
    updated_at TEXT NOT NULL
);
CREATE TABLE actor_role_membership (
    actor_did TEXT NOT NULL,
    role TEXT NOT NULL,
    granted_at TEXT NOT NULL,
    note TEXT,
    PRIMARY KEY (actor_did, role)
);
CREATE TABLE actor_policy_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    policy_version INTEGER NOT NULL,
    updated_at TEXT NOT NULL
);
INSERT INTO actor_policy_state (id, policy_version, updated_at) VALUES (1, 1, '2026-05-27 09:35:58');
INSERT INTO actor_role_weights (role, weight_prior, updated_at) VALUES
    ('operator', 1.5, '2026-05-27 09:35:58'), ('destructive-tester', 1.3, '2026-05-27 09:35:58'),
    ('architect', 1.25, '2026-05-27 09:35:58'), ('functional-tester', 1.15, '2026-05-27 09:35:58'),
    ('qa', 1.1, '2026-05-27 09:35:58'), ('dev', 1.0, '2026-05-27 09:35:58');
CREATE TABLE actor_endorsement_events (
    event_id TEXT PRIMARY KEY,
    memory_id TEXT NOT NULL,
    actor_did TEXT NOT NULL,
    claimed_role TEXT,
    effective_role TEXT NOT NULL,
    resolved_weight REAL NOT NULL CHECK (resolved_weight > 0.0 AND resolved_weight <= 1.5),
    resolution_disposition TEXT NOT NULL,
    policy_version INTEGER NOT NULL,
    endorsement_kind TEXT NOT NULL CHECK (endorsement_kind IN ('support', 'oppose', 'self_support')),
    revision_digest TEXT NOT NULL,
    independent_prior REAL NOT NULL CHECK (independent_prior >= 0.0),
    tool TEXT NOT NULL,
    receipt_id TEXT,
    created_at TEXT NOT NULL
);
CREATE INDEX idx_actor_endorsements_memory ON actor_endorsement_events(memory_id);
CREATE INDEX idx_actor_endorsements_actor ON actor_endorsement_events(actor_did);
CREATE INDEX idx_actor_endorsements_revision ON actor_endorsement_events(memory_id, revision_digest);
ALTER TABLE knowledge_nodes ADD COLUMN author_actor_did TEXT;
