"""Would PostgreSQL take a row? Asked of an empty temporary table of the same form, which is gone afterwards.

So that a row which is missing, or lacks a value, can be told from one that the copy could not bring.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import errors, sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.faults import describe
from vestige_migrate.destination.connection.table_names import TEMPORARY, ours, temporary
from vestige_migrate.destination.load.binary_arrays import binary_array, register_arrays
from vestige_migrate.destination.load.bisect_refused import by_halves
from vestige_migrate.destination.load.staging import Stage, copy_into
from vestige_migrate.destination.load.stored_form import insert_all
from vestige_migrate.tables.base import Parent, Table

_UNASKABLE = (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction, errors.FeatureNotSupported)
"""A role without TEMPORARY, a standby."""

_PREFIX = "vestige_trial_"


def objection(error: psycopg.Error) -> str:
    """What a trial met, in the words of the copy: the temporary table's constraints are named after it."""
    return describe(error).replace(_PREFIX, "")


class Trial:
    """Tries rows of one table."""

    def __init__(self, connection: Connection, table: Table) -> None:
        self._connection = connection
        self._table = table
        register_arrays(connection)
        name = temporary(f"{_PREFIX}{table.name}")
        columns = sql.SQL(", ").join(map(sql.Identifier, table.column_names))
        self._make = sql.SQL("CREATE TEMP TABLE {} (LIKE {} INCLUDING ALL) ON COMMIT DROP").format(
            name, ours(connection, table.name)
        )
        self._closed = sql.SQL("SELECT WHERE row_security_active({}::regclass)").format(
            sql.Literal(f"{TEMPORARY}.{_PREFIX}{table.name}")
        )
        """A row where an event trigger forces row-level security on it: COPY would refuse every row."""
        self._copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(name, columns)
        self._stage: Stage | None = None
        self._insert = sql.SQL("").format()
        self._stored = table.stored
        if table.stored is not None:
            self._insert = sql.SQL("{}").format(insert_all(name, table.stored, Stage(connection, table).name))
            # What the destination fills by itself is none of the rows' and would take numbers from its sequence.
            self._make = sql.SQL(
                "CREATE TEMP TABLE {} (LIKE {} INCLUDING ALL EXCLUDING INDEXES EXCLUDING IDENTITY) ON COMMIT DROP; "
            ).format(name, ours(connection, table.name)) + sql.SQL("; ").join(
                sql.SQL("ALTER TABLE {0} ALTER COLUMN {1} DROP DEFAULT, ALTER COLUMN {1} DROP NOT NULL").format(
                    name, sql.Identifier(own)
                )
                for own in table.stored.own
            )

    def refused(self, rows: Sequence[tuple[bytes, ...]]) -> dict[int, psycopg.Error]:
        """The positions of the rows that PostgreSQL refuses by themselves (types, checks, limits), and why.

        None is, where the role may not make a temporary table to ask, or not put a row into it.
        """
        found: dict[int, psycopg.Error] = {}
        if not rows:
            return found
        with self._connection.transaction(force_rollback=True):
            try:
                with self._connection.transaction():
                    self._connection.execute(self._make)
            except _UNASKABLE:
                return found
            if self._connection.execute(self._closed).fetchone() is not None:
                return found
            if self._stored is not None:
                # Anew each time, and before the first try: it goes with the transaction.
                self._stage = Stage(self._connection, self._table)
                self._stage.make()
            try:
                self._try(list(enumerate(rows)), found)
            except _UNASKABLE:  # of a function that the table's own columns or checks call
                return {}
        return found

    def _try(self, rows: list[tuple[int, tuple[bytes, ...]]], found: dict[int, psycopg.Error]) -> None:
        def place(part: Sequence[tuple[int, tuple[bytes, ...]]]) -> None:
            with self._connection.transaction(force_rollback=True):
                self._place(part)

        def refuse(row: tuple[int, tuple[bytes, ...]], error: psycopg.Error) -> None:
            found[row[0]] = error

        by_halves(rows, place, refuse)

    def _place(self, rows: Sequence[tuple[int, tuple[bytes, ...]]]) -> None:
        if self._stage is None:
            columns = list(zip(*(fields for _, fields in rows), strict=True))
            copy_into(self._connection, self._copy, columns)
        else:
            self._stage.fill(rows)
            self._connection.execute(self._insert)

    def orphans(self, parent: Parent, values: Sequence[bytes]) -> set[int]:
        """The positions of the values that no row of the parent table has."""
        query = sql.SQL(
            "SELECT k.ordinal FROM unnest(%s) WITH ORDINALITY AS k(value, ordinal)"
            " WHERE NOT EXISTS (SELECT FROM {} AS p WHERE p.{} = k.value)"
        ).format(ours(self._connection, parent.table), sql.Identifier(parent.parent_column))
        rows = self._connection.execute(query, (binary_array("uuid", values),))
        return {ordinal - 1 for (ordinal,) in rows}

    def taken(self, values: Sequence[bytes]) -> set[int]:
        """The positions of the values of the table's `unique` column that a row has already."""
        assert self._table.unique is not None
        query = sql.SQL(
            "SELECT k.ordinal FROM unnest(%s) WITH ORDINALITY AS k(value, ordinal)"
            " WHERE EXISTS (SELECT FROM {} AS t WHERE t.{} = k.value)"
        ).format(ours(self._connection, self._table.name), sql.Identifier(self._table.unique))
        rows = self._connection.execute(query, (binary_array("text", values),))
        return {ordinal - 1 for (ordinal,) in rows}
