"""Tables without types, keys and constraints: there a column holds any storage class, and an id may stand twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from vestige_migrate.source.sqlite.quoting import quote_identifier


def remake_without_types(
    connection: sqlite3.Connection, table: str, columns: Sequence[str], more: Sequence[str] = ()
) -> None:
    """The table again, rowids as they were, with these of its columns and `more` that are new (NULL)."""
    every = ", ".join(map(quote_identifier, [*columns, *more]))
    own = ", ".join(map(quote_identifier, columns))
    connection.execute(f"ALTER TABLE {table} RENAME TO before_{table}")
    connection.execute(f"CREATE TABLE {table} ({every})")
    connection.execute(f"INSERT INTO {table} (rowid, {own}) SELECT rowid, {own} FROM before_{table}")
    connection.execute(f"DROP TABLE before_{table}")


def untyped(path: Path, *tables: str) -> Path:
    """The file with these tables without types, all their columns kept."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in tables:
            columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
            remake_without_types(connection, table, columns)
    return path
