-- Rows of the source's tables that have no place of their own (--archive); docs/archive.md has their form.
CREATE TABLE IF NOT EXISTS vestige_archive (
    table_name text NOT NULL,
    row_key text NOT NULL,
    row jsonb NOT NULL,
    PRIMARY KEY (table_name, row_key)
);
