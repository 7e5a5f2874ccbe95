-- V25: erasure with proof: lineage of artifacts, jobs, their steps, and tombstones of commitments.
CREATE TABLE artifact_lineage (
    source_kind TEXT NOT NULL,
    source_id TEXT NOT NULL,
    derived_kind TEXT NOT NULL,
    derived_id TEXT NOT NULL,
    relation TEXT NOT NULL CHECK (relation IN (
        'derived_from', 'embeds', 'indexes', 'summarizes', 'aggregates', 'mentions', 'mutates', 'mirrors'
    )),
    created_at TEXT NOT NULL,
    PRIMARY KEY (source_kind, source_id, derived_kind, derived_id, relation)
) STRICT;
CREATE INDEX idx_artifact_lineage_source ON artifact_lineage(source_kind, source_id);
CREATE INDEX idx_artifact_lineage_derived ON artifact_lineage(derived_kind, derived_id);

CREATE TABLE erasure_generation_counter (
    singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
    last_generation INTEGER NOT NULL CHECK (last_generation >= 0)
) STRICT;
INSERT INTO erasure_generation_counter (singleton, last_generation) VALUES (1, 0);

CREATE TABLE erasure_jobs (
    erasure_id TEXT PRIMARY KEY,
    schema_uri TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('legacy_audited_purge', 'post_lineage_verified_local')),
    status TEXT NOT NULL CHECK (status IN ('running', 'committed', 'failed')),
    generation INTEGER NOT NULL UNIQUE CHECK (generation > 0),
    commitment_key_id TEXT NOT NULL,
    lineage_epoch INTEGER NOT NULL CHECK (lineage_epoch >= 0),
    fence_commitment TEXT NOT NULL,
    target_commitment TEXT NOT NULL,
    exact_content_commitment TEXT NOT NULL,
    source_locator_commitment TEXT,
    closure_commitment TEXT NOT NULL,
    started_at TEXT NOT NULL,
    committed_at TEXT,
    result_json TEXT,
    signature_json TEXT,
    failure_code TEXT CHECK (failure_code IS NULL OR failure_code IN (
        'verification_failed', 'lineage_incomplete', 'tombstone_conflict', 'durability_failure',
        'runtime_rebuild_failed', 'operator_cancelled'
    ))
) STRICT;

CREATE TABLE erasure_steps (
    erasure_id TEXT NOT NULL,
    step_order INTEGER NOT NULL CHECK (step_order >= 0),
    surface TEXT NOT NULL CHECK (surface IN (
        'canonical_sqlite', 'linked_sqlite_artifacts', 'full_text_index', 'embedding_store', 'vector_index',
        'cognitive_runtime', 'trace_and_receipt_evidence', 'review_and_undo_queues',
        'connector_and_restore_gates', 'managed_backups', 'managed_exports', 'managed_sync_objects',
        'erasure_ledger_anchor'
    )),
    action TEXT NOT NULL CHECK (action IN (
        'delete', 'redact', 'rebuild', 'reset', 'revoke_key', 'install_gate', 'verify'
    )),
    matched_count INTEGER NOT NULL CHECK (matched_count >= 0),
    changed_count INTEGER NOT NULL CHECK (changed_count >= 0),
    verification_status TEXT NOT NULL CHECK (verification_status IN (
        'passed', 'failed', 'not_checked', 'out_of_scope'
    )),
    detail_code TEXT NOT NULL CHECK (detail_code IN (
        'target_rows_deleted', 'artifact_redacted', 'index_rebuilt_no_target_hit',
        'runtime_reset_and_rehydrated', 'mutation_gate_installed', 'managed_artifact_resolved',
        'ledger_anchor_verified', 'verified_no_target_hit', 'feature_not_configured', 'legacy_surface_audited'
    )),
    PRIMARY KEY (erasure_id, step_order),
    FOREIGN KEY (erasure_id) REFERENCES erasure_jobs(erasure_id) ON DELETE CASCADE
) STRICT;

CREATE TABLE erasure_tombstones (
    target_commitment TEXT PRIMARY KEY,
    exact_content_commitment TEXT NOT NULL,
    source_locator_commitment TEXT,
    commitment_key_id TEXT NOT NULL,
    generation INTEGER NOT NULL UNIQUE CHECK (generation > 0),
    scope TEXT NOT NULL CHECK (scope IN ('legacy_audited_purge', 'post_lineage_verified_local')),
    receipt_id TEXT NOT NULL,
    erased_at TEXT NOT NULL
) STRICT;
CREATE INDEX idx_erasure_tombstones_content
    ON erasure_tombstones(exact_content_commitment, commitment_key_id);
CREATE INDEX idx_erasure_tombstones_source
    ON erasure_tombstones(source_locator_commitment, commitment_key_id)
    WHERE source_locator_commitment IS NOT NULL;

CREATE TABLE managed_artifacts (
    artifact_commitment TEXT PRIMARY KEY,
    artifact_kind TEXT NOT NULL,
    locator_commitment TEXT NOT NULL,
    commitment_key_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'erased', 'unavailable')),
    created_at TEXT NOT NULL,
    last_verified_at TEXT
) STRICT;
