"""Reading the rows of a range: first their keys, in key order, then the rows themselves, a batch at a time.

The keys come alone because they are cheap (no content, no vector): a second run asks the destination about them and
then reads nothing but what is missing, and a batch can be bounded in bytes without holding a cursor open, so that no
read transaction outlives a batch and a live Vestige is never kept from writing.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from vestige_migrate.decode.problem import Raw
from vestige_migrate.decode.text import tolerant_text
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.ranges import MAX_RANGE_ROWS, KeySpan, Range
from vestige_migrate.source.sqlite import driver
from vestige_migrate.source.sqlite.quoting import column
from vestige_migrate.source.sqlite.rowid_sample import rowid_span

Row = tuple[Raw, ...]

_NARROW_BYTES = 8192
"""Where a batch has room for rows of this size, values up to a row's share of it are read without counting."""

_LARGEST_SPAN = 2 * MAX_RANGE_ROWS
"""Rowids that far apart have so many missing between them that the rest is better listed."""

_WALKED_ROWS = 1000

_KEYS_AT_ONCE = 10_000
"""Below SQLite's limit of 32,766 parameters a statement."""


def list_keys(connection: sqlite3.Connection, source: TableSource, range_: Range, *more: str) -> list[Row]:
    """(rowid, *key, *more) of every row of the range, in key order; `more` are expressions."""
    where, parameters = range_.where(source)
    order = ", ".join(column(name) for name in source.order)
    statement = f"SELECT {', '.join(('n.rowid', *source.key, *more))} {source.rows_clause(where)} ORDER BY {order}"
    return _fetch_all(connection, statement, parameters)


def list_rowids(connection: sqlite3.Connection, source: TableSource, range_: Range) -> list[int]:
    """The rowid of every row of the range, in the order of the key's first column: an index alone may answer."""
    where, parameters = range_.where(source)
    statement = f"SELECT n.rowid {source.rows_clause(where)} ORDER BY {column(source.order[0])}"
    return [rowid for (rowid,) in connection.execute(statement, parameters)]


def cover_rowids(connection: sqlite3.Connection, source: TableSource, range_: Range) -> Sequence[int]:
    """Rowids in which those of all rows of the range are, ascending or in key order; some may have no row.

    Where the rowids are the key and hardly any is missing, two look-ups say so and no row is listed.
    """
    if source.order == ("rowid",) and isinstance(range_, KeySpan):
        where, parameters = range_.where(source)
        span = rowid_span(connection, source.rows_clause(where), parameters)
        if span is None:
            return []
        lowest, highest = span
        if highest - lowest < _LARGEST_SPAN:
            return range(lowest, highest + 1)
    return list_rowids(connection, source, range_)


def _fetch_all(connection: sqlite3.Connection, statement: str, parameters: Sequence[Raw]) -> list[Row]:
    try:
        return connection.execute(statement, parameters).fetchall()
    except driver.operational_errors() as error:
        if not _is_invalid_utf8(error):
            raise
        with _tolerant(connection):
            return connection.execute(statement, parameters).fetchall()


def _is_invalid_utf8(error: sqlite3.OperationalError) -> bool:
    # sqlite3 quotes the text in this message, so the error itself must go nowhere.
    return str(error).startswith("Could not decode to UTF-8")


@contextmanager
def _tolerant(connection: sqlite3.Connection) -> Iterator[None]:
    """Texts with invalid UTF-8 are handed out with lone surrogates in them instead of an error."""
    connection.text_factory = tolerant_text
    try:
        yield
    finally:
        connection.text_factory = str


def read_batches(
    connection: sqlite3.Connection,
    source: TableSource,
    rowids: Sequence[int],
    batch_rows: int,
    batch_bytes: int,
) -> Iterator[list[Row]]:
    """The rows with these rowids, at most `batch_rows` rows or about `batch_bytes` bytes at a time.

    A row that another program deleted since its key was listed is not among them, so a batch may be empty.
    """
    select = f"SELECT {', '.join(_expressions(source))} {source.from_clause}"
    widest = batch_bytes // batch_rows
    narrow = widest >= _NARROW_BYTES and hasattr(connection, "setlimit")  # sqlcipher3 has none
    for start in range(0, len(rowids), batch_rows):
        pending = sorted(rowids[start : start + batch_rows])
        if narrow:
            found = _read_narrow(connection, select, pending, widest)
            if found is not None:
                yield found
                continue
            narrow = False
        while pending:
            rows, asked = _read_counted(connection, source, pending, batch_bytes)
            yield rows
            pending = pending[asked:]


def walk_rows(
    connection: sqlite3.Connection, source: TableSource, take: Callable[[Row], None], beat: Callable[[], None]
) -> None:
    """Hands (rowid, *key, *values) of every row of the table to `take`, by ascending rowid, one at a time.

    No read transaction lasts for more than some rows; between them `beat` is called.
    """
    values = ", ".join(("n.rowid", *source.key, *_expressions(source)))
    statement = f"SELECT {values} {source.by_rowid().from_clause} WHERE n.rowid >= ? ORDER BY n.rowid LIMIT ?"
    walk = _Walk(take)
    while not walk.is_over:
        left = _WALKED_ROWS
        try:
            walk.go(connection.execute(statement, (walk.start, left)), left)
        except driver.operational_errors() as error:
            if not _is_invalid_utf8(error):
                raise
            with _tolerant(connection):
                walk.go(connection.execute(statement, (walk.start, left)), left)
        beat()


class _Walk:
    """How far rows were taken."""

    def __init__(self, take: Callable[[Row], None]) -> None:
        self._take = take
        self.start = -(2**63)
        self.is_over = False

    def go(self, cursor: sqlite3.Cursor, most: int) -> None:
        """Takes the cursor's rows; it is over where they are fewer than it might have had."""
        found = 0
        for row in cursor:
            self._take(row)
            found += 1
            self.start = row[0] + 1
        self.is_over = found < most or self.start >= 2**63


def read_by_key(connection: sqlite3.Connection, source: TableSource, keys: Sequence[Raw]) -> list[Row]:
    """The rows whose key's first column is among `keys`; for small rows, since nothing bounds their bytes."""
    rows: list[Row] = []
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[start : start + _KEYS_AT_ONCE]
        marks = ",".join("?" * len(some))
        statement = (
            f"SELECT {', '.join(_expressions(source))} {source.lookup_clause}"
            f" WHERE {source.key[0]} IN ({marks}) ORDER BY n.rowid"
        )
        rows += _fetch_all(connection, statement, some)
    return rows


def read_value_by_key(
    connection: sqlite3.Connection, source: TableSource, expression: str, keys: Sequence[Raw]
) -> list[Row]:
    """(key, value of the expression) of the rows whose key, which is one column, is among `keys`."""
    rows: list[Row] = []
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[start : start + _KEYS_AT_ONCE]
        statement = (
            f"SELECT {source.key[0]}, {expression} {source.lookup_clause}"
            f" WHERE {source.key[0]} IN ({','.join('?' * len(some))})"
        )
        rows += _fetch_all(connection, statement, some)
    return rows


def _expressions(source: TableSource) -> list[str]:
    """What `BatchEncoder` is given of a row, in its order."""
    return [value for value in source.values if value is not None] + [column(name) for name in source.extras]


def _read_narrow(connection: sqlite3.Connection, select: str, rowids: Sequence[int], widest: int) -> list[Row] | None:
    """All rows by ascending rowid; None, before it is in memory, where a value has more than `widest` bytes.

    SQLite itself looks at the sizes. To add them up here costs as much as to read the rows.
    """
    before = connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(widest, before))
    try:
        return _fetch_all(connection, f"{select} WHERE {among(rowids)}", parameters(rowids))
    except sqlite3.DataError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_TOOBIG:
            raise
        return None
    finally:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, before)


def among(rowids: Sequence[int]) -> str:
    """The condition for these ascending rowids; one walk where they have no gap, else a search for each."""
    condition = "BETWEEN ? AND ?" if _gapless(rowids) else f"IN ({','.join('?' * len(rowids))})"
    return f"n.rowid {condition} ORDER BY n.rowid"


def parameters(rowids: Sequence[int]) -> Sequence[int]:
    """The parameters of `among`."""
    return (rowids[0], rowids[-1]) if _gapless(rowids) else rowids


def _gapless(rowids: Sequence[int]) -> bool:
    return rowids[-1] - rowids[0] + 1 == len(rowids)


def _read_counted(
    connection: sqlite3.Connection, source: TableSource, rowids: Sequence[int], limit: int
) -> tuple[list[Row], int]:
    """Rows by ascending rowid, up to about `limit` bytes, and how many of the rowids they stand for."""
    statement = f"SELECT {', '.join(['n.rowid', *_expressions(source)])} {source.from_clause} WHERE {among(rowids)}"
    try:
        rows, complete = _take(connection.execute(statement, parameters(rowids)), limit)
    except driver.operational_errors() as error:
        if not _is_invalid_utf8(error):
            raise
        with _tolerant(connection):
            rows, complete = _take(connection.execute(statement, parameters(rowids)), limit)
    asked = len(rowids) if complete else bisect_right(rowids, rows[-1][0])  # type: ignore[type-var]
    return [row[1:] for row in rows], asked


def _take(cursor: sqlite3.Cursor, limit: int) -> tuple[list[Row], bool]:
    # Every column counts: SQLite puts no bound on any of them, whatever its type is called.
    rows: list[Row] = []
    size = 0
    for row in cursor:
        rows.append(row)
        for value in row:
            if type(value) is str:
                size += len(value) if value.isascii() else len(value.encode("utf-8", "surrogateescape"))
            elif type(value) is bytes:
                size += len(value)
        if size >= limit:
            cursor.close()
            return rows, False
    return rows, True
