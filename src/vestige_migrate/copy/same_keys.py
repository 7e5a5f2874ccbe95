"""Rows of a source that have one key, to the destination: in one file or in several, and however it is spelt."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from vestige_migrate.copy.difference import Answer
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.aggregates import SEPARATOR, split_rowids
from vestige_migrate.source.read.chunks import can_read_chunks, join_keys
from vestige_migrate.source.read.ranges import Range, plan_ranges
from vestige_migrate.source.read.rows import list_keys
from vestige_migrate.tables.base import Table
from vestige_migrate.verify.extra_rows import OpenTable
from vestige_migrate.wire import field
from vestige_migrate.wire.column import texts, uuids
from vestige_migrate.wire.plain import uuids as uuid_block

_LENGTH_BYTES = 4
_PART_BYTES = 16

_Keys = NDArray[np.bytes_]
_Rowids = NDArray[np.int64]


@dataclass(frozen=True)
class SameKey:
    """Rows of one key, in the source's order. `before`: an earlier file of the same copy has this key, too."""

    rowids: tuple[int, ...]
    before: bool


def find_same_keys(table: Table, side: OpenTable, earlier: Sequence[OpenTable]) -> list[SameKey]:
    """The keys that several rows of `side` have, or a row of it and one of the `earlier` ones.

    Some 50 bytes a row are held meanwhile. A row whose key cannot be written has none.
    """
    keys, rowids = _read(table, side)
    distinct, which, counts = np.unique(keys, return_inverse=True, return_counts=True)
    before = np.zeros(len(distinct), dtype=bool)
    for other in earlier:
        before |= np.isin(distinct, _read(table, other)[0])
    rows = np.flatnonzero(((counts > 1) | before)[which])
    rows = rows[np.argsort(which[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(which[rows])) + 1
    return [
        SameKey(tuple(rowids[some].tolist()), bool(before[which[some[0]]]))
        for some in np.split(rows, starts)
        if len(some)
    ]


class RepeatedKeys:
    """Of rows that have one key only the first may be taken for the one that is there; asked once a table."""

    def __init__(self) -> None:
        self._further: dict[str, set[int]] = {}

    def first_of(self, sqlite: sqlite3.Connection, table: Table, source: TableSource, answer: Answer) -> Sequence[int]:
        """The rows that both sides have, without those whose key an earlier row of the source has."""
        if not answer.unusual:
            return answer.alike
        if table.name not in self._further:
            groups = find_same_keys(table, (sqlite, source), [])
            self._further[table.name] = {rowid for group in groups for rowid in group.rowids[1:]}
        return [rowid for rowid in answer.alike if rowid not in self._further[table.name]]


def _read(table: Table, side: OpenTable) -> tuple[_Keys, _Rowids]:
    sqlite, source = side
    found = [_read_range(table, sqlite, source, range_) for range_ in plan_ranges(sqlite, table.name, source, 1)]
    keys = np.concatenate([keys for keys, _ in found])
    # Bytes of one length, which numpy can sort: the zeros at the end that it does not see are the same in equal keys.
    joined = np.ascontiguousarray(keys).view(f"S{_PART_BYTES * len(table.key)}").ravel()
    return joined, np.concatenate([rowids for _, rowids in found])


def _read_range(
    table: Table, sqlite: sqlite3.Connection, source: TableSource, range_: Range
) -> tuple[NDArray[np.uint8], _Rowids]:
    """Keys, 16 bytes a part (of a text its digest), and rowids."""
    if set(table.key_types) == {"uuid"} and can_read_chunks(sqlite):
        joined = join_keys(sqlite, source, range_)
        blocks = [uuid_block(part, SEPARATOR, joined.count) for part in joined.parts] if joined.count else []
        plain = [block.rows[:, _LENGTH_BYTES:] for block in blocks if block is not None]
        if len(plain) == len(table.key):
            return np.concatenate(plain, axis=1), np.array(split_rowids(joined.rowids), dtype=np.int64)
    found = list(_one_by_one(table, sqlite, source, range_))
    keys = np.frombuffer(b"".join(key for key, _ in found), dtype=np.uint8).reshape(-1, _PART_BYTES * len(table.key))
    return keys, np.array([rowid for _, rowid in found], dtype=np.int64)


def _one_by_one(
    table: Table, sqlite: sqlite3.Connection, source: TableSource, range_: Range
) -> Iterator[tuple[bytes, int]]:
    rows = list_keys(sqlite, source, range_)
    if not rows:
        return
    rowids, *columns = zip(*rows, strict=True)
    encoded = [
        (uuids if kind == "uuid" else texts)(values).fields
        for kind, values in zip(table.key_types, columns, strict=True)
    ]
    for rowid, *parts in zip(rowids, *encoded, strict=True):
        if None not in parts and field.NULL not in parts:
            yield b"".join(map(_part, table.key_types, parts)), rowid


def _part(kind: str, written: bytes) -> bytes:
    payload = written[_LENGTH_BYTES:]
    return payload if kind == "uuid" else sha256(payload).digest()[:_PART_BYTES]
