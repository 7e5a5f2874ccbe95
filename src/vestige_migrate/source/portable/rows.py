"""Rows of a portable archive: from JSON to SQLite's values, and into a table of the private file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from vestige_migrate.source.file.salvage import LostRow
from vestige_migrate.source.layout.known_names import READ_TABLES
from vestige_migrate.source.layout.vectors import VECTOR_TABLES
from vestige_migrate.source.portable.json_stream import JsonReader, Pairs, row_decoder
from vestige_migrate.source.portable.tables import KEYS, NUMBERED
from vestige_migrate.source.sqlite.quoting import quote_identifier

Values = list[Any]

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_ROWS_AT_ONCE = 2000
_CHARS_AT_ONCE = 4 * 1024 * 1024
_HEX = frozenset("0123456789abcdefABCDEF")


class BadCell:
    """A cell that is none, and why, in words without its value."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def decode_cell(pairs: Pairs) -> object:
    """The SQLite value of a cell: `{"type": ..., "value": ...}`; a `BadCell` where it is none of Vestige's."""
    if len(pairs) == 2:
        (first, kind), (second, value) = pairs
        if first != "type":
            first, kind, second, value = second, value, first, kind
        if first == "type" and second == "value":
            # In the order of how many there are.
            if kind == "text":
                return value if type(value) is str else BadCell("its text is none")
            if kind == "integer":
                return _integer(value)
            if kind == "real":
                return _real(value)
            if kind == "blob":
                return _blob(value)
            if kind == "null" and value is None:
                return None
            return BadCell("its type is none of null, integer, real, text and blob")
    if pairs == [("type", "null")]:
        return None
    return BadCell("it has other members than type and value")


def _integer(value: object) -> object:
    if type(value) is not int:
        return BadCell("its integer is none")
    return value if _LOWEST <= value <= _HIGHEST else BadCell("its integer has more than 64 bits")


def _real(value: object) -> object:
    if value is None:
        return BadCell("its real is infinite, which JSON has no word for: Vestige wrote null")
    if type(value) not in (int, float):
        return BadCell("its real is none")
    try:
        number = float(value)  # type: ignore[arg-type]  # mypy does not narrow by `type(...) in`
    except OverflowError:
        return BadCell("its real is too large")
    return number if abs(number) != float("inf") else BadCell("its real is too large")


def _blob(value: object) -> object:
    if type(value) is not str:
        return BadCell("its blob is no text of hex digits")
    if len(value) % 2:
        return BadCell("its blob has an odd number of hex digits")
    try:
        blob = bytes.fromhex(value)
    except ValueError:
        blob = None
    # White space, which Python lets pass, is no digit.
    if blob is None or 2 * len(blob) != len(value):
        return BadCell("its blob has something that is no hex digit")
    return blob


class RowReader:
    """Reads the rows of one table. `lost` are those that cannot be read, and cells of others: a cell alone where it is
    no key and the table's rows come over one by one, so that the rest of the row does."""

    def __init__(self, table: str, columns: Sequence[str]) -> None:
        self.lost: list[LostRow] = []
        self._table, self._columns = table, columns
        self._keeps_cells = table in READ_TABLES and table not in VECTOR_TABLES
        self._cells = 0
        self._has_bad = False
        self._decoder = row_decoder(self._cell)

    def _cell(self, pairs: Pairs) -> object:
        self._cells += 1
        value = decode_cell(pairs)
        if type(value) is BadCell:
            self._has_bad = True
        return value

    def _begin(self) -> None:
        self._cells, self._has_bad = 0, False

    def read(self, reader: JsonReader, number: int) -> Values | None:
        """The values of the next row, the `number`-th; None where it is lost. Raises `NotJson`."""
        values = reader.value(self._decoder, self._begin)
        if type(values) is not list:
            self._lose(number, "it is no list of cells")
            return None
        # What is no object was not counted; what is in one was counted twice.
        if self._cells != len(values):
            self._lose(number, "one of its cells is none")
            return None
        if len(values) != len(self._columns):
            self._lose(number, f"it has {len(values)} cells for {len(self._columns)} columns")
            return None
        return self._checked(values, number) if self._has_bad else values

    def _checked(self, values: Values, number: int) -> Values | None:
        bad = {name: cell for name, cell in zip(self._columns, values, strict=True) if isinstance(cell, BadCell)}
        key = KEYS.get(self._table, ())
        # What the row is named by, and no more of it: there may be many.
        known = tuple(
            (name, cell)
            for name, cell in zip(self._columns, values, strict=True)
            if name in key and not isinstance(cell, BadCell)
        )
        if not self._keeps_cells or bad.keys() & set(key):
            name, cell = next(iter(bad.items()))
            self.lost.append(LostRow(self._table, number, known, f"column {name}: {cell.reason}"))
            return None
        for name, cell in bad.items():
            self.lost.append(LostRow(self._table, number, known, cell.reason, name))
        return [None if isinstance(cell, BadCell) else cell for cell in values]

    def _lose(self, number: int, reason: str) -> None:
        self.lost.append(LostRow(self._table, number, (), reason))


class TableWriter:
    """A table of the private file, with the archive's columns, and with Vestige's key as long as the rows keep it.

    Raises sqlite3.Error where the names are none that SQLite takes.
    """

    def __init__(self, connection: sqlite3.Connection, table: str, columns: Sequence[str]) -> None:
        self._connection, self._table, self._columns = connection, table, columns
        self._name = quote_identifier(table)
        key = KEYS.get(table, ())
        self._key = key if set(key) <= set(columns) else ()
        self._number = columns.index(self._key[0]) if self._key and table in NUMBERED else None
        self._rows: list[Values] = []
        self._chars = 0
        connection.execute(self._definition(self._name, self._key))
        self._insert = f"INSERT INTO {self._name} VALUES ({', '.join('?' * len(columns))})"

    def _definition(self, name: str, key: Sequence[str]) -> str:
        number = self._columns[self._number] if self._number is not None and key else None
        columns = [
            f"{quote_identifier(column)}{' INTEGER PRIMARY KEY' if column == number else ''}"
            for column in self._columns
        ]
        if key and number is None:
            columns.append(f"PRIMARY KEY ({', '.join(map(quote_identifier, key))})")
        return f"CREATE TABLE {name} ({', '.join(columns)})"

    def add(self, values: Values, chars: int) -> None:
        """Takes a row that is written as so many characters."""
        if self._number is not None and type(values[self._number]) is not int:
            self._give_up_key()  # SQLite would make a number of its own for a NULL
        self._rows.append(values)
        self._chars += chars
        if len(self._rows) >= _ROWS_AT_ONCE or self._chars >= _CHARS_AT_ONCE:
            self._flush()

    def finish(self) -> None:
        """Writes what is left."""
        self._flush()

    def _flush(self) -> None:
        rows, self._rows, self._chars = self._rows, [], 0
        done = 0
        while done < len(rows):
            before = self._connection.total_changes
            try:
                self._connection.executemany(self._insert, rows[done:])
            except sqlite3.IntegrityError:
                # Two rows of one key, which no file of Vestige's has: both are there, as in any file without its key.
                done += self._connection.total_changes - before
                self._give_up_key()
            except UnicodeEncodeError:
                done += self._connection.total_changes - before
                self._write_bytes(rows[done])
                done += 1
            else:
                return

    def _write_bytes(self, values: Values) -> None:
        """A row with a text that is no valid Unicode, as the bytes that it stands for: the copy names it later."""
        marks = ", ".join("CAST(? AS TEXT)" if isinstance(value, str) else "?" for value in values)
        encoded = [_bytes(value) if isinstance(value, str) else value for value in values]
        try:
            self._connection.execute(f"INSERT INTO {self._name} VALUES ({marks})", encoded)
        except sqlite3.IntegrityError:
            self._give_up_key()
            self._write_bytes(values)

    def _give_up_key(self) -> None:
        if not self._key:
            return
        self._key, self._number = (), None
        # Not `ALTER TABLE`: it cannot take a key away.
        other = quote_identifier(f"{self._table} without its key")
        self._connection.execute(self._definition(other, ()))
        self._connection.execute(f"INSERT INTO {other} SELECT * FROM {self._name} ORDER BY rowid")
        self._connection.execute(f"DROP TABLE {self._name}")
        self._connection.execute(f"ALTER TABLE {other} RENAME TO {self._name}")


def _bytes(text: str) -> bytes:
    """Bytes of a file that are no UTF-8 came as lone surrogates; an escape such as `\\ud800` is one by itself."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
