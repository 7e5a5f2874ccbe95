"""Finding the row that kills its worker: by halving, and then by name."""

from __future__ import annotations

import sqlite3

from vestige_migrate.report.rows import NIL_UUID, Outcome, RowError
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.ranges import Range, Rows
from vestige_migrate.source.read.rows import list_keys, list_rowids
from vestige_migrate.tables.row_names import name_key
from vestige_migrate.tables.shapes import Shapes

KILLS_OF_A_RANGE = 3
KILLS_OF_A_ROW = 3
"""The system may kill a worker for what another process did: one death condemns no row."""


def kills_allowed(range_: Range) -> int:
    """After how many killed workers a range is halved, or, being one row, given up."""
    if not isinstance(range_, Rows):
        return KILLS_OF_A_RANGE
    return KILLS_OF_A_ROW if len(range_.rowids) == 1 else 1


class Bisector:
    """Knows the source that the ranges are of."""

    def __init__(self, connection: sqlite3.Connection, sources: dict[str, TableSource], shapes: Shapes) -> None:
        self._connection = connection
        self._sources = sources
        self._shapes = shapes

    def halves(self, range_: Range) -> list[Rows]:
        """Two ranges that hold the rows of this one; one where it has a single row, none where its rows are gone."""
        if isinstance(range_, Rows):
            rowids = range_.rowids
        else:
            rowids = tuple(list_rowids(self._connection, self._sources[range_.table], range_))
        middle = len(rowids) // 2
        return [Rows(range_.table, range_.number, half) for half in (rowids[:middle], rowids[middle:]) if half]

    def verdict(self, range_: Range, reason: str, done: str) -> RowError:
        """The error of the one row of this range; `done` is what is done with rows."""
        table, source = self._shapes.table(range_.table), self._sources[range_.table]
        rows = list_keys(self._connection, source, range_)
        id_ = name_key(table, rows[0][1:]) if rows else NIL_UUID
        rowid = range_.rowids[0] if isinstance(range_, Rows) else None
        ending, _, why = reason.partition(": ")
        message = f"the worker {ending} whenever it {done} this row (rowid {rowid})" + (f": {why}" if why else "")
        return RowError(table.name, id_, None, message, Outcome.NOT_COPIED)
