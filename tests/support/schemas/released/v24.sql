-- V24: signed receipts in a chain. The triggers keep envelopes and the chain's head from being changed.
CREATE TABLE receipt_signing_keys (
    key_id TEXT PRIMARY KEY,
    algorithm TEXT NOT NULL CHECK (algorithm = 'ed25519'),
    public_key BLOB NOT NULL CHECK (length(public_key) = 32),
    public_key_fingerprint TEXT NOT NULL UNIQUE
        CHECK (length(public_key_fingerprint) = 64 AND public_key_fingerprint NOT GLOB '*[^0-9a-f]*'),
    status TEXT NOT NULL CHECK (status IN ('active', 'retired', 'revoked', 'disabled')),
    valid_from TEXT NOT NULL,
    valid_until TEXT,
    revoked_at TEXT,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX idx_receipt_signing_keys_status ON receipt_signing_keys(status, valid_from);

CREATE TABLE receipt_envelopes (
    receipt_id TEXT PRIMARY KEY,
    chain_id TEXT NOT NULL,
    sequence INTEGER NOT NULL CHECK (sequence >= 0 AND sequence <= 9007199254740991),
    previous_entry_digest TEXT,
    payload_type TEXT NOT NULL,
    envelope_json TEXT NOT NULL CHECK (json_valid(envelope_json)),
    payload_digest TEXT NOT NULL CHECK (length(payload_digest) = 64 AND payload_digest NOT GLOB '*[^0-9a-f]*'),
    entry_digest TEXT NOT NULL UNIQUE CHECK (length(entry_digest) = 64 AND entry_digest NOT GLOB '*[^0-9a-f]*'),
    signing_key_id TEXT NOT NULL,
    signer_key_fingerprint TEXT NOT NULL
        CHECK (length(signer_key_fingerprint) = 64 AND signer_key_fingerprint NOT GLOB '*[^0-9a-f]*'),
    issued_at TEXT NOT NULL,
    stored_at TEXT NOT NULL,
    CHECK (
        (sequence = 0 AND previous_entry_digest IS NULL)
        OR (sequence > 0 AND length(previous_entry_digest) = 64
            AND previous_entry_digest NOT GLOB '*[^0-9a-f]*')
    ),
    UNIQUE (chain_id, sequence),
    FOREIGN KEY (receipt_id) REFERENCES memory_receipts(receipt_id) ON DELETE RESTRICT,
    FOREIGN KEY (signing_key_id) REFERENCES receipt_signing_keys(key_id) ON DELETE RESTRICT
) STRICT;
CREATE INDEX idx_receipt_envelopes_chain ON receipt_envelopes(chain_id, sequence);
CREATE INDEX idx_receipt_envelopes_key ON receipt_envelopes(signing_key_id, issued_at);
CREATE TRIGGER receipt_envelopes_reject_update BEFORE UPDATE ON receipt_envelopes BEGIN
    SELECT RAISE(ABORT, 'an envelope cannot be changed');
END;
CREATE TRIGGER receipt_envelopes_reject_delete BEFORE DELETE ON receipt_envelopes BEGIN
    SELECT RAISE(ABORT, 'an envelope cannot be removed');
END;

CREATE TABLE receipt_chain_state (
    chain_id TEXT PRIMARY KEY,
    last_sequence INTEGER NOT NULL CHECK (last_sequence >= 0 AND last_sequence <= 9007199254740991),
    last_entry_digest TEXT NOT NULL
        CHECK (length(last_entry_digest) = 64 AND last_entry_digest NOT GLOB '*[^0-9a-f]*'),
    updated_at TEXT NOT NULL
) STRICT;
CREATE TRIGGER receipt_chain_state_validate_insert BEFORE INSERT ON receipt_chain_state
WHEN NOT EXISTS (
    SELECT 1 FROM receipt_envelopes AS e
    WHERE e.chain_id = new.chain_id AND e.sequence = new.last_sequence
        AND e.entry_digest = new.last_entry_digest
)
BEGIN
    SELECT RAISE(ABORT, 'a chain ends at an envelope');
END;
CREATE TRIGGER receipt_chain_state_validate_update BEFORE UPDATE ON receipt_chain_state
WHEN new.chain_id <> old.chain_id OR new.last_sequence <> old.last_sequence + 1 OR NOT EXISTS (
    SELECT 1 FROM receipt_envelopes AS e
    WHERE e.chain_id = new.chain_id AND e.sequence = new.last_sequence
        AND e.previous_entry_digest = old.last_entry_digest AND e.entry_digest = new.last_entry_digest
)
BEGIN
    SELECT RAISE(ABORT, 'a chain grows by one envelope at a time');
END;

CREATE TABLE receipt_disclosures (
    receipt_id TEXT NOT NULL,
    evidence_slot TEXT NOT NULL,
    memory_id TEXT NOT NULL,
    nonce BLOB NOT NULL CHECK (length(nonce) = 32),
    commitment TEXT NOT NULL CHECK (length(commitment) = 64 AND commitment NOT GLOB '*[^0-9a-f]*'),
    created_at TEXT NOT NULL,
    PRIMARY KEY (receipt_id, evidence_slot),
    FOREIGN KEY (receipt_id) REFERENCES receipt_envelopes(receipt_id) ON DELETE CASCADE,
    FOREIGN KEY (memory_id) REFERENCES knowledge_nodes(id) ON DELETE CASCADE
) STRICT;
CREATE INDEX idx_receipt_disclosures_memory ON receipt_disclosures(memory_id, receipt_id);
CREATE TRIGGER receipt_disclosures_reject_update BEFORE UPDATE ON receipt_disclosures BEGIN
    SELECT RAISE(ABORT, 'a disclosure can only be removed');
END;
