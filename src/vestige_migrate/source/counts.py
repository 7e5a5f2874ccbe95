"""How many rows a source holds, and which of them have no place in the destination."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from vestige_migrate.source.layout import Layout
from vestige_migrate.source.select import TableSource, column, quote_identifier, quote_text

_NOT_MEMORY = ("sqlite_", "knowledge_fts")
"""SQLite's own tables and the full-text index, which PostgreSQL builds anew (search_vec)."""
_BOOKKEEPING = {"schema_version", "embedding_model"}
"""Tables whose content goes into the destination's registry or says what the file is."""

CACHES = {"vector_journal": "notes of which vectors Vestige's in-memory index has yet to take in; worthless without it"}
"""Tables that `--archive` leaves out, and why. They stay in `left_behind`."""


def count_rows(connection: sqlite3.Connection, source: TableSource) -> int:
    """COUNT(*) of the table that the rows come from."""
    return _count(connection, source.base)


def _count(connection: sqlite3.Connection, table: str, where: str = "1") -> int:
    (rows,) = connection.execute(f"SELECT COUNT(*) FROM {quote_identifier(table)} WHERE {where}").fetchone()
    return int(rows)


def count_dropped(connection: sqlite3.Connection, source: TableSource) -> dict[str, int]:
    """How many rows have a value in a column with no place in the destination, for every such column that has any."""
    if not source.dropped:
        return {}
    values = ", ".join(f"COUNT({column(name)})" for name in source.dropped)
    counts = connection.execute(f"SELECT {values} FROM {quote_identifier(source.base)} AS n").fetchone()
    return {name: rows for name, rows in zip(source.dropped, counts, strict=True) if rows}


def left_behind(connection: sqlite3.Connection, layout: Layout, used: Iterable[str]) -> dict[str, int]:
    """Rows with no place in the destination, by table, for every table that has any."""
    found: dict[str, int] = {}
    skipped = set(used) | _BOOKKEEPING
    for table in sorted(layout.tables):
        if table in skipped or table.startswith(_NOT_MEMORY):
            continue
        rows = _count(connection, table, unplaced_rows(layout, table))
        if rows:
            found[table] = rows
    return found


def unplaced_rows(layout: Layout, table: str) -> str:
    """A condition: which rows of a table of vectors came over with no memory; every row of any other table."""
    # A NULL on either side of NOT IN would make it neither true nor false.
    no_memory = "(node_id IS NULL OR node_id NOT IN (SELECT id FROM knowledge_nodes WHERE id IS NOT NULL))"
    if table == "node_embeddings" and layout.has(table, "embedding"):
        return no_memory
    if table == "embedding_profile_vectors" and layout.active_profile is not None:
        return f"profile_id IS NOT {quote_text(layout.active_profile)} OR {no_memory}"
    return "1"
