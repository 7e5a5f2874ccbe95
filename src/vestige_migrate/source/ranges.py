"""Splitting a table into ranges that together cover every row, whatever its key is.

A range is half-open, `key >= lower AND key < upper`, in SQLite's own order of storage classes. A row comparison
with NULL is neither true nor false, so rows with a NULL in the key get ranges of their own, split by rowid. A boundary
that is a text is bound as its bytes and cast back, so that invalid UTF-8 and NUL characters compare as they are
stored; the unary plus takes away the cast's affinity, which would otherwise turn numbers in the column into texts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from vestige_migrate.source.select import TableSource, column, quote_identifier

RANGES_PER_WORKER = 4
"""Several a worker, so that one slow range at the end does not leave the others idle."""

MAX_RANGE_ROWS = 8192
"""Bounds a worker's memory: it holds the keys of one range at a time."""

MIN_RANGE_ROWS = 250
"""Below this a range costs more to hand out than it saves."""

_ROWID = [column("rowid")]


@dataclass(frozen=True)
class KeyPart:
    """One value of a boundary; `is_text` says that `value` holds the bytes of a text."""

    value: bytes | int | float
    is_text: bool = False


Key = tuple[KeyPart, ...]


@dataclass(frozen=True)
class Range:
    """Rows of one table: `lower <= key < upper` (None: no bound).

    With `nulls`, the rows whose key has a NULL, and the bounds are rowids.
    """

    table: str
    index: int
    lower: Key | None = None
    upper: Key | None = None
    nulls: bool = False

    def where(self, source: TableSource) -> tuple[str, list[bytes | int | float]]:
        """The predicate and its parameters. The one place where ranges are written as SQL."""
        names = [column(name) for name in source.order]
        terms = [_has_no_null(names)] if source.order != ("rowid",) else []
        if self.nulls:
            terms = [f"NOT ({_has_no_null(names)})"]
            names = _ROWID
        parameters: list[bytes | int | float] = []
        for operator, key in ((">=", self.lower), ("<", self.upper)):
            if key is not None:
                bound = ", ".join("+CAST(? AS TEXT)" if part.is_text else "?" for part in key)
                terms.append(f"({', '.join(names)}) {operator} ({bound})")
                parameters.extend(part.value for part in key)
        return " AND ".join(terms) or "1", parameters

    def __str__(self) -> str:
        return f"{self.table} range {self.index}"


def range_count(rows: int, workers: int) -> int:
    """How many ranges a table of `rows` rows is worth."""
    wanted = max(workers * RANGES_PER_WORKER, -(-rows // MAX_RANGE_ROWS))
    return max(1, min(wanted, -(-rows // MIN_RANGE_ROWS)))


def plan_ranges(connection: sqlite3.Connection, table: str, source: TableSource, workers: int) -> list[Range]:
    """Ranges of about equal size at the quantiles of the key, then those of the NULL keys where there are any."""
    names = [column(name) for name in source.order]
    base = f"FROM {quote_identifier(source.base)} AS n"
    keyed = _has_no_null(names)
    total, count = connection.execute(f"SELECT COUNT(*), COUNT(CASE WHEN {keyed} THEN 1 END) {base}").fetchone()
    step = -(-count // range_count(count, workers)) if count else 1
    bounds = [(bound, False) for bound in _split(connection, f"{base} WHERE {keyed}", names, step)]
    if total > count:
        nulls = f"{base} WHERE NOT ({keyed})"
        bounds += [(bound, True) for bound in _split(connection, nulls, _ROWID, MAX_RANGE_ROWS)]
    return [Range(table, at, lower, upper, nulls) for at, ((lower, upper), nulls) in enumerate(bounds)]


def _has_no_null(names: Sequence[str]) -> str:
    return " AND ".join(f"{name} IS NOT NULL" for name in names)


def _split(
    connection: sqlite3.Connection, rows: str, names: Sequence[str], step: int
) -> list[tuple[Key | None, Key | None]]:
    """Bounds (lower, upper) of ranges of `step` rows each, ties together; the first and the last are open."""
    typed = ", ".join(
        f"typeof(k{at}), CASE typeof(k{at}) WHEN 'text' THEN CAST(k{at} AS BLOB) ELSE k{at} END"
        for at in range(len(names))
    )
    keys = ", ".join(f"{name} AS k{at}" for at, name in enumerate(names))
    # Quantiles in C: only the boundaries come to Python, whatever the number of rows.
    found = connection.execute(
        f"SELECT {typed} FROM (SELECT {keys}, ROW_NUMBER() OVER (ORDER BY {', '.join(names)}) - 1 AS at {rows})"
        " WHERE at > 0 AND at % ? = 0 ORDER BY at",
        (step,),
    ).fetchall()
    bounds: list[Key | None] = [None]
    for row in found:
        key = tuple(KeyPart(value, kind == "text") for kind, value in zip(row[::2], row[1::2], strict=True))
        if key != bounds[-1]:
            bounds.append(key)
    bounds.append(None)
    return list(pairwise(bounds))
