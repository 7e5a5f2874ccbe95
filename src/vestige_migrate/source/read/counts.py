"""How many rows a source holds, and which of them have no place in the destination."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from vestige_migrate.source.layout.known_names import FULL_TEXT
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.layout.vectors import VECTOR_TABLES, stale, unplaced_rows
from vestige_migrate.source.read.reembed import Reason, awaiting_queries
from vestige_migrate.source.sqlite.quoting import column, quote_identifier

_OF_SQLITE = "sqlite_"
_BOOKKEEPING = {"schema_version", "embedding_model"}
"""Tables whose content goes into the destination's registry or says what the file is."""

_IDS_AT_ONCE = 10_000
CACHES = {"vector_journal": "notes of which vectors Vestige's in-memory index has yet to take in; worthless without it"}
"""Tables that `--archive` leaves out, and why. They stay in `left_behind`."""


def count_rows(connection: sqlite3.Connection, source: TableSource) -> int:
    """COUNT(*) of the table that the rows come from."""
    return _count(connection, source.base)


def _count(connection: sqlite3.Connection, table: str) -> int:
    # By the table itself: an index answers 40 times as fast, and may lack rows (40 ms for 100,000 memories).
    (rows,) = connection.execute(f"SELECT COUNT(*) FROM {quote_identifier(table)} NOT INDEXED").fetchone()
    return int(rows)


def count_dropped(connection: sqlite3.Connection, source: TableSource) -> dict[str, int]:
    """How many rows have a value in a column with no place in the destination, for every such column that has any."""
    if not source.dropped:
        return {}
    values = ", ".join(f"COUNT({column(name)})" for name in source.dropped)
    counts = connection.execute(f"SELECT {values} FROM {quote_identifier(source.base)} AS n NOT INDEXED").fetchone()
    return {name: rows for name, rows in zip(source.dropped, counts, strict=True) if rows}


def has_user(connection: sqlite3.Connection, id_: str) -> bool:
    """Whether the table `users` has this one."""
    row = connection.execute("SELECT EXISTS (SELECT 1 FROM users WHERE id = ?)", (id_,)).fetchone()
    return bool(row[0])


def left_behind(connection: sqlite3.Connection, layout: Layout, used: Iterable[str]) -> dict[str, int]:
    """Rows with no place in the destination, by table, for every table that has any."""
    found: dict[str, int] = {}
    for table in leftover_tables(layout, used):
        if table in VECTOR_TABLES:
            (rows,) = connection.execute(f"SELECT COUNT(DISTINCT v.rowid) {unplaced_rows(layout, table)}").fetchone()
        else:
            rows = _count(connection, table)
        if rows:
            found[table] = rows
    return found


def leftover_tables(layout: Layout, used: Iterable[str]) -> list[str]:
    """Tables that may have rows without a place in the destination; `used` are those that rows are copied from."""
    skipped = set(used) | _BOOKKEEPING
    # The full-text index is made anew by PostgreSQL (search_vec).
    skipped |= {name for name in layout.tables if name.startswith(_OF_SQLITE) or name.lower() in FULL_TEXT}
    return [name for name in sorted(layout.tables) if name not in skipped]


def awaiting_reembed(connection: sqlite3.Connection, layout: Layout) -> Iterator[list[tuple[object, Reason]]]:
    """Ids of memories whose vector does not come over, or is not there, each with the reason, some at a time."""
    for query in awaiting_queries(layout):
        cursor = connection.execute(query)
        while rows := cursor.fetchmany(_IDS_AT_ONCE):
            yield [(id_, Reason(reason)) for id_, reason in rows]


def is_any_stale(connection: sqlite3.Connection, layout: Layout, ids: Sequence[str]) -> bool:
    """Whether one of these memories says that a vector of it is of an earlier text."""
    condition = stale(layout, "n")
    if condition is None:
        return False
    marks = ",".join("?" * len(ids))
    row = connection.execute(
        f"SELECT EXISTS (SELECT 1 FROM knowledge_nodes AS n WHERE n.id IN ({marks}) AND {condition})", ids
    ).fetchone()
    return bool(row[0])
