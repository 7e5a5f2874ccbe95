"""Rows into a table through a temporary one beside it, in a transaction of the caller's: what became of each.

`StagedInsert` leaves rows alone that are there already; `StagedReplace` brings those up to date, and inserts none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours
from vestige_migrate.destination.load.replace_outdated import NOTHING, Replaced, Replacer
from vestige_migrate.destination.load.row_triggers import Triggers, check_now, triggers_of
from vestige_migrate.destination.load.run_record import BatchRecord
from vestige_migrate.destination.load.staging import RowFields, Stage
from vestige_migrate.destination.load.stored_form import (
    go_by_index,
    has_key_index,
    insertion,
    keep_others_from_inserting,
    rows_of,
    same_key,
)
from vestige_migrate.tables.base import Refresh, Table

if TYPE_CHECKING:
    from vestige_migrate.wire.batch import Batch

Row = tuple[int, RowFields]
"""An ordinal within the batch, and the row."""


@dataclass(frozen=True)
class Placed:
    """What one INSERT did: orphans (ordinal -> constraint), rows inserted, rows brought up to date, rows dropped."""

    orphans: dict[int, str]
    inserted: int
    replaced: Replaced
    dropped: frozenset[int] = frozenset()
    """Ordinals of rows that are not there though PostgreSQL did not refuse them."""
    strays: int = 0
    """How many of those are there under other keys."""
    altered: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """Ordinals of rows that are there with other values than were sent, and in which columns."""

    @property
    def absent(self) -> int:
        """How many rows are not there, or not as they were to be."""
        return len(self.orphans) + len(self.dropped) + len(self.replaced.dropped)


class StagedInsert:
    """Inserts the rows of one table whose keys are not there."""

    def __init__(self, connection: Connection, table: Table, record: BatchRecord | None = None) -> None:
        self._connection = connection
        self._table = table
        self._record = record
        self.stage = Stage(connection, table)
        self.statements = _Statements(connection, table, self.stage.name, record)
        self.seen_late: psycopg.Error | None = None
        """What a check that waits for COMMIT said last, when it was asked before."""

    @cached_property
    def triggers(self) -> Triggers:
        """The destination's own, asked for once."""
        return triggers_of(self._connection, self._table.name)

    @cached_property
    def _has_key_index(self) -> bool:
        return has_key_index(self._connection, self._table)

    def insert(self, rows: Sequence[Row]) -> Placed:
        """Stages and inserts what is not there, then brings what was there up to date."""
        self.stage.fill(rows)
        orphans = self._orphans()
        barred = list(orphans)
        if self._table.stored is not None:
            keep_others_from_inserting(self._connection)
            if self._has_key_index:
                go_by_index(self._connection)
        if not self.triggers.on_insert:
            inserted = self._insert(barred)
            replaced = self._finish(self._bring_up_to_date(barred))
            some_absent = inserted < len(rows) - len(orphans)  # there already, nearly always
            return Placed(orphans, inserted, replaced, self._absent(barred) if some_absent else frozenset())
        wanted = self._absent(barred)
        there = [ordinal for ordinal, _ in rows if ordinal not in wanted]
        inserted = self._insert(there) if wanted else 0
        replaced = self._finish(self._bring_up_to_date(barred))
        dropped = self._absent(barred)
        strays = max(0, inserted - len(wanted) + len(dropped))
        return Placed(orphans, inserted, replaced, dropped, strays, self._altered(wanted - dropped))

    def _orphans(self) -> dict[int, str]:
        """The ordinals of staged rows that refer to nothing, with the constraint."""
        return {
            ordinal: each.constraint
            for each in self.statements.orphans
            for (ordinal,) in self._connection.execute(each.query)
        }

    def _insert(self, barred: Sequence[int]) -> int:
        """Inserts the staged rows whose key is not there, but for these ordinals; how many there were."""
        cursor = self._connection.execute(self.statements.insert, (list(barred),))
        return cursor.rowcount if self._record is None else sum(rows for (rows,) in cursor)

    def _bring_up_to_date(self, barred: Sequence[int]) -> Replaced:
        """What is done with staged rows that are there already, but for these ordinals."""
        return NOTHING

    def _finish(self, replaced: Replaced) -> Replaced:
        """Checks what would be checked at COMMIT."""
        if self.triggers.at_commit:
            try:
                check_now(self._connection)
            except psycopg.Error as error:
                self.seen_late = error
                raise
        return replaced

    def _absent(self, barred: list[int]) -> frozenset[int]:
        """The ordinals of staged rows whose key is not there."""
        return frozenset(ordinal for (ordinal,) in self._connection.execute(self.statements.absent, (barred,)))

    def _altered(self, inserted: frozenset[int]) -> dict[int, list[str]]:
        """The ordinals of staged rows, of those that were just inserted, that are there with other values."""
        if not inserted:
            return {}
        return dict(self._connection.execute(self.statements.find_changed, (list(inserted),)).fetchall())

    def try_without_rows(self) -> None:
        """The statement with no row, for what PostgreSQL says against that."""
        with self._connection.transaction(force_rollback=True):
            self.stage.empty()
            self._insert([])
            self._bring_up_to_date([])
            if self.triggers.at_commit:
                check_now(self._connection)


class StagedReplace(StagedInsert):
    """Rows that are there already take the staged ones' values, with their `companions`."""

    def __init__(
        self,
        connection: Connection,
        table: Table,
        refresh: Refresh,
        companion: Table | None,
        record: BatchRecord | None = None,
    ) -> None:
        super().__init__(connection, table, record)
        self._replacer = Replacer(connection, table, refresh, self.stage, companion, record)
        self.companions: Batch | None = None
        """Of the batch that is written now."""

    def make_stage(self) -> None:
        """The companions' temporary table."""
        self._replacer.make_stage()

    def insert(self, rows: Sequence[Row]) -> Placed:
        """Stages the rows and brings what is there up to date.

        All of them were there when they were compared. What is not any more, somebody deleted meanwhile: it stays away,
        whatever it refers to, and the next run asks whether it is to come back.
        """
        self.stage.fill(rows)
        gone = self._absent([])
        orphans = {ordinal: constraint for ordinal, constraint in self._orphans().items() if ordinal not in gone}
        return Placed(orphans, 0, self._finish(self._bring_up_to_date([*orphans, *gone])))

    def _insert(self, barred: Sequence[int]) -> int:
        """None is inserted."""
        return 0

    def _bring_up_to_date(self, barred: Sequence[int]) -> Replaced:
        return self._replacer.apply(barred, self.companions)


@dataclass(frozen=True)
class _OrphanQuery:
    """Finds the ordinals of staged rows that refer to nothing by this constraint."""

    constraint: str
    query: sql.Composed


class _Statements:
    """The SQL of one table, composed once."""

    def __init__(self, connection: Connection, table: Table, stage: sql.Identifier, record: BatchRecord | None) -> None:
        columns = sql.SQL(", ").join(map(sql.Identifier, table.column_names))
        self.copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(ours(connection, table.name), columns)
        insert = insertion(connection, table, stage)
        self.insert = sql.SQL("{}").format(insert if record is None else record.of_insert(insert))
        self.absent = sql.SQL(
            "SELECT ordinal FROM {} AS s WHERE ordinal <> ALL(%s::int[]) AND NOT EXISTS (SELECT FROM {} AS t WHERE {})"
        ).format(stage, rows_of(connection, table), same_key(table, "s"))
        # By their bytes: an element may have no operator that this role may call.
        changed = [
            sql.SQL("CASE WHEN ROW(t.{0})::record *<> ROW(s.{0})::record THEN {1} END").format(
                sql.Identifier(name), sql.Literal(name)
            )
            for name in table.column_names
        ]
        self.find_changed = sql.SQL(
            "SELECT ordinal, names FROM (SELECT s.ordinal, array_remove(ARRAY[{}]::text[], NULL) AS names"
            " FROM {} AS s JOIN {} AS t ON {} WHERE s.ordinal = ANY(%s::int[])) AS found WHERE names <> '{{}}'"
        ).format(sql.SQL(", ").join(changed), stage, rows_of(connection, table), same_key(table, "s"))
        self.orphans = [
            _OrphanQuery(
                parent.constraint,
                sql.SQL("SELECT ordinal FROM {} AS s WHERE NOT EXISTS (SELECT FROM {} AS p WHERE p.{} = s.{})").format(
                    stage,
                    ours(connection, parent.table),
                    sql.Identifier(parent.parent_column),
                    sql.Identifier(parent.column),
                ),
            )
            for parent in table.parents
        ]
