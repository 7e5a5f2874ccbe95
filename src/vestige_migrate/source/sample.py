"""Drawing rows of a table, the same ones every time."""

from __future__ import annotations

import random
import sqlite3

from vestige_migrate.source.select import quote_identifier

_DRAWS_PER_ROW = 4


def draw_rowids(connection: sqlite3.Connection, base: str, count: int) -> list[int]:
    """Up to `count` rowids in random order, drawn evenly from all of them unless they are sparse."""
    name = quote_identifier(base)
    lowest, highest = connection.execute(f"SELECT MIN(rowid), MAX(rowid) FROM {name}").fetchone()
    if lowest is None:
        return []
    rng = random.Random(highest)
    drawn = sorted({rng.randint(lowest, highest) for _ in range(_DRAWS_PER_ROW * count)})
    marks = ",".join("?" * len(drawn))
    found = [rowid for (rowid,) in connection.execute(f"SELECT rowid FROM {name} WHERE rowid IN ({marks})", drawn)]
    if len(found) < count:
        found = [rowid for (rowid,) in connection.execute(f"SELECT rowid FROM {name} ORDER BY rowid LIMIT ?", (count,))]
    rng.shuffle(found)
    return found[:count]
