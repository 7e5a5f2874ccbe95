"""Which rows of the source the destination has already, and which of those are outdated there.

Asked by key, and by the one value that decides, before anything else is read or sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

from vestige_migrate.destination.connect import Connection
from vestige_migrate.destination.replace import outdated
from vestige_migrate.tables.base import Refresh, Table
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


class _TimeArray(_BinaryArray):
    element_oid = 1184


class _FloatArray(_BinaryArray):
    element_oid = 701


class _UuidArrayDumper(Dumper):
    format = Format.BINARY
    oid = 2951

    def dump(self, obj: _BinaryArray) -> Buffer:
        return obj.payload


class _TextArrayDumper(_UuidArrayDumper):
    oid = 1009


class _TimeArrayDumper(_UuidArrayDumper):
    oid = 1185


class _FloatArrayDumper(_UuidArrayDumper):
    oid = 1022


_ARRAYS: dict[str, type[_BinaryArray]] = {
    "uuid": _UuidArray,
    "text": _TextArray,
    "timestamptz": _TimeArray,
    "float8": _FloatArray,
}
_DUMPERS = {
    _UuidArray: _UuidArrayDumper,
    _TextArray: _TextArrayDumper,
    _TimeArray: _TimeArrayDumper,
    _FloatArray: _FloatArrayDumper,
}


class PresenceCheck:
    """Asks which of a list of keys a table holds, and with `refresh` which of those rows are outdated."""

    def __init__(self, connection: Connection, table: Table, refresh: Refresh | None = None) -> None:
        self._connection = connection
        self._types = table.key_types
        for array, dumper in _DUMPERS.items():
            connection.adapters.register_dumper(array, dumper)
        names = [sql.Identifier(f"k{at}") for at in range(len(table.key))]
        given = list(names)
        verdict: sql.Composable = sql.SQL("false")
        if refresh is not None:
            given.append(sql.Identifier("decides"))
            self._types += (table.columns[table.index(refresh.decides)].pg_type,)
            theirs = sql.SQL("t.{}").format(sql.Identifier(refresh.decides))
            verdict = outdated(refresh, theirs, sql.SQL("k.decides"))
        matches = [
            sql.SQL("t.{} = k.{}").format(sql.Identifier(column), name)
            for column, name in zip(table.key, names, strict=True)
        ]
        self._query = sql.SQL(
            "SELECT k.ordinal, {} FROM unnest({}) WITH ORDINALITY AS k({}, ordinal) JOIN {} AS t ON {}"
        ).format(
            verdict,
            sql.SQL(", ").join([sql.Placeholder()] * len(given)),
            sql.SQL(", ").join(given),
            sql.Identifier(table.name),
            sql.SQL(" AND ").join(matches),
        )

    def find(self, keys: Sequence[Sequence[bytes]]) -> dict[int, bool]:
        """The positions that are present -> whether that row is outdated in the destination.

        `keys` holds one sequence of fields for each key column, then with `refresh` the values that decide.
        """
        if not keys[0]:
            return {}
        arrays = [_ARRAYS[kind](fields) for kind, fields in zip(self._types, keys, strict=True)]
        rows = self._connection.execute(self._query, arrays, binary=True)
        return {ordinal - 1: bool(verdict) for ordinal, verdict in rows}
