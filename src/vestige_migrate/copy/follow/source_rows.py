"""What the source's rows were when they were read last, so that a pass finds those that changed since.

SQLite tells that a file was written to, and not what: so every row is read again, on this side alone, and summed up in
64 bits. 24 bytes a row are held, and what did not change is neither sent nor asked about.
"""

from __future__ import annotations

import marshal
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.rows import Row, walk_rows

_Numbers = NDArray[np.int64]

_MARSHAL_VERSION = 2
"""Equal values are equal bytes: later versions write down which of them are one object."""


@dataclass(frozen=True)
class TableRows:
    """Of each row of a table its rowid, ascending, and what stands for its key and for all of it."""

    rowids: _Numbers
    keys: _Numbers
    rows: _Numbers

    def __len__(self) -> int:
        return len(self.rowids)

    def changed_since(self, before: TableRows) -> list[int]:
        """The rowids of rows that were not there before, or are not as they were."""
        at = np.searchsorted(before.rowids, self.rowids)
        at[at == len(before)] = 0
        same = np.zeros(len(self), dtype=bool)
        if len(before):
            same = (before.rowids[at] == self.rowids) & (before.rows[at] == self.rows)
        changed: list[int] = self.rowids[~same].tolist()
        return changed

    def lost_since(self, before: TableRows) -> int:
        """How many keys there are no more."""
        return len(np.setdiff1d(before.keys, self.keys))


def read_rows(sqlite: sqlite3.Connection, source: TableSource, beat: Callable[[], None]) -> TableRows:
    """Reads the whole table, some rows at a time, so that no read transaction keeps the file's owner from writing.

    `beat` is called now and then.
    """
    rowids: list[int] = []
    keys: list[int] = []
    rows: list[int] = []
    end_of_key = 1 + len(source.key)

    def take(row: Row) -> None:
        rowids.append(row[0])  # type: ignore[arg-type]
        keys.append(_summed(row[1:end_of_key]))
        rows.append(_summed(row[1:]))

    walk_rows(sqlite, source, take, beat)
    return TableRows(*(np.array(numbers, dtype=np.int64) for numbers in (rowids, keys, rows)))


def _summed(values: Row) -> int:
    """64 bits that stand for the values, within this process: by `hash` alone -1 would be -2, and 1 be 1.0."""
    return hash(marshal.dumps(values, _MARSHAL_VERSION))
