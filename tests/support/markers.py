"""A marker in every column of every table of a source, so that content which gets out is recognised."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

PREFIX = "QZLEAK"
_SHOWN = {"embedding_model": {"name", "hash", "dimension"}}
"""What every report names, because it is to be compared: the embedding model's signature."""

_VALID = {
    "content": "'{} ' || content",
    "codebase": "'{}'",
    "node_type": "'{}'",
    "tags": "'[\"{}\"]'",
    "metadata": '\'{{"{}": "{}"}}\'',
    "display_name": "'{}'",
    "label": "'{}'",
    "source": "'{}'",
}
"""Column -> a value with a marker that is as good as any other; every row has it that has no marker of its own."""


def seed(path: Path) -> dict[str, str]:
    """Puts markers into the file; returns marker -> `table.column`.

    A row of each table takes the marker as the whole value of a column, whatever the column is for, and whatever
    constraint that violates; where a table has fewer rows than columns, a row has several. The other rows have one in
    each column where it is a valid value.
    """
    planted: dict[str, str] = {}
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("PRAGMA foreign_keys = OFF")
        for kind, name in connection.execute("SELECT type, name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP {kind} "{name}"')
        for table in _tables(connection):
            rowids = [rowid for (rowid,) in connection.execute(f'SELECT rowid FROM "{table}" ORDER BY rowid')]
            columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
            for at, column in enumerate(columns):
                if not rowids or column in _SHOWN.get(table, ()):
                    continue
                marker = f"{PREFIX}{len(planted):04}"
                if column in _VALID:
                    value = _VALID[column].format(marker, marker)
                    # A table's rows may have to differ in it.
                    with suppress(sqlite3.IntegrityError):
                        connection.execute(f'UPDATE "{table}" SET "{column}" = {value}')
                target = rowids[at % len(rowids)]
                with suppress(sqlite3.IntegrityError):  # an INTEGER PRIMARY KEY takes nothing else
                    connection.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?', (marker, target))
                    planted[marker] = f"{table}.{column}"
    return planted


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Those that hold rows of their own: no virtual table and none of its shadows."""
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY rowid").fetchall()
    virtual = [name for name, sql in found if sql and sql.upper().startswith("CREATE VIRTUAL")]
    return [
        name
        for name, sql in found
        if name not in {"schema_version", "sqlite_sequence"} and not name.startswith(tuple(virtual) or ("\0",))
    ]
