"""Rows of another table that are replaced together with a row: the schedules of replaced memories."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from vestige_migrate.decode.ids import decode_uuid
from vestige_migrate.decode.problem import BadValue, Raw
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.rows import Row, read_by_key
from vestige_migrate.tables.base import Table


def keys_of(table: Table, source: TableSource, rows: Sequence[Row]) -> list[Raw]:
    """The key, which is one column, of rows as `read_batches` yields them."""
    (key,) = table.key
    before = source.values[: table.index(key)]
    at = len(before) - before.count(None)
    return [row[at] for row in rows]


def read_companions(connection: sqlite3.Connection, source: TableSource, keys: Sequence[Raw]) -> list[Row]:
    """The companions' rows of these keys, whichever of the usual ways their UUIDs are written in."""
    return read_by_key(connection, source, list(_spellings(keys)))


def _spellings(keys: Iterable[Raw]) -> Iterable[Raw]:
    for raw in keys:
        try:
            value = decode_uuid(raw)
        except BadValue:
            continue
        if value is not None:
            yield from {raw, str(value), str(value).upper()}
