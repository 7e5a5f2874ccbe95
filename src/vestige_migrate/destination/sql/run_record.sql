-- What the copies of this program did here: docs/run-record.md. Made where the role may; a copy goes on without them.
-- No table refers to another: a reference would make every batch of every worker lock the one row of its run.

CREATE TABLE IF NOT EXISTS vestige_run (
    id uuid PRIMARY KEY,
    sources text[] NOT NULL,
    program_version text NOT NULL,
    options jsonb NOT NULL,
    system_identifier bigint,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    complete boolean NOT NULL DEFAULT false,
    counts jsonb NOT NULL DEFAULT '{}'
);

-- One row for each transaction, or part of one, that wrote rows. A row of a copied table whose xmin is here is as a copy
-- wrote it: whoever changes it gives it another one.
CREATE TABLE IF NOT EXISTS vestige_run_batch (
    run_id uuid NOT NULL,
    table_name text NOT NULL,
    part integer NOT NULL,
    inserted integer NOT NULL,
    updated integer NOT NULL,
    row_xmin bigint NOT NULL,
    transaction_id bigint NOT NULL
);

CREATE INDEX IF NOT EXISTS vestige_run_batch_row_xmin ON vestige_run_batch (row_xmin);

CREATE TABLE IF NOT EXISTS vestige_run_error (
    table_name text NOT NULL,
    key text NOT NULL,
    column_name text,
    reason text NOT NULL,
    sqlstate text,
    outcome text NOT NULL,
    first_run uuid NOT NULL,
    last_run uuid NOT NULL
);

CREATE INDEX IF NOT EXISTS vestige_run_error_key ON vestige_run_error (table_name, key);
