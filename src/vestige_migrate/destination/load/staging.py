"""A temporary table beside a table: where rows wait to be judged before they are placed."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import temporary
from vestige_migrate.destination.load.stored_form import rows_of
from vestige_migrate.tables.base import Table

if TYPE_CHECKING:
    from vestige_migrate.wire.batch import Fields

RowFields = tuple[bytes, ...]


class Stage:
    """The table's columns and an `ordinal`, which tells the rows of a batch apart. One a table and connection."""

    def __init__(self, connection: Connection, table: Table) -> None:
        self._connection = connection
        self._made = False
        self.name = temporary(f"vestige_stage_{table.name}")
        columns = sql.SQL(", ").join(map(sql.Identifier, table.column_names))
        self._make = sql.SQL(
            "CREATE TEMP TABLE IF NOT EXISTS {} AS SELECT 0 AS ordinal, {} FROM {} AS t WITH NO DATA"
        ).format(self.name, columns, rows_of(connection, table))
        self._empty = sql.SQL("TRUNCATE {}").format(self.name)
        self._copy = sql.SQL("COPY {} (ordinal, {}) FROM STDIN (FORMAT BINARY)").format(self.name, columns)

    def make(self) -> None:
        """Creates the table where it is not there yet; outside of a transaction that may be rolled back."""
        if not self._made:
            self._connection.execute(self._make)
            self._made = True

    def empty(self) -> None:
        """Takes all rows away."""
        self._connection.execute(self._empty)

    def fill(self, rows: Sequence[tuple[int, RowFields]]) -> None:
        """Puts these rows, each with its ordinal, in place of what is there. There must be one at the least."""
        columns = list(zip(*(fields for _, fields in rows), strict=True))
        ordinals = [struct.pack(">ii", 4, ordinal) for ordinal, _ in rows]
        self.empty()
        copy_into(self._connection, self._copy, [ordinals, *columns])


def copy_into(connection: Connection, statement: sql.Composed | sql.SQL, columns: Sequence[Fields]) -> int:
    """Runs a COPY ... FROM STDIN (FORMAT BINARY) with these columns; the number of rows that were stored."""
    from vestige_migrate.wire.batch import copy_payload  # here: it needs numpy, and the coordinator does not (encoders)

    return copy_stream(connection, statement, copy_payload(columns))


def copy_stream(connection: Connection, statement: sql.Composed | sql.SQL, stream: bytes) -> int:
    """Runs a COPY ... FROM STDIN (FORMAT BINARY) with this stream; the number of rows that were stored."""
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            copy.write(stream)
        return cursor.rowcount
