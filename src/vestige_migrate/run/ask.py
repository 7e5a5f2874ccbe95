"""What is to be done with the rows of a range: asked of both sides by key, before any row is read."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from vestige_migrate.decode.problem import Raw
from vestige_migrate.destination.connect import Connection
from vestige_migrate.destination.present import PresenceCheck
from vestige_migrate.source.layout import Layout
from vestige_migrate.source.ranges import Range
from vestige_migrate.source.read import Row, list_keys, list_rowids
from vestige_migrate.source.select import TableSource
from vestige_migrate.tables.base import Refresh, Table
from vestige_migrate.wire import field as wire
from vestige_migrate.wire.column import Encoder, texts, uuids


@dataclass(frozen=True)
class Answer:
    """Rows of a range: rowids that the destination lacks, rowid and first key column of those that are outdated
    there, and how many stay as they are."""

    new: list[int]
    outdated: list[tuple[int, Raw]] = field(default_factory=list)
    kept: int = 0


class KeyAsker:
    """Asks for one table. With `refresh` the column that decides is read and compared together with the keys."""

    def __init__(self, table: Table, source: TableSource, refresh: Refresh | None, layout: Layout) -> None:
        self._table = table
        self._source = source
        self._refresh = refresh
        self._encoders: list[Encoder] = [uuids if kind == "uuid" else texts for kind in table.key_types]
        self._more: list[str] = []
        if refresh is not None:
            at = table.index(refresh.decides)
            expression = source.values[at]
            assert expression is not None  # `Table.refresh_from` gives no rule without it
            self._more.append(expression)
            self._encoders.append(table.columns[at].encoder(layout))

    def ask(self, sqlite: sqlite3.Connection, postgres: Connection | None, range_: Range) -> Answer:
        """What the destination says of the range; without one every row is new."""
        if postgres is None:
            return Answer(list_rowids(sqlite, self._source, range_))
        rows = list_keys(sqlite, self._source, range_, *self._more)
        if not rows:
            return Answer([])
        keys = self._encode(rows)
        # A key that cannot be written (no UUID, NULL) is not there for certain: the row goes its normal way.
        parts = len(self._table.key)
        askable = [at for at, fields in enumerate(zip(*keys[:parts], strict=True)) if wire.NULL not in fields]
        asked = [[column[at] for at in askable] for column in keys]
        found = PresenceCheck(postgres, self._table, self._refresh).find(asked)
        present = {askable[at]: outdated for at, outdated in found.items()}
        outdated = self._first_of_each_key(keys[:parts], [at for at, verdict in present.items() if verdict])
        return Answer(
            new=[_rowid(row) for at, row in enumerate(rows) if at not in present],
            outdated=[(_rowid(rows[at]), rows[at][1]) for at in outdated],
            kept=len(present) - len(outdated),
        )

    def _encode(self, rows: Sequence[Row]) -> list[list[bytes]]:
        """The keys' columns, then the one that decides; NULL where a value cannot be written."""
        columns = list(zip(*rows, strict=True))[1:]
        return [
            [wire.NULL if value is None else value for value in encode(values).fields]
            for encode, values in zip(self._encoders, columns, strict=True)
        ]

    def _first_of_each_key(self, keys: Sequence[Sequence[bytes]], outdated: Sequence[int]) -> list[int]:
        """Of rows that are one row to the destination (ids in two spellings), only the first may replace it."""
        if not outdated:
            return []
        first: dict[tuple[bytes, ...], int] = {}
        for at, key in enumerate(zip(*keys, strict=True)):
            first.setdefault(key, at)
        return sorted(set(outdated).intersection(first.values()))


def _rowid(row: Row) -> int:
    rowid = row[0]
    assert isinstance(rowid, int)
    return rowid
