"""Which rows of the source the destination has already, asked by key before anything is read or sent."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

from vestige_migrate.destination.connect import Connection
from vestige_migrate.tables.base import Table
from vestige_migrate.wire import field

_ARRAY_OIDS = {"uuid": 2951, "text": 1009}
_ELEMENT_OIDS = {"uuid": field.UUID_OID, "text": field.TEXT_OID}
_LENGTH_BYTES = 4


class _BinaryArray:
    """A PostgreSQL array already in its binary form: the fields that COPY would get, behind an array header."""

    def __init__(self, element: str, fields: Sequence[bytes]) -> None:
        self.oid = _ARRAY_OIDS[element]
        self.payload = field.array(_ELEMENT_OIDS[element], fields)[_LENGTH_BYTES:]


class _BinaryArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: _BinaryArray) -> Buffer:
        return obj.payload

    def get_key(self, obj: _BinaryArray, format: object) -> tuple[type, int]:  # noqa: A002  # psycopg's name
        return (self.cls, obj.oid)

    def upgrade(self, obj: _BinaryArray, format: object) -> Dumper:  # noqa: A002
        dumper = _BinaryArrayDumper(self.cls)
        dumper.oid = obj.oid
        return dumper


class PresenceCheck:
    """Asks which of a list of keys a table holds."""

    def __init__(self, connection: Connection, table: Table) -> None:
        self._connection = connection
        self._types = table.key_types
        connection.adapters.register_dumper(_BinaryArray, _BinaryArrayDumper)
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
        arrays = [_BinaryArray(kind, fields) for kind, fields in zip(self._types, keys, strict=True)]
        rows = self._connection.execute(self._query, arrays, binary=True)
        return {ordinal - 1 for (ordinal,) in rows}
