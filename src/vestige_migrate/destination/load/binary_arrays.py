"""Query parameters that are PostgreSQL arrays already in their binary form: fields as COPY would get them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.wire import field

_LENGTH_BYTES = 4


class BinaryArray:
    """Fields behind an array header."""

    element_oid: ClassVar[int]

    def __init__(self, fields: Sequence[bytes]) -> None:
        from vestige_migrate.wire.block import Block  # here: it needs numpy, and the coordinator does not (encoders)

        # A block is one piece already: 2,500 keys as objects and joined again cost as much as asking for them.
        elements = [fields.rows.tobytes()] if isinstance(fields, Block) and len(fields) else fields
        self.payload = field.array(self.element_oid, elements, len(fields))[_LENGTH_BYTES:]


class _UuidArray(BinaryArray):
    element_oid = field.UUID_OID


class _TextArray(BinaryArray):
    element_oid = field.TEXT_OID


class _TimeArray(BinaryArray):
    element_oid = 1184


class _FloatArray(BinaryArray):
    element_oid = 701


class _IntArray(BinaryArray):
    element_oid = 23


class _JsonbArray(BinaryArray):
    element_oid = 3802


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: BinaryArray) -> Buffer:
        return obj.payload


class _UuidArrayDumper(_ArrayDumper):
    oid = 2951


class _TextArrayDumper(_ArrayDumper):
    oid = 1009


class _TimeArrayDumper(_ArrayDumper):
    oid = 1185


class _FloatArrayDumper(_ArrayDumper):
    oid = 1022


class _IntArrayDumper(_ArrayDumper):
    oid = 1007


class _JsonbArrayDumper(_ArrayDumper):
    oid = 3807


_ARRAYS: dict[str, type[BinaryArray]] = {
    "uuid": _UuidArray,
    "text": _TextArray,
    "timestamptz": _TimeArray,
    "float8": _FloatArray,
    "int4": _IntArray,
    "jsonb": _JsonbArray,
}
_DUMPERS = {
    _UuidArray: _UuidArrayDumper,
    _TextArray: _TextArrayDumper,
    _TimeArray: _TimeArrayDumper,
    _FloatArray: _FloatArrayDumper,
    _IntArray: _IntArrayDumper,
    _JsonbArray: _JsonbArrayDumper,
}


def register_arrays(connection: Connection) -> None:
    """Lets this connection take what `binary_array` makes."""
    for array, dumper in _DUMPERS.items():
        connection.adapters.register_dumper(array, dumper)


def binary_array(pg_type: str, fields: Sequence[bytes]) -> BinaryArray:
    """An array of `pg_type` from COPY fields. Raises KeyError for a type that no key and nothing that decides has."""
    return _ARRAYS[pg_type](fields)
