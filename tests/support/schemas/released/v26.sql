-- V26: an envelope keeps what may be shown of its payload.
ALTER TABLE receipt_envelopes ADD COLUMN projection_json TEXT
    CHECK (projection_json IS NULL OR json_valid(projection_json));
