"""Drawing rows of a table, the same ones every time."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence

from vestige_migrate.source.sqlite.quoting import quote_identifier

_DRAWS_PER_ROW = 4


def rowid_span(connection: sqlite3.Connection, rows: str, parameters: Sequence[object] = ()) -> tuple[int, int] | None:
    """The first and the last rowid of these rows (a FROM clause with the alias `n`); None where there are none.

    Two subqueries: MIN and MAX in one go through all rows (15 ms at 100,000).
    """
    lowest, highest = connection.execute(
        f"SELECT (SELECT MIN(n.rowid) {rows}), (SELECT MAX(n.rowid) {rows})", (*parameters, *parameters)
    ).fetchone()
    return None if lowest is None else (lowest, highest)


def draw_rowids(connection: sqlite3.Connection, base: str, count: int) -> list[int]:
    """Up to `count` rowids in random order, drawn evenly from all of them unless they are sparse."""
    name = quote_identifier(base)
    span = rowid_span(connection, f"FROM {name} AS n")
    if span is None:
        return []
    lowest, highest = span
    rng = random.Random(highest)
    drawn = sorted({rng.randint(lowest, highest) for _ in range(_DRAWS_PER_ROW * count)})
    marks = ",".join("?" * len(drawn))
    found = [rowid for (rowid,) in connection.execute(f"SELECT rowid FROM {name} WHERE rowid IN ({marks})", drawn)]
    if len(found) < count:
        found = [rowid for (rowid,) in connection.execute(f"SELECT rowid FROM {name} ORDER BY rowid LIMIT ?", (count,))]
    rng.shuffle(found)
    return found[:count]
