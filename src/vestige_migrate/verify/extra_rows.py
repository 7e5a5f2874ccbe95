"""Rows that only the destination has, and ids that several rows of the source share.

Only where the keys of both sides do not add up: then the keys of each side are read once more, in parts that fit into
memory.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from uuid import UUID

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.ranges import plan_ranges
from vestige_migrate.source.read.rows import list_keys
from vestige_migrate.tables.base import Table
from vestige_migrate.verify.keys import key_id
from vestige_migrate.verify.row_digests import read_keys
from vestige_migrate.wire import field
from vestige_migrate.wire.column import texts, uuids

PART_ROWS = 200_000
"""Keys of one part: some 40 MB."""
_MOST_PARTS = 256
_LENGTH_BYTES = 4

Key = tuple[bytes, ...]
OpenTable = tuple[sqlite3.Connection, TableSource]
"""A source's table."""


def find_extras(
    postgres: Connection, table: Table, sides: Sequence[OpenTable], rows: int, known: Set[UUID]
) -> Iterator[str]:
    """Ids of the destination's rows, of which there are `rows`, that no row of any source has.

    `known` are ids that belong there all the same.
    """
    parts = 1 if table.key_types[0] != "uuid" else min(_MOST_PARTS, 1 + rows // PART_ROWS)
    for part in range(parts):
        only = set(read_keys(postgres, table, part, parts))
        only -= {(id_.bytes,) for id_ in known}
        for side in sides:
            if only:
                only.difference_update(source_keys(table, *side))
        yield from sorted(key_id(table, key) for key in only)


def count_ids(table: Table, sides: Sequence[OpenTable], ids: Set[str]) -> Counter[str]:
    """How many rows of the sources have each of these ids."""
    found = (key_id(table, key) for side in sides for key in source_keys(table, *side))
    return Counter(id_ for id_ in found if id_ in ids)


def source_keys(table: Table, sqlite: sqlite3.Connection, source: TableSource) -> Iterator[Key]:
    """The keys of all rows of the source that can be placed, as the destination has them."""
    return (key for key in _all_keys(table, sqlite, source) if key is not None)


def has_unreadable_key(table: Table, sqlite: sqlite3.Connection, source: TableSource) -> bool:
    """Whether a row of the source cannot be placed, so that nobody knows which of the destination's it is."""
    return any(key is None for key in _all_keys(table, sqlite, source))


def _all_keys(table: Table, sqlite: sqlite3.Connection, source: TableSource) -> Iterator[Key | None]:
    """None for a row that cannot be placed."""
    for range_ in plan_ranges(sqlite, table.name, source, workers=1):
        rows = list_keys(sqlite, source, range_)
        if not rows:
            continue
        columns = list(zip(*rows, strict=True))[1:]
        encoded = [
            (uuids if kind == "uuid" else texts)(values).fields
            for kind, values in zip(table.key_types, columns, strict=True)
        ]
        for parts in zip(*encoded, strict=True):
            placed = None not in parts and field.NULL not in parts
            yield tuple(part[_LENGTH_BYTES:] for part in parts if part is not None) if placed else None
