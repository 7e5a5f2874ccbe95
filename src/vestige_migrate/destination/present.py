"""Which rows of the source the destination has already, asked by key before anything is read or sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

from vestige_migrate.destination.connect import Connection
from vestige_migrate.tables.base import Table
from vestige_migrate.wire import field

_LENGTH_BYTES = 4


class _BinaryArray:
    """A PostgreSQL array already in its binary form: the fields that COPY would get, behind an array header."""

    element_oid: ClassVar[int]

    def __init__(self, fields: Sequence[bytes]) -> None:
        self.payload = field.array(self.element_oid, fields)[_LENGTH_BYTES:]


class _UuidArray(_BinaryArray):
    element_oid = field.UUID_OID


class _TextArray(_BinaryArray):
    element_oid = field.TEXT_OID


class _UuidArrayDumper(Dumper):
    format = Format.BINARY
    oid = 2951

    def dump(self, obj: _BinaryArray) -> Buffer:
        return obj.payload


class _TextArrayDumper(_UuidArrayDumper):
    oid = 1009


_ARRAYS: dict[str, type[_BinaryArray]] = {"uuid": _UuidArray, "text": _TextArray}


class PresenceCheck:
    """Asks which of a list of keys a table holds."""

    def __init__(self, connection: Connection, table: Table) -> None:
        self._connection = connection
        self._types = table.key_types
        connection.adapters.register_dumper(_UuidArray, _UuidArrayDumper)
        connection.adapters.register_dumper(_TextArray, _TextArrayDumper)
        names = [sql.Identifier(f"k{at}") for at in range(len(table.key))]
        matches = [
            sql.SQL("t.{} = k.{}").format(sql.Identifier(column), name)
            for column, name in zip(table.key, names, strict=True)
        ]
        self._query = sql.SQL(
            "SELECT k.ordinal FROM unnest({}) WITH ORDINALITY AS k({}, ordinal) JOIN {} AS t ON {}"
        ).format(
            sql.SQL(", ").join([sql.Placeholder()] * len(names)),
            sql.SQL(", ").join(names),
            sql.Identifier(table.name),
            sql.SQL(" AND ").join(matches),
        )

    def find(self, keys: Sequence[Sequence[bytes]]) -> set[int]:
        """`keys` holds one sequence of fields for each key column; returns the positions that are present."""
        if not keys[0]:
            return set()
        arrays = [_ARRAYS[kind](fields) for kind, fields in zip(self._types, keys, strict=True)]
        rows = self._connection.execute(self._query, arrays, binary=True)
        return {ordinal - 1 for (ordinal,) in rows}
