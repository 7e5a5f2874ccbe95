"""How large rows are, without reading them all: by a sample, bounded by the pages of the file."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.sqlite.quoting import column, quote_identifier

_STRETCHES, _STRETCH_ROWS = 64, 8
"""Neighbours are read together, so that a file that is not in memory costs few seeks; a table of up to 512 rows is
measured whole."""
_NUMBER_BYTES = 8
_NOTHING = "0"


@dataclass(frozen=True)
class RowSize:
    """Mean bytes of a row's values in the source, by `sampled` rows; `exact` where those are all of them.

    `text` is what full-text search reads (the content), `vector` the embedding, `vectors` the share of rows that have
    one, `other` everything else.
    """

    text: float = 0.0
    vector: float = 0.0
    other: float = 0.0
    vectors: float = 0.0
    sampled: int = 0
    exact: bool = True


def file_bytes(connection: sqlite3.Connection) -> int:
    """Pages of the file that are in use: no table holds more than this."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def row_size(connection: sqlite3.Connection, source: TableSource, text: int | None, vector: int | None) -> RowSize:
    """Sizes of the rows that come from `source`; `text` and `vector` are the places of those two in its values."""
    special = {text, vector}
    others = [value for at, value in enumerate(source.values) if value is not None and at not in special]
    others += [column(name) for name in source.extras]
    embedding = _at(source, vector)
    rows, exact = _sample(connection, source.base)
    found = connection.execute(
        f"SELECT COUNT(*), TOTAL({_length(_at(source, text))}), TOTAL({_blob_length(embedding)}),"
        f" TOTAL({' + '.join(map(_length, others)) or _NOTHING}), TOTAL(typeof({embedding}) = 'blob')"
        f" {source.from_clause} WHERE n.rowid IN (SELECT value FROM json_each(?))",
        (json.dumps(rows),),
    ).fetchone()
    return _mean(found, exact)


def any_row_size(connection: sqlite3.Connection, table: str, columns: Sequence[str]) -> RowSize:
    """Sizes of the rows of a table of no particular meaning, by its first ones: all of it is `other`."""
    most = _STRETCHES * _STRETCH_ROWS
    lengths = " + ".join(_length(column(name)) for name in columns)
    found = connection.execute(
        f"SELECT COUNT(*), 0, 0, TOTAL({lengths or _NOTHING}), 0"
        f" FROM (SELECT * FROM {quote_identifier(table)} LIMIT {most + 1}) AS n"
    ).fetchone()
    return _mean(found, found[0] <= most)


def _mean(totals: tuple[int, float, float, float, float], exact: bool) -> RowSize:
    rows, text, vector, other, vectors = totals
    return RowSize(text / rows, vector / rows, other / rows, vectors / rows, rows, exact) if rows else RowSize()


def _at(source: TableSource, place: int | None) -> str:
    return (source.values[place] if place is not None else None) or "NULL"


def _length(expression: str) -> str:
    """Bytes of a value. LENGTH alone counts the characters of a text, up to its first NUL."""
    return (
        f"CASE typeof({expression}) WHEN 'text' THEN LENGTH(CAST({expression} AS BLOB))"
        f" WHEN 'blob' THEN LENGTH({expression}) WHEN 'null' THEN 0 ELSE {_NUMBER_BYTES} END"
    )


def _blob_length(expression: str) -> str:
    return f"CASE typeof({expression}) WHEN 'blob' THEN LENGTH({expression}) ELSE 0 END"


def _sample(connection: sqlite3.Connection, base: str) -> tuple[list[int], bool]:
    """Rowids of stretches of neighbours that begin at random places, the same ones every time; whether of all rows."""
    name = quote_identifier(base)
    most = _STRETCHES * _STRETCH_ROWS
    first = [row for (row,) in connection.execute(f"SELECT rowid FROM {name} ORDER BY rowid LIMIT ?", (most + 1,))]
    if len(first) <= most:
        return first, True
    (highest,) = connection.execute(f"SELECT MAX(rowid) FROM {name}").fetchone()
    draw = random.Random(highest)
    starts = [draw.randint(first[0], highest) for _ in range(_STRETCHES)]
    stretch = f"SELECT rowid FROM {name} WHERE rowid >= ? ORDER BY rowid LIMIT {_STRETCH_ROWS}"
    return sorted({row for start in starts for (row,) in connection.execute(stretch, (start,))}), False
