-- V32: a journal of vector writes, kept by triggers, for other processes' indexes. A cache: ids only.
CREATE TABLE vector_journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    profile_id TEXT NOT NULL,
    node_id TEXT NOT NULL,
    op TEXT NOT NULL CHECK (op IN ('upsert', 'delete')),
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE INDEX idx_vector_journal_profile_seq ON vector_journal(profile_id, seq);
CREATE TRIGGER trg_vector_journal_insert AFTER INSERT ON embedding_profile_vectors BEGIN
    INSERT INTO vector_journal (profile_id, node_id, op) VALUES (new.profile_id, new.node_id, 'upsert');
END;
CREATE TRIGGER trg_vector_journal_update AFTER UPDATE ON embedding_profile_vectors BEGIN
    INSERT INTO vector_journal (profile_id, node_id, op) VALUES (new.profile_id, new.node_id, 'upsert');
END;
CREATE TRIGGER trg_vector_journal_delete AFTER DELETE ON embedding_profile_vectors BEGIN
    INSERT INTO vector_journal (profile_id, node_id, op) VALUES (old.profile_id, old.node_id, 'delete');
END;
