"""Writing a batch: one transaction, every row in it placed, already there, or accounted for.

The cheap way first: COPY straight into the table, one statement, which is its own transaction. It fails as a whole
if any row conflicts or is refused. Then the batch is staged: COPY into a temporary table, rows whose parents are
missing are told apart by one query, and INSERT ... ON CONFLICT DO NOTHING takes the rest. If PostgreSQL refuses a
row there as well, halving finds it; it is given up only where leaving values out does not help (spare.py).
A trigger of the destination's own may drop rows without a word: where fewer are stored than were sent, the staged way
asks which of them are not there, and they are refused like any other.
Rows that are known to be outdated in the destination are staged at once and updated there (replace.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors, sql

from vestige_migrate.destination.connect import Connection
from vestige_migrate.destination.faults import describe, is_row_fault
from vestige_migrate.destination.replace import NOTHING, Replaced, Replacer
from vestige_migrate.destination.spare import spare
from vestige_migrate.destination.stage import RowFields, Stage, copy_into, copy_stream
from vestige_migrate.report import Outcome, RowError
from vestige_migrate.tables.base import Refresh, Table

if TYPE_CHECKING:
    from vestige_migrate.wire.batch import Batch


@dataclass
class Written:
    """What became of the rows of a batch; `companions` rows of another table were updated with them."""

    inserted: int = 0
    skipped: int = 0
    updated: int = 0
    companions: int = 0
    refused: dict[int, RowError] = field(default_factory=dict)
    altered: list[RowError] = field(default_factory=list)

    def add(self, rows: int, placed: _Placed) -> None:
        """Counts `rows` rows that were placed, or are there already."""
        self.inserted += placed.inserted
        self.updated += placed.replaced.rows
        self.companions += placed.replaced.companions
        self.skipped += rows - placed.inserted - placed.replaced.rows
        self.altered += placed.replaced.errors


@dataclass(frozen=True)
class _Placed:
    """What one INSERT did: orphans (ordinal -> constraint), rows inserted, rows brought up to date, rows dropped."""

    orphans: dict[int, str]
    inserted: int
    replaced: Replaced
    dropped: frozenset[int] = frozenset()
    """Ordinals of rows that are not there though PostgreSQL did not refuse them."""

    @property
    def absent(self) -> int:
        """How many rows are not there."""
        return len(self.orphans) + len(self.dropped)


Replace = Callable[[list[int]], Replaced]
"""Brings staged rows that are there already up to date, without these ordinals."""


def _keep(_: list[int]) -> Replaced:
    return NOTHING


class TableWriter:
    """Writes batches of one table over one connection.

    `before_commit` is called with a batch's errors before the batch is committed, so that no error can be lost
    between a commit and its report.
    """

    def __init__(self, connection: Connection, table: Table, before_commit: Callable[[list[RowError]], None]) -> None:
        self._connection = connection
        self._table = table
        self._before_commit = before_commit
        self._stage = Stage(connection, table)
        self._statements = _Statements(table, self._stage.name)
        self._direct = True
        self._replacer: Replacer | None = None

    @property
    def is_direct(self) -> bool:
        """Whether no row of this table was found there already."""
        return self._direct

    def write_plain(self, stream: bytes, rows: int) -> bool:
        """Writes a COPY stream of so many rows without errors; False where they are not all there afterwards.

        Raises as `write` does.
        """
        try:
            return copy_stream(self._connection, self._statements.copy, stream) == rows
        except psycopg.Error as error:
            if not is_row_fault(error):
                raise
            self._note(error)
            return False

    def _note(self, error: psycopg.Error) -> None:
        # Rows that exist come in runs (a retried range): stay with staging for this table from now on.
        self._direct = self._direct and not isinstance(error, errors.UniqueViolation)

    def write(self, batch: Batch) -> Written:
        """Writes the batch. Raises psycopg.Error only for what is no row's fault; nothing is committed then."""
        if not len(batch):
            self._before_commit(batch.unplaced)
            return Written()
        if self._direct:
            try:
                if self._write_directly(batch):
                    return Written(inserted=len(batch))
            except psycopg.Error as error:
                if not is_row_fault(error):
                    raise
                self._note(error)
        return self._write_staged(batch)

    def replace(self, batch: Batch, refresh: Refresh, companion: Table | None, companions: Batch | None) -> Written:
        """Writes rows that the destination has outdated, with their `companions`, rows of the table `companion`."""
        if not len(batch):
            self._before_commit(batch.unplaced)
            return Written()
        if self._replacer is None:
            self._replacer = Replacer(self._connection, self._table, refresh, self._stage, companion)
        replacer = self._replacer
        replacer.make_stage()
        return self._write_staged(batch, lambda barred: replacer.apply(barred, companions))

    def _write_directly(self, batch: Batch) -> bool:
        """Whether all rows are there; where a trigger dropped some, those that it kept may be there."""
        found = batch.unplaced + batch.errors_of_stored(())
        if not found:
            return copy_into(self._connection, self._statements.copy, batch.columns) == len(batch)
        stored = 0
        with self._connection.transaction() as transaction:
            stored = copy_into(self._connection, self._statements.copy, batch.columns)
            if stored < len(batch):
                raise psycopg.Rollback(transaction)
            self._before_commit(found)
        return stored == len(batch)

    def _write_staged(self, batch: Batch, replace: Replace = _keep) -> Written:
        self._stage.make()
        written = Written()
        rows = list(enumerate(batch.rows()))
        with self._connection.transaction():
            self._place(rows, batch, written, replace)
            self._before_commit(
                [
                    *batch.unplaced,
                    *batch.errors_of_stored(written.refused),
                    *written.refused.values(),
                    *written.altered,
                ]
            )
        return written

    def _place(self, rows: list[tuple[int, RowFields]], batch: Batch, written: Written, replace: Replace) -> None:
        """Inserts the rows, halving down to the ones that PostgreSQL refuses."""
        try:
            with self._connection.transaction():
                placed = self._insert(rows, replace)
        except psycopg.Error as error:
            if not is_row_fault(error):
                raise
            if len(rows) == 1:
                self._spare(rows[0], batch, written, replace, error)
                return
            middle = len(rows) // 2
            self._place(rows[:middle], batch, written, replace)
            self._place(rows[middle:], batch, written, replace)
            return
        self._refuse_absent(placed, batch, written)
        written.add(len(rows) - placed.absent, placed)

    def _insert(self, rows: list[tuple[int, RowFields]], replace: Replace) -> _Placed:
        """Stages and inserts what is not there, then brings what was there up to date."""
        self._stage.fill(rows)
        orphans: dict[int, str] = {}
        for each in self._statements.orphans:
            orphans.update({ordinal: each.constraint for (ordinal,) in self._connection.execute(each.query)})
        inserted = self._connection.execute(self._statements.insert, (list(orphans),)).rowcount
        dropped: frozenset[int] = frozenset()
        if inserted < len(rows) - len(orphans):  # there already, nearly always
            absent = self._connection.execute(self._statements.absent, (list(orphans),))
            dropped = frozenset(ordinal for (ordinal,) in absent)
        return _Placed(orphans, inserted, replace(list(orphans)), dropped)

    def _parent_column(self, constraint: str) -> str:
        return next(parent.column for parent in self._table.parents if parent.constraint == constraint)

    def _spare(
        self, row: tuple[int, RowFields], batch: Batch, written: Written, replace: Replace, cause: psycopg.Error
    ) -> None:
        """Places a refused row without the values that PostgreSQL objects to; gives it up where that does not help."""
        ordinal, fields = row
        found = spare(self._table, fields, lambda tried: self._objection((ordinal, tried), replace))
        if found is None:
            written.refused[ordinal] = self._refusal(batch, ordinal, cause, cause.diag.column_name, Outcome.NOT_COPIED)
            return
        kept, lost = found
        placed = self._insert([(ordinal, kept)], replace)
        self._refuse_absent(placed, batch, written)
        if not placed.absent:
            written.add(1, placed)
            written.altered += [
                self._refusal(batch, ordinal, error, self._table.columns[at].name, Outcome.COPIED_WITHOUT_VALUE)
                for at, error in lost.items()
            ]

    def _objection(self, row: tuple[int, RowFields], replace: Replace) -> psycopg.Error | None:
        """What PostgreSQL says against a row, which is not placed by asking."""
        try:
            with self._connection.transaction(force_rollback=True):
                self._insert([row], replace)
        except psycopg.Error as error:
            if not is_row_fault(error):
                raise
            return error
        return None

    def _refuse_absent(self, placed: _Placed, batch: Batch, written: Written) -> None:
        for ordinal in placed.dropped:
            written.refused[ordinal] = RowError(
                table=self._table.name,
                id=batch.id_of(ordinal),
                column=None,
                message="is not there after its INSERT: a trigger of the destination's own dropped it",
                outcome=Outcome.NOT_COPIED,
            )
        for ordinal, constraint in placed.orphans.items():
            written.refused[ordinal] = RowError(
                table=self._table.name,
                id=batch.id_of(ordinal),
                column=self._parent_column(constraint),
                message=f'violates foreign key "{constraint}": what it refers to is not there',
                outcome=Outcome.NOT_COPIED,
                sqlstate=errors.ForeignKeyViolation.sqlstate,
            )

    def _refusal(
        self, batch: Batch, ordinal: int, cause: psycopg.Error, column: str | None, outcome: Outcome
    ) -> RowError:
        return RowError(self._table.name, batch.id_of(ordinal), column, describe(cause), outcome, cause.sqlstate)


@dataclass(frozen=True)
class _OrphanQuery:
    """Finds the ordinals of staged rows that refer to nothing by this constraint."""

    constraint: str
    query: sql.Composed


class _Statements:
    """The SQL of one table, composed once."""

    def __init__(self, table: Table, stage: sql.Identifier) -> None:
        name = sql.Identifier(table.name)
        columns = sql.SQL(", ").join(map(sql.Identifier, table.column_names))
        key = sql.SQL(", ").join(map(sql.Identifier, table.key))
        self.copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(name, columns)
        self.insert = sql.SQL(
            "INSERT INTO {} ({}) SELECT {} FROM {} WHERE ordinal <> ALL(%s::int[]) ORDER BY ordinal"
            " ON CONFLICT ({}) DO NOTHING"
        ).format(name, columns, columns, stage, key)
        self.absent = sql.SQL(
            "SELECT ordinal FROM {} AS s WHERE ordinal <> ALL(%s::int[]) AND NOT EXISTS (SELECT FROM {} AS t WHERE {})"
        ).format(
            stage,
            name,
            sql.SQL(" AND ").join(sql.SQL("t.{0} = s.{0}").format(sql.Identifier(part)) for part in table.key),
        )
        self.orphans = [
            _OrphanQuery(
                parent.constraint,
                sql.SQL("SELECT ordinal FROM {} AS s WHERE NOT EXISTS (SELECT FROM {} AS p WHERE p.{} = s.{})").format(
                    stage,
                    sql.Identifier(parent.table),
                    sql.Identifier(parent.parent_column),
                    sql.Identifier(parent.column),
                ),
            )
            for parent in table.parents
        ]
