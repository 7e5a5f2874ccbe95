"""Writing a batch: one transaction, every row in it placed, already there, or accounted for.

The cheap way first: COPY straight into the table, one statement, which is its own transaction. It fails as a whole
if any row conflicts or is refused. Then the batch is staged: COPY into a temporary table, rows whose parents are
missing are told apart by one query, and INSERT ... ON CONFLICT DO NOTHING takes the rest. If PostgreSQL refuses a
row there as well, halving finds it; it is given up only where leaving values out does not help
(droppable_values.py), and where the statement is not to blame (bisect_refused.py). What would be checked at COMMIT is
checked before, where it can be halved.
A trigger of the destination's own may drop rows without a word: where fewer are stored than were sent, the staged way
asks which of them are not there, and they are refused like any other. It may also store them under another key, which
no count shows: a table that has triggers is always staged, and always asked.
Rows that are known to be outdated in the destination are staged at once and updated there (replace_outdated.py).
So are the rows of a table that the destination keeps otherwise than ours (stored_form.py).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.load.bisect_refused import Blame
from vestige_migrate.destination.load.row_triggers import check_now
from vestige_migrate.destination.load.run_record import BatchRecord
from vestige_migrate.destination.load.staged_batch import StagedBatch, Written
from vestige_migrate.destination.load.staged_insert import Row, StagedInsert, StagedReplace
from vestige_migrate.destination.load.staging import copy_into, copy_stream
from vestige_migrate.destination.load.updated_at_trigger import UpdatedAtTriggers, updated_at_triggers
from vestige_migrate.report.rows import RowError
from vestige_migrate.tables.base import Refresh, Table

if TYPE_CHECKING:
    from vestige_migrate.wire.batch import Batch


class _NotAllStored(Exception):
    """A COPY stored fewer rows than it was sent; its transaction is rolled back."""


Others = Callable[[], "Batch | None"]
"""Rows from all over the table, where it has any that can be written."""


def _no_others() -> None:
    return None


class TableWriter:
    """Writes batches of one table over one connection.

    `before_commit` is called with a batch's errors before the batch is committed, so that no error can be lost
    between a commit and its report. `others` and `last_try`: see `Blame`. What is written, and its errors, are entered
    in `record` in the same transaction; None: the destination has no record of its copies.
    """

    def __init__(
        self,
        connection: Connection,
        table: Table,
        before_commit: Callable[[list[RowError]], None],
        others: Others = _no_others,
        last_try: bool = False,
        record: BatchRecord | None = None,
    ) -> None:
        self._connection = connection
        self._table = table
        self._tell_errors = before_commit
        self._record = record
        self._insertion = self._current = StagedInsert(connection, table, record)
        self._replacements: dict[Refresh, StagedReplace] = {}
        self._others = others
        self._blame = Blame(lambda: self._current.try_without_rows(), self._any_goes_in, last_try)
        self._conflicts = False

    @cached_property
    def _updated_at(self) -> UpdatedAtTriggers:
        return updated_at_triggers(self._connection, self._table.name)

    @property
    def is_direct(self) -> bool:
        """Whether no row of this table was found there already, and its rows are stored as they are sent."""
        return not self._conflicts and not self._insertion.triggers.on_insert and self._table.stored is None

    def write_plain(self, stream: bytes, rows: int) -> bool:
        """Writes a COPY stream of so many rows without errors; False where they are not all there afterwards.

        Raises as `write` does.
        """
        try:
            with self._recorded(rows):
                if copy_stream(self._connection, self._insertion.statements.copy, stream) == rows:
                    return True
                raise _NotAllStored
        except _NotAllStored:
            return False
        except psycopg.Error as error:
            self._note(error)
            return False

    def _recorded(self, rows: int) -> AbstractContextManager[None]:
        """So many rows go in directly, all of them or none; without a record their COPY is a transaction by itself."""
        return self._record.of_direct(rows) if self._record is not None else nullcontext()

    def _before_commit(self, errors: list[RowError]) -> None:
        if self._record is not None:
            self._record.note_errors(errors)
        self._tell_errors(errors)

    def _note(self, error: psycopg.Error) -> None:
        """Takes note of an error that staging will get over; raises any other."""
        if not self._blame.may_be_a_rows(error):
            raise error
        # Rows that exist come in runs (a retried range): stay with staging for this table from now on.
        self._conflicts = self._conflicts or isinstance(error, errors.UniqueViolation)

    def write(self, batch: Batch) -> Written:
        """Writes the batch. Raises psycopg.Error only for what is no row's fault; nothing is committed then."""
        if not len(batch):
            self._before_commit(batch.unplaced)
            return Written()
        if self.is_direct:
            try:
                if self._write_directly(batch):
                    return Written(inserted=len(batch))
            except psycopg.Error as error:
                self._note(error)
        return self._write_staged(batch, self._insertion)

    def replace(
        self, batch: Batch, refresh: Refresh, companion: Table | None = None, companions: Batch | None = None
    ) -> Written:
        """Writes rows that the destination has outdated, with their `companions`, rows of the table `companion`."""
        if not len(batch):
            self._before_commit(batch.unplaced)
            return Written()
        replacement = self._replacements.get(refresh)
        if replacement is None:
            replacement = StagedReplace(self._connection, self._table, refresh, companion, self._record)
            self._replacements[refresh] = replacement
        replacement.companions = companions
        replacement.make_stage()
        return self._write_staged(batch, replacement)

    def _write_directly(self, batch: Batch) -> bool:
        """Whether all rows are there; where a trigger dropped some, those that it kept may be there."""
        found = batch.unplaced + batch.errors_of_stored(())
        if not found and self._record is None:
            return copy_into(self._connection, self._insertion.statements.copy, batch.columns) == len(batch)
        try:
            with self._recorded(len(batch)) if self._record is not None else self._connection.transaction():
                if copy_into(self._connection, self._insertion.statements.copy, batch.columns) < len(batch):
                    raise _NotAllStored
                if self._insertion.triggers.at_commit:
                    check_now(self._connection)
                self._before_commit(found)
        except _NotAllStored:
            return False
        return True

    def _write_staged(self, batch: Batch, insertion: StagedInsert) -> Written:
        insertion.stage.make()
        self._current = insertion
        staged = StagedBatch(self._connection, self._table, insertion, batch, self._blame)
        updates = isinstance(insertion, StagedReplace)
        with self._connection.transaction(), self._updated_at.left_off(self._connection, updates):
            staged.place()
            self._before_commit(staged.errors)
        return staged.written

    def _any_goes_in(self) -> bool:
        """Whether a row from anywhere in the table goes in, or is there; none is placed by asking."""
        others = self._others()
        return others is not None and any(self._goes_in(row) for row in enumerate(others.rows()))

    def _goes_in(self, row: Row) -> bool:
        try:
            with self._connection.transaction(force_rollback=True):
                return not self._insertion.insert([row]).absent
        except psycopg.Error as error:
            if not self._blame.may_be_a_rows(error):
                raise
            return False
