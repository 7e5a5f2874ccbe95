"""One batch through a temporary table: halved down to the rows that PostgreSQL refuses; each row is accounted for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.faults import describe, is_of_functions
from vestige_migrate.destination.load.bisect_refused import Blame, place_by_halves
from vestige_migrate.destination.load.droppable_values import without_refused
from vestige_migrate.destination.load.replace_outdated import ALTERED, NOT_REPLACED
from vestige_migrate.destination.load.staged_insert import Placed, Row, StagedInsert
from vestige_migrate.report.rows import Outcome, RowError
from vestige_migrate.tables.base import Table

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
    replaced: set[int] = field(default_factory=set)
    """The ordinals of the rows that are `updated`."""

    def add(self, rows: int, placed: Placed) -> None:
        """Counts `rows` rows that were placed, or are there already."""
        self.inserted += placed.inserted
        self.updated += placed.replaced.rows
        self.replaced |= placed.replaced.ordinals
        self.companions += placed.replaced.companions
        self.skipped += rows - placed.inserted - placed.replaced.rows
        self.altered += placed.replaced.errors


_NOT_THERE = "is not there after its INSERT: a trigger of the destination's own dropped it, or changed its key"

_CHANGED = "is not as its INSERT wrote it: a trigger of the destination's own changed it"

_FEW = 50
"""Of so many rows, each may be tried to be left out."""


class StagedBatch:
    """The batch, in the caller's transaction; `written` says what became of its rows."""

    def __init__(
        self, connection: Connection, table: Table, insertion: StagedInsert, batch: Batch, blame: Blame
    ) -> None:
        self._connection = connection
        self._table = table
        self._insertion = insertion
        self._batch = batch
        self._blame = blame
        self._late: list[tuple[Row, psycopg.Error]] = []
        self.written = Written()

    def place(self) -> None:
        """Places every row that PostgreSQL takes. Raises psycopg.Error only for what is no row's fault."""
        self._blame.begin()
        self._place(list(enumerate(self._batch.rows())))
        self._place_late()
        self._blame.conclude()

    @property
    def errors(self) -> list[RowError]:
        """Of all rows of the batch."""
        written = self.written
        stored = self._batch.errors_of_stored(written.refused)
        return [*self._batch.unplaced, *stored, *written.refused.values(), *written.altered]

    def _place(self, rows: list[Row]) -> None:
        """Inserts the rows, halving down to the ones that PostgreSQL refuses."""

        def refuse(row: Row, error: psycopg.Error) -> None:
            if error is self._insertion.seen_late:
                self._late.append((row, error))
            else:
                self._place_without_refused(row, error)

        place_by_halves(rows, lambda part: self._place_whole(part), refuse, self._blame)

    def _place_whole(self, rows: Sequence[Row]) -> int:
        """Inserts the rows, all of them that are not orphans or dropped; the number that is there then."""
        with self._connection.transaction() as savepoint:
            placed = self._insertion.insert(rows)
            if placed.strays > 0:
                raise psycopg.Rollback(savepoint)  # what is there under a key of its own would come again with each run
        if placed.strays > 0:
            rest = [row for row in rows if row[0] not in placed.dropped]
            there = self._place_whole(rest) if rest else 0
            self._refuse(placed.dropped, _NOT_THERE)
            return there
        self._refuse_absent(placed)
        there = len(rows) - placed.absent
        self.written.add(there, placed)
        self._name_altered(placed)
        if there:
            self._blame.on_placed()
        return there

    def _place_late(self) -> None:
        """Tries again together what only a deferred check refused: by halving, a row may have come before one that it
        refers to."""
        while self._late:
            late, self._late = self._late, []
            self._place([row for row, _ in late])
            if len(self._late) < len(late):
                continue
            late, self._late = self._late, []
            culprit = self._only_culprit([row for row, _ in late])
            for row, error in late:
                if culprit is None or row is culprit:
                    self._place_without_refused(row, error)

    def _only_culprit(self, rows: list[Row]) -> Row | None:
        """The row without which the others, which refer to each other, go in together; they are placed then."""
        if not 2 < len(rows) <= _FEW:
            return None
        for culprit in rows:
            try:
                self._place_whole([row for row in rows if row is not culprit])
            except psycopg.Error as error:
                if not self._blame.may_be_a_rows(error):
                    raise
            else:
                return culprit
        return None

    def _parent_column(self, constraint: str) -> str:
        return next(parent.column for parent in self._table.parents if parent.constraint == constraint)

    def _place_without_refused(self, row: Row, cause: psycopg.Error) -> None:
        """Places a refused row without the values that PostgreSQL objects to; gives it up where that does not help."""
        ordinal, fields = row
        found = without_refused(self._table, fields, lambda tried: self._objection((ordinal, tried)))
        if found is None:
            column = None if is_of_functions(cause) else cause.diag.column_name
            self.written.refused[ordinal] = self._refusal(ordinal, cause, column, Outcome.NOT_COPIED)
            return
        kept, lost = found
        if self._place_whole([(ordinal, kept)]):
            self.written.altered += [
                self._refusal(ordinal, error, self._table.columns[at].name, Outcome.COPIED_WITHOUT_VALUE)
                for at, error in lost.items()
            ]

    def _objection(self, row: Row) -> psycopg.Error | None:
        """What PostgreSQL says against a row, which is not placed by asking."""
        try:
            with self._connection.transaction(force_rollback=True):
                self._insertion.insert([row])
        except psycopg.Error as error:
            if not self._blame.may_be_a_rows(error):
                raise
            return error
        return None

    def _refuse_absent(self, placed: Placed) -> None:
        self._refuse(placed.dropped, _NOT_THERE)
        self._refuse(placed.replaced.dropped, NOT_REPLACED)
        for ordinal, constraint in placed.orphans.items():
            self.written.refused[ordinal] = RowError(
                table=self._table.name,
                id=self._batch.id_of(ordinal),
                column=self._parent_column(constraint),
                message=f'violates foreign key "{constraint}": what it refers to is not there',
                outcome=Outcome.NOT_COPIED,
                sqlstate=errors.ForeignKeyViolation.sqlstate,
            )

    def _name_altered(self, placed: Placed) -> None:
        column: str | None = placed.replaced.decides
        found = [(ordinal, column, ALTERED) for ordinal in sorted(placed.replaced.altered)]
        found += [
            (ordinal, name, f"{name} {_CHANGED}") for ordinal, names in sorted(placed.altered.items()) for name in names
        ]
        self.written.altered += [
            RowError(self._table.name, self._batch.id_of(ordinal), name, message, Outcome.COPIED_WITHOUT_VALUE)
            for ordinal, name, message in found
        ]

    def _refuse(self, ordinals: Iterable[int], message: str) -> None:
        for ordinal in ordinals:
            id_ = self._batch.id_of(ordinal)
            self.written.refused[ordinal] = RowError(self._table.name, id_, None, message, Outcome.NOT_COPIED)

    def _refusal(self, ordinal: int, cause: psycopg.Error, column: str | None, outcome: Outcome) -> RowError:
        return RowError(self._table.name, self._batch.id_of(ordinal), column, describe(cause), outcome, cause.sqlstate)
