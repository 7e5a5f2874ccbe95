"""Reading rows of any table whatever its shape, for `--archive`: a batch at a time, every value as it is stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from vestige_migrate.decode.problem import Raw
from vestige_migrate.decode.text import tolerant_text
from vestige_migrate.source.select import column, quote_identifier

_ROWID_NAMES = ("_rowid_", "rowid", "oid")
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
        found = connection.execute(f"PRAGMA table_info({self._name})").fetchall()
        self.columns = [str(row[1]) for row in found]
        self._key = [at for _, at in sorted((row[5], at) for at, row in enumerate(found) if row[5])]
        self._rowid = self._find_rowid()

    def _find_rowid(self) -> str | None:
        """The rowid as an expression; None for a table WITHOUT ROWID."""
        taken = {name.lower() for name in self.columns}
        for name in _ROWID_NAMES:
            if name in taken:
                continue
            try:
                self._connection.execute(f"SELECT {column(name)} FROM {self._name} AS n LIMIT 0").close()
            except sqlite3.OperationalError:
                return None
            return column(name)
        return None

    def batches(self, where: str, rows: int, size: int) -> Iterator[list[AnyRow]]:
        """The rows for which `where` holds, at most `rows` rows or about `size` bytes at a time."""
        selected = ", ".join(column(name) for name in self.columns)
        if self._rowid is None:
            # No rowid to go on from: one statement, whose snapshot lasts until its last row.
            statement = f"SELECT NULL, {selected} FROM {self._name} AS n WHERE {where}"
            with closing(self._connection.execute(statement)) as cursor:
                while batch := self._take(cursor, rows, size):
                    yield batch
            return
        last: int | None = None
        while True:
            after = "" if last is None else f" AND {self._rowid} > {last}"
            statement = (
                f"SELECT {self._rowid}, {selected} FROM {self._name} AS n WHERE ({where}){after} ORDER BY {self._rowid}"
            )
            with closing(self._connection.execute(statement)) as cursor:
                batch = self._take(cursor, rows, size)
            if not batch:
                return
            yield batch
            last = batch[-1].rowid

    def _take(self, cursor: sqlite3.Cursor, rows: int, size: int) -> list[AnyRow]:
        batch: list[AnyRow] = []
        taken = 0
        for rowid, *values in cursor:
            batch.append(AnyRow(tuple(values), tuple(values[at] for at in self._key), rowid))
            taken += sum(map(_bytes, values))
            if len(batch) >= rows or taken >= size:
                break
        return batch


def _bytes(value: Raw) -> int:
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogateescape"))
    return _ORDINARY_VALUE_BYTES
