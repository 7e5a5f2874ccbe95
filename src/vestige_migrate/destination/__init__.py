"""Writing into PostgreSQL: connect, schema, registry, rows, indexes. Never imports sqlite3."""
