"""What the destination holds, as digests: of whole rows first, and of single columns where a row's differs.

A digest is taken of `record_send(ROW(...))`, which is the binary COPY fields of the columns, each behind its type's
OID, so the other side can be written from fields that are ready for COPY. No value leaves the server.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.faults import is_row_fault
from vestige_migrate.destination.connection.table_names import relation
from vestige_migrate.destination.load.binary_arrays import binary_array, register_arrays
from vestige_migrate.destination.load.stored_form import go_by_index, has_key_index, rows_of
from vestige_migrate.tables.base import Table
from vestige_migrate.wire.batch import Fields

DIGEST_BYTES = 16
"""Of SHA-256: a chance of 2^-128 that two values have one digest. (MD5 is not there on a server in FIPS mode.)"""
ABSENT = bytes(DIGEST_BYTES)
"""The digest of a row that is not there."""
UNREADABLE = b"\xff" * DIGEST_BYTES
"""The digest of a row that the server cannot send in one piece (1 GiB)."""

SUM_BITS = 128
"""Room for the sum of 64-bit numbers over any number of rows: the sums of several stand side by side in one number."""

LARGEST_MESSAGE_BYTES = 0x3FFF_0000
"""A little below 1 GiB: on a longer one the server closes the connection (PQ_LARGE_MESSAGE_LIMIT)."""


class TableComparer:
    """Asks about rows of one table by their keys. `columns` are the names of those that are compared."""

    def __init__(self, connection: Connection, table: Table, columns: Sequence[str]) -> None:
        self._connection = connection
        self._table = table
        self._indexed = has_key_index(connection, table)
        register_arrays(connection)
        self._columns = columns
        parts = [sql.SQL("t.{}").format(sql.Identifier(name)) for name in columns]
        self._rows = self._query(sql.SQL("string_agg({}, ''::bytea ORDER BY k.ordinal)").format(_row_digest(parts)))
        each = sql.SQL(" || ").join(_digest([part]) for part in parts)
        self._each = sql.SQL("{} ORDER BY k.ordinal").format(self._query(sql.SQL("k.ordinal, {}").format(each)))

    def _query(self, wanted: sql.Composable) -> sql.Composed:
        names = [sql.Identifier(f"k{at}") for at in range(len(self._table.key))]
        return sql.SQL("SELECT {} FROM unnest({}) WITH ORDINALITY AS k({}, ordinal) LEFT JOIN {} AS t ON {}").format(
            wanted,
            sql.SQL(", ").join([sql.Placeholder()] * len(names)),
            sql.SQL(", ").join(names),
            rows_of(self._connection, self._table),
            sql.SQL(" AND ").join(
                sql.SQL("t.{} = k.{}").format(sql.Identifier(key), name)
                for key, name in zip(self._table.key, names, strict=True)
            ),
        )

    def type_oids(self) -> list[int]:
        """The OID of each compared column's type."""
        if self._table.stored is not None:
            kinds = [self._table.columns[self._table.index(name)].pg_type for name in self._columns]
            rows = self._connection.execute(
                "SELECT to_regtype(kind)::oid::int8 FROM unnest(%s::text[]) WITH ORDINALITY AS k(kind, at) ORDER BY at",
                (kinds,),
            )
            return [oid for (oid,) in rows]
        found: dict[str, int] = dict(
            self._connection.execute(
                sql.SQL("SELECT attname, atttypid FROM pg_attribute WHERE attrelid = {} AND attnum > 0").format(
                    relation("%s")
                ),
                (self._table.name,),
            ).fetchall()
        )
        return [found[name] for name in self._columns]

    def row_digests(self, keys: Sequence[Fields]) -> bytes:
        """The rows' digests behind one another. `keys` holds one sequence of fields for each key column."""
        count = len(keys[0])
        try:
            digests = self._ask(keys)
        except psycopg.Error as error:
            if not is_row_fault(error):
                raise
            digests = b""
        if len(digests) == count * DIGEST_BYTES:
            return digests
        if count == 1:
            # Several rows have the key, which is said of all of them elsewhere (`repeated_keys`).
            return digests[:DIGEST_BYTES] or UNREADABLE
        parts = ([column[at] for column in keys] for at in range(count))
        return b"".join(self.row_digests([[value] for value in part]) for part in parts)

    def _ask(self, keys: Sequence[Fields]) -> bytes:
        with self._by_index():
            row = self._connection.execute(self._rows, self._arrays(keys), binary=True).fetchone()
        return bytes(row[0]) if row and row[0] is not None else b""

    @contextmanager
    def _by_index(self) -> Iterator[None]:
        """Row by row through the primary key: by its costs the planner would rather read a whole table for 2,000 keys.

        The settings end with the transaction, so no other client of a connection pooler gets them. Where somebody
        dropped the key, the whole table for each of 2,000 keys would be worse.
        """
        with self._connection.transaction():
            if self._indexed:
                go_by_index(self._connection)
            yield

    def column_digests(self, keys: Sequence[Fields]) -> list[list[bytes]]:
        """For each row, which must be there, the digest of each compared column."""
        with self._by_index():
            rows = self._connection.execute(self._each, self._arrays(keys), binary=True).fetchall()
        first: dict[int, bytes] = {}
        for ordinal, digests in rows:
            first.setdefault(ordinal, bytes(digests))
        return [_split(digests) for digests in first.values()]

    def equal_json(self, column: str, keys: Sequence[Fields], values: Fields) -> list[bool | psycopg.Error]:
        """Whether jsonb calls the stored value and the given one equal, for each row; the error where the server
        refuses the given one. One past the limit of a message is never equal: no row can hold it."""
        fits = sum(map(len, values)) < LARGEST_MESSAGE_BYTES
        if not fits and len(values) == 1:
            return [False]
        try:
            if fits:
                return list(self._equal_json(column, keys, values))
        except psycopg.Error as error:
            if not is_row_fault(error):
                raise
            if len(values) == 1:
                return [error]
        middle = len(values) // 2
        first = self.equal_json(column, [part[:middle] for part in keys], values[:middle])
        return first + self.equal_json(column, [part[middle:] for part in keys], values[middle:])

    def _equal_json(self, column: str, keys: Sequence[Fields], values: Fields) -> Iterator[bool]:
        name = sql.Identifier(column)
        wanted = sql.SQL("COALESCE(t.{} = v.value, false)").format(name)
        query = sql.SQL("SELECT q.ordinal, q.same FROM ({}) AS q ORDER BY q.ordinal").format(
            sql.SQL("{} JOIN unnest(%s) WITH ORDINALITY AS v(value, ordinal) ON v.ordinal = k.ordinal").format(
                self._query(sql.SQL("k.ordinal AS ordinal, {} AS same").format(wanted))
            )
        )
        parameters = [*self._arrays(keys), binary_array("jsonb", values)]
        first: dict[int, bool] = {}
        for ordinal, same in self._connection.execute(query, parameters, binary=True):
            first.setdefault(ordinal, bool(same))
        return iter(first.values())

    def _arrays(self, keys: Sequence[Fields]) -> list[object]:
        return [binary_array(kind, fields) for kind, fields in zip(self._table.key_types, keys, strict=True)]


def _digest(parts: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL("substr(sha256(record_send(ROW({}))), 1, {})").format(
        sql.SQL(", ").join(parts), sql.Literal(DIGEST_BYTES)
    )


def _row_digest(parts: Sequence[sql.Composable]) -> sql.Composed:
    """The digest of a row; `ABSENT` where it is not there: the first part is of the key, which is never NULL."""
    return sql.SQL("CASE WHEN {} IS NULL THEN {}::bytea ELSE {} END").format(
        parts[0], sql.Literal(f"\\x{ABSENT.hex()}"), _digest(parts)
    )


def _split(digests: bytes) -> list[bytes]:
    return [digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES)]


def record_prefix(count: int) -> bytes:
    """What `record_send` writes before `count` columns."""
    return struct.pack(">i", count)


def oid_prefix(oid: int) -> bytes:
    """What `record_send` writes before each column's field."""
    return struct.pack(">I", oid)


@contextmanager
def _past_indexes(connection: Connection) -> Iterator[None]:
    """The table itself is read: an index that lacks rows, or has ones that are gone, would count them wrong."""
    with connection.transaction():
        connection.execute(
            "SELECT set_config('enable_indexscan', 'off', true), set_config('enable_indexonlyscan', 'off', true),"
            " set_config('enable_bitmapscan', 'off', true)"
        )
        yield


def count_and_sum(connection: Connection, table: Table) -> tuple[int, int]:
    """How many rows the table has, and the sum of `verify.keys.key_sum` over them."""
    with _past_indexes(connection):
        return _count_and_sum(connection, table)


def _count_and_sum(connection: Connection, table: Table) -> tuple[int, int]:
    numbers = [number for name, kind in zip(table.key, table.key_types, strict=True) for number in _numbers(name, kind)]
    row = connection.execute(
        sql.SQL("SELECT count(*), {} FROM {} AS t").format(
            sql.SQL(" + ").join(
                sql.SQL("COALESCE(sum({}), 0) * {}").format(number, sql.Literal(2 ** (SUM_BITS * at)))
                for at, number in enumerate(numbers)
            ),
            rows_of(connection, table),
        )
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def _numbers(name: str, kind: str) -> list[sql.Composed]:
    """Two signed numbers of 64 bits, all there is of a UUID; of a text, the start of its SHA-256."""
    column = sql.Identifier(name)
    raw = sql.SQL("uuid_send({})" if kind == "uuid" else "sha256(convert_to({}, 'UTF8'))").format(column)
    return [
        sql.SQL("('x' || encode(substr({}, {}, 8), 'hex'))::bit(64)::bigint").format(raw, sql.Literal(start))
        for start in (1, 9)
    ]


def read_keys(connection: Connection, table: Table, part: int, parts: int) -> Iterator[tuple[bytes, ...]]:
    """The keys of one of `parts` parts of the table, as COPY payloads without their length.

    The parts are by the first byte of a first key column that is a UUID; a text key has one part only.
    """
    query = sql.SQL("SELECT {} FROM {} AS t").format(_key_payloads(table), rows_of(connection, table))
    if parts > 1:
        query += sql.SQL(" WHERE get_byte(uuid_send({}), 0) % {} = {}").format(
            sql.Identifier(table.key[0]), sql.Literal(parts), sql.Literal(part)
        )
    with _past_indexes(connection), connection.cursor("keys", binary=True) as cursor:
        cursor.itersize = 10_000
        cursor.execute(query)
        for row in cursor:
            yield tuple(map(bytes, row))


def repeated_keys(connection: Connection, table: Table) -> Iterator[tuple[bytes, ...]]:
    """Keys that more than one row of the table has, as `read_keys` has them: no key keeps them apart any more."""
    query = sql.SQL("SELECT {} FROM {} AS t GROUP BY {} HAVING count(*) > 1").format(
        _key_payloads(table), rows_of(connection, table), sql.SQL(", ").join(map(sql.Identifier, table.key))
    )
    with _past_indexes(connection):
        for row in connection.execute(query, binary=True).fetchall():
            yield tuple(map(bytes, row))


def _key_payloads(table: Table) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("uuid_send({})" if kind == "uuid" else "convert_to({}, 'UTF8')").format(sql.Identifier(name))
        for name, kind in zip(table.key, table.key_types, strict=True)
    )
