"""Reading rows of any table whatever its shape, for `--archive`: a batch at a time, every value as it is stored."""

from __future__ import annotations

import json
import sqlite3
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from vestige_migrate.decode.problem import Raw
from vestige_migrate.decode.text import tolerant_text
from vestige_migrate.source.layout import sqlite_schema as schema
from vestige_migrate.source.layout.table_source import EVERY_ROW
from vestige_migrate.source.sqlite.quoting import column, quote_identifier

_ORDINARY_VALUE_BYTES = 8


@dataclass(frozen=True)
class AnyRow:
    """A row: all columns' values, those of the primary key (empty without one), and the rowid (None without one)."""

    values: tuple[Raw, ...]
    key: tuple[Raw, ...]
    rowid: int | None


class AnyTable:
    """A table as it stands in the file. Texts that are no UTF-8 come with lone surrogates in them."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        connection.text_factory = tolerant_text
        self._name = quote_identifier(name)
        found = schema.columns_of(connection, name)
        self.columns = [item.name for item in found]
        self._key = [at for _, at in sorted((item.key, at) for at, item in enumerate(found) if item.key)]
        rowid = schema.rowid_name(connection, name, found)
        # As an expression; None for a table WITHOUT ROWID.
        self._rowid = None if rowid is None else column(rowid)

    def batches(self, where: str, rows: int, size: int) -> Iterator[list[AnyRow]]:
        """The rows for which `where` holds, at most `rows` rows or about `size` bytes at a time."""
        if self._rowid is None:
            # No rowid to go on from: one statement, whose snapshot lasts until its last row.
            with closing(self._select("NULL", f"WHERE {where}")) as cursor:
                while batch := self._take(cursor, rows, size):
                    yield batch
        elif where == EVERY_ROW:
            yield from self._in_order(self._rowid, rows, size)
        else:
            yield from self._chosen(self._rowid, where, rows, size)

    def _in_order(self, rowid: str, rows: int, size: int) -> Iterator[list[AnyRow]]:
        after = ""
        while True:
            with closing(self._select(rowid, f"{after} ORDER BY {rowid}")) as cursor:
                batch = self._take(cursor, rows, size)
            if not batch:
                return
            yield batch
            after = f"WHERE {rowid} > {batch[-1].rowid}"

    def _chosen(self, rowid: str, where: str, rows: int, size: int) -> Iterator[list[AnyRow]]:
        """The condition is judged once, for 8 bytes a row: asked again for each batch, it reads the table each time
        (measured on 16,000 of 32,000 vectors: 6 s)."""
        listed = self._connection.execute(
            f"SELECT {rowid} FROM {self._name} AS n NOT INDEXED WHERE {where} ORDER BY {rowid}"
        )
        chosen = array("q", (at for (at,) in listed))
        start = 0
        while start < len(chosen):
            end = min(start + rows, len(chosen))
            some = json.dumps(chosen[start:end].tolist())
            among = f"WHERE {rowid} IN (SELECT value FROM json_each(?)) ORDER BY {rowid}"
            with closing(self._select(rowid, among, some)) as cursor:
                batch = self._take(cursor, rows, size)
                complete = cursor.fetchone() is None
            if batch:
                yield batch
            # What another program deleted since it was listed is passed over.
            start = end if complete else bisect_right(chosen, _rowid(batch[-1]), start, end)

    def _select(self, rowid: str, rest: str, *parameters: str) -> sqlite3.Cursor:
        selected = ", ".join(column(name) for name in self.columns)
        # An index may lack rows (`source.file.oddities`), and a table of no particular meaning is not checked for it.
        statement = f"SELECT {rowid}, {selected} FROM {self._name} AS n NOT INDEXED {rest}"
        return self._connection.execute(statement, parameters)

    def _take(self, cursor: sqlite3.Cursor, rows: int, size: int) -> list[AnyRow]:
        batch: list[AnyRow] = []
        taken = 0
        for rowid, *values in cursor:
            batch.append(AnyRow(tuple(values), tuple(values[at] for at in self._key), rowid))
            taken += sum(map(_bytes, values))
            if len(batch) >= rows or taken >= size:
                break
        return batch


def _rowid(row: AnyRow) -> int:
    assert row.rowid is not None
    return row.rowid


def _bytes(value: Raw) -> int:
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogateescape"))
    return _ORDINARY_VALUE_BYTES
