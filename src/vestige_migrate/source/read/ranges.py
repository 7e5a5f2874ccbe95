"""Splitting a table into ranges that together cover every row, whatever its key is.

A range is half-open, `key >= lower AND key < upper`, in SQLite's own order of storage classes. A row comparison
with NULL is neither true nor false, so rows with a NULL in the key get ranges of their own, split by rowid. A boundary
that is a text is bound as its bytes and cast back, so that invalid UTF-8 and NUL characters compare as they are
stored; the unary plus takes away the cast's affinity, which would otherwise turn numbers in the column into texts.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from vestige_migrate.source.layout.table_source import EVERY_ROW, TableSource
from vestige_migrate.source.sqlite.quoting import column
from vestige_migrate.source.sqlite.rowid_sample import rowid_span

RANGES_PER_WORKER = 8
"""Several a worker, so that one slow range at the end does not leave the others idle."""

MAX_RANGE_ROWS = 2500
"""Bounds a worker's memory, which holds the keys of one range at a time, and how long the last one is waited for: with
13 ranges of 100,000 rows one of two workers was idle for up to 0.7 of 5 s."""

MIN_RANGE_ROWS = 250
"""Below this a range costs more to hand out than it saves."""

SAMPLED_FROM_ROWS = 20_000
"""From here on the boundaries come from a sample: ranges are then about equal, and never need to be more."""

SAMPLES_PER_RANGE = 50
"""Keeps the sizes of nine ranges in ten within a quarter of each other."""

_DRAWS_PER_SAMPLE = 2

_DENSE = 0.9
"""Where so many of the rowids between the first and the last exist, equal steps between them are equal shares."""

_ROWID = [column("rowid")]


@dataclass(frozen=True)
class KeyPart:
    """One value of a boundary; `is_text` says that `value` holds the bytes of a text."""

    value: bytes | int | float
    is_text: bool = False


Key = tuple[KeyPart, ...]


Parameters = list[bytes | int | float | str]


@dataclass(frozen=True)
class _Numbered:
    """Part of a table. The halves of a range have its number."""

    table: str
    number: int

    def __str__(self) -> str:
        return f"{self.table} range {self.number}"


@dataclass(frozen=True)
class KeySpan(_Numbered):
    """The rows with `lower <= key < upper` (None: no bound).

    `nulls_apart`: the table has rows whose key has a NULL, and this range leaves them out; where it has none, not
    looking lets an index answer without the rows.
    """

    lower: Key | None = None
    upper: Key | None = None
    nulls_apart: bool = True

    def where(self, source: TableSource) -> tuple[str, Parameters]:
        """The predicate and its parameters."""
        names = [column(name) for name in source.order]
        looks = self.nulls_apart and source.order != ("rowid",)
        terms, parameters = _bounded(names, ((">=", self.lower), ("<", self.upper)))
        return " AND ".join([_has_no_null(names), *terms] if looks else terms) or EVERY_ROW, parameters


@dataclass(frozen=True)
class NullSpan(_Numbered):
    """The rows whose key has a NULL, with `lower <= rowid < upper` (None: no bound)."""

    lower: Key | None = None
    upper: Key | None = None

    def where(self, source: TableSource) -> tuple[str, Parameters]:
        """The predicate and its parameters."""
        null = f"NOT ({_has_no_null([column(name) for name in source.order])})"
        terms, parameters = _bounded(_ROWID, ((">=", self.lower), ("<", self.upper)))
        return " AND ".join([null, *terms]), parameters


@dataclass(frozen=True)
class Rows(_Numbered):
    """The rows with these rowids: what is left of a range that was halved, or rows that were looked up one by one."""

    rowids: tuple[int, ...]

    def where(self, _source: TableSource) -> tuple[str, Parameters]:
        """The predicate and its parameters."""
        return "n.rowid IN (SELECT value FROM json_each(?))", [json.dumps(self.rowids)]

    def __str__(self) -> str:
        return f"{super().__str__()}, {len(self.rowids)} rows of it"


Range = KeySpan | NullSpan | Rows
"""Rows of one table that are dealt with together. Only here are ranges written as SQL."""


def range_count(rows: int, workers: int) -> int:
    """How many ranges a table of `rows` rows is worth."""
    wanted = max(workers * RANGES_PER_WORKER, -(-rows // MAX_RANGE_ROWS))
    return max(1, min(wanted, -(-rows // MIN_RANGE_ROWS)))


def plan_ranges(
    connection: sqlite3.Connection, table: str, source: TableSource, workers: int, fine_end: bool = False
) -> list[Range]:
    """Ranges of about equal size at the quantiles of the key, then those of the NULL keys where there are any.

    With `fine_end`, the last of the former in small pieces: nobody waits long for the last piece of work, and where
    most rows are in the destination already, the new ones are the latest, and each costs as much as hundreds of the
    others if it joins an HNSW graph.
    """
    names = [column(name) for name in source.order]
    base = source.base_clause
    (total,) = connection.execute(f"SELECT COUNT(*) {base}").fetchone()
    with_null = any(
        connection.execute(f"SELECT EXISTS (SELECT 1 {base} WHERE {name} IS NULL)").fetchone()[0] for name in names
    )
    keyed = f"{base} WHERE {_has_no_null(names)}" if with_null else base
    count = connection.execute(f"SELECT COUNT(*) {keyed}").fetchone()[0] if with_null else total
    wanted = range_count(count, workers)
    keys = None
    if names == _ROWID:
        keys = _even_rowids(connection, base, count, wanted)
    if keys is None and not with_null and count >= SAMPLED_FROM_ROWS:
        keys = _sampled_quantiles(connection, base, names, wanted, count)
    if keys is None:
        keys = _quantiles(connection, keyed, names, -(-count // wanted) if count else 1)
    if fine_end and count > MIN_RANGE_ROWS:
        keys = [*keys, *_quantiles_from(connection, base, names, keys[-1] if keys else None)]
    ranges: list[Range] = [
        KeySpan(table, number, lower, upper, with_null) for number, (lower, upper) in enumerate(_between(keys))
    ]
    if with_null:
        nulls = f"{base} WHERE NOT ({_has_no_null(names)})"
        bounds = _between(_quantiles(connection, nulls, _ROWID, MAX_RANGE_ROWS))
        ranges += [NullSpan(table, len(ranges) + at, lower, upper) for at, (lower, upper) in enumerate(bounds)]
    return ranges


def _has_no_null(names: Sequence[str]) -> str:
    return " AND ".join(f"{name} IS NOT NULL" for name in names)


def _between(keys: Sequence[Key]) -> list[tuple[Key | None, Key | None]]:
    """Bounds (lower, upper) between these ascending keys, ties together; the first and the last are open."""
    bounds: list[Key | None] = [None]
    for key in keys:
        if key != bounds[-1]:
            bounds.append(key)
    bounds.append(None)
    return list(pairwise(bounds))


def _quantiles_from(connection: sqlite3.Connection, base: str, names: Sequence[str], lower: Key | None) -> list[Key]:
    """The key of every `MIN_RANGE_ROWS`th row from `lower` on."""
    condition, parameters = _bounded(names, ((">=", lower),))
    rows = f"{base} WHERE {' AND '.join([_has_no_null(names), *condition])}"
    return _quantiles(connection, rows, names, MIN_RANGE_ROWS, parameters)


def _bounded(names: Sequence[str], bounds: Sequence[tuple[str, Key | None]]) -> tuple[list[str], Parameters]:
    """The terms that hold a key within these bounds (None: no bound), and their parameters."""
    terms: list[str] = []
    parameters: Parameters = []
    for operator, key in bounds:
        if key is not None:
            bound = ", ".join("+CAST(? AS TEXT)" if part.is_text else "?" for part in key)
            terms.append(f"({', '.join(names)}) {operator} ({bound})")
            parameters.extend(part.value for part in key)
    return terms, parameters


def _quantiles(
    connection: sqlite3.Connection,
    rows: str,
    names: Sequence[str],
    step: int,
    parameters: Sequence[bytes | int | float | str] = (),
) -> list[Key]:
    """The key of every `step`th row in key order, the first row's left out.

    In C: only the boundaries come to Python, whatever the number of rows.
    """
    ranked = f"SELECT {_keys(names)}, ROW_NUMBER() OVER (ORDER BY {', '.join(names)}) - 1 AS at {rows}"
    found = connection.execute(
        f"SELECT {_typed(names)} FROM ({ranked}) WHERE at > 0 AND at % ? = 0 ORDER BY at", (*parameters, step)
    )
    return [_key(row) for row in found]


def _even_rowids(connection: sqlite3.Connection, base: str, rows: int, count: int) -> list[Key] | None:
    """Rowids that split the table into `count` parts without looking at its rows; None where too many are missing."""
    span = rowid_span(connection, base)
    if span is None:
        return None
    lowest, highest = span
    if rows < (highest - lowest + 1) * _DENSE:
        return None
    return [(KeyPart(lowest + (highest - lowest + 1) * part // count),) for part in range(1, count)]


def _sampled_quantiles(
    connection: sqlite3.Connection, base: str, names: Sequence[str], count: int, rows: int
) -> list[Key] | None:
    """Keys that split the table into about `count` equal parts, by a sample; None where the rowids are too sparse.

    Ranking every row costs 0.5 s at 100,000 rows while no worker has anything to do; this costs 10 ms. Rowids are
    drawn evenly from their whole span, and the ones that no row has are passed over, so that every row is as likely.
    """
    span = rowid_span(connection, base)
    if span is None:
        return None
    lowest, highest = span
    wanted = count * SAMPLES_PER_RANGE
    if highest - lowest >= rows * _DRAWS_PER_SAMPLE:
        return None
    drawn = sorted(random.Random(wanted).sample(range(lowest, highest + 1), min(wanted * _DRAWS_PER_SAMPLE, rows)))
    ordered = ", ".join(f"k{at}" for at in range(len(names)))
    sample = f"SELECT {_keys(names)} {base} WHERE n.rowid IN (SELECT value FROM json_each(?))"
    # In C, too: as Python objects the sample of a million rows would take 25 MB. Row `at` is a boundary where it is
    # `found * part / count` for a whole `part`, the least that is not before it.
    ranked = f"SELECT *, ROW_NUMBER() OVER (ORDER BY {ordered}) - 1 AS at, COUNT(*) OVER () AS found FROM ({sample})"
    boundaries = connection.execute(
        f"SELECT found, {_typed(names)} FROM ({ranked})"
        " WHERE at > 0 AND found * ((at * ? + found - 1) / found) / ? = at ORDER BY at",
        (json.dumps(drawn), count, count),
    ).fetchall()
    if not boundaries or boundaries[0][0] < wanted:
        return None
    return [_key(row[1:]) for row in boundaries]


def _keys(names: Sequence[str]) -> str:
    return ", ".join(f"{name} AS k{at}" for at, name in enumerate(names))


def _typed(names: Sequence[str]) -> str:
    """Storage class and value of each part of the key; a text as its bytes."""
    return ", ".join(
        f"typeof(k{at}), CASE typeof(k{at}) WHEN 'text' THEN CAST(k{at} AS BLOB) ELSE k{at} END"
        for at in range(len(names))
    )


def _key(row: Sequence[str | bytes | int | float]) -> Key:
    return tuple(KeyPart(value, kind == "text") for kind, value in zip(row[::2], row[1::2], strict=True))  # type: ignore[arg-type]
