"""Memories whose vector is another in the source than in the destination, though nothing else says which is later.

Vestige does not touch `updated_at` when it embeds a memory anew, so its vectors are compared: by digests, as `verify`
does, so that no vector leaves the server. Nothing but keys and vectors is read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.encode.encoders import encoder_of
from vestige_migrate.limits import BATCH_BYTES
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.rows import read_batches
from vestige_migrate.tables.base import Table
from vestige_migrate.verify.expected_digests import Digester
from vestige_migrate.verify.row_digests import ABSENT, DIGEST_BYTES, TableComparer
from vestige_migrate.wire import field as wire

_ROWS = 2000
_VECTOR = "embedding"


class VectorComparer:
    """Compares the vectors of one table, whose key is one column."""

    def __init__(self, postgres: Connection, table: Table, source: TableSource, layout: Layout) -> None:
        (key,) = table.key
        read = [table.index(key), table.index(_VECTOR)]
        self._encoders = [encoder_of(table.columns[at], layout) for at in read]
        self._source = replace(source, values=("n.rowid", *(source.values[at] for at in read)), extras=())
        self._comparer = TableComparer(postgres, table, (key, _VECTOR))
        self._digester = Digester(self._comparer.type_oids())

    def find_other(self, sqlite: sqlite3.Connection, rowids: Sequence[int]) -> list[int]:
        """Those of the rows that have a vector which is not the one that the destination has."""
        found: list[int] = []
        for rows in read_batches(sqlite, self._source, rowids, _ROWS, BATCH_BYTES):
            if not rows:
                continue
            numbers, *values = zip(*rows, strict=True)
            keys, vectors = (encode(some).fields for encode, some in zip(self._encoders, values, strict=True))
            known = [at for at in range(len(rows)) if vectors[at] not in (None, wire.NULL) and keys[at] is not None]
            if not known:
                continue
            asked = [[fields[at] or wire.NULL for at in known] for fields in (keys, vectors)]
            ours, theirs = self._digester.rows(asked), self._comparer.row_digests(asked[:1])
            for place, at in enumerate(known):
                digest = theirs[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
                if digest not in (ours[place], ABSENT):
                    found.append(int(numbers[at]))
        return found
