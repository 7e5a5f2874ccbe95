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

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors, sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.faults import describe, is_of_functions
from vestige_migrate.destination.connection.table_names import ours
from vestige_migrate.destination.load.bisect_refused import Blame, place_by_halves
from vestige_migrate.destination.load.droppable_values import without_refused
from vestige_migrate.destination.load.replace_outdated import ALTERED, NOT_REPLACED, NOTHING, Replaced, Replacer
from vestige_migrate.destination.load.row_triggers import Triggers, check_now, triggers_of
from vestige_migrate.destination.load.staging import RowFields, Stage, copy_into, copy_stream
from vestige_migrate.destination.load.stored_form import (
    go_by_index,
    has_key_index,
    insertion,
    keep_others_from_inserting,
    rows_of,
    same_key,
)
from vestige_migrate.destination.load.updated_at_trigger import UpdatedAtTriggers, updated_at_triggers
from vestige_migrate.report.rows import Outcome, RowError
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
    strays: int = 0
    """How many of those are there under other keys."""
    altered: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """Ordinals of rows that are there with other values than were sent, and in which columns."""

    @property
    def absent(self) -> int:
        """How many rows are not there, or not as they were to be."""
        return len(self.orphans) + len(self.dropped) + len(self.replaced.dropped)


_NOT_THERE = "is not there after its INSERT: a trigger of the destination's own dropped it, or changed its key"

_CHANGED = "is not as its INSERT wrote it: a trigger of the destination's own changed it"

_FEW = 50
"""Of so many rows, each may be tried to be left out."""

_Row = tuple[int, RowFields]
"""An ordinal within the batch, and the row."""

Replace = Callable[[list[int]], Replaced]
"""Brings staged rows that are there already up to date, without these ordinals."""


def _keep(_: list[int]) -> Replaced:
    return NOTHING


Others = Callable[[], "Batch | None"]
"""Rows from all over the table, where it has any that can be written."""


def _no_others() -> None:
    return None


class TableWriter:
    """Writes batches of one table over one connection.

    `before_commit` is called with a batch's errors before the batch is committed, so that no error can be lost
    between a commit and its report. `others` and `last_try`: see `Blame`.
    """

    def __init__(
        self,
        connection: Connection,
        table: Table,
        before_commit: Callable[[list[RowError]], None],
        others: Others = _no_others,
        last_try: bool = False,
    ) -> None:
        self._connection = connection
        self._table = table
        self._before_commit = before_commit
        self._stage = Stage(connection, table)
        self._statements = _Statements(connection, table, self._stage.name)
        self._others = others
        self._blame = Blame(self._try_without_rows, self._any_goes_in, last_try)
        self._late: list[tuple[_Row, psycopg.Error]] = []
        self._seen_late: psycopg.Error | None = None
        self._conflicts = False
        self._replacer: Replacer | None = None

    @cached_property
    def _triggers(self) -> Triggers:
        return triggers_of(self._connection, self._table.name)

    @cached_property
    def _has_key_index(self) -> bool:
        return has_key_index(self._connection, self._table)

    @cached_property
    def _updated_at(self) -> UpdatedAtTriggers:
        return updated_at_triggers(self._connection, self._table.name)

    @property
    def is_direct(self) -> bool:
        """Whether no row of this table was found there already, and its rows are stored as they are sent."""
        return not self._conflicts and not self._triggers.on_insert and self._table.stored is None

    def write_plain(self, stream: bytes, rows: int) -> bool:
        """Writes a COPY stream of so many rows without errors; False where they are not all there afterwards.

        Raises as `write` does.
        """
        try:
            return copy_stream(self._connection, self._statements.copy, stream) == rows
        except psycopg.Error as error:
            self._note(error)
            return False

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
        return self._write_staged(batch, lambda barred: replacer.apply(barred, companions), updates=True)

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
            if self._triggers.at_commit:
                check_now(self._connection)
            self._before_commit(found)
        return stored == len(batch)

    def _write_staged(self, batch: Batch, replace: Replace = _keep, updates: bool = False) -> Written:
        self._stage.make()
        written = Written()
        rows = list(enumerate(batch.rows()))
        with self._connection.transaction(), self._updated_at.left_off(self._connection, updates):
            self._blame.begin()
            self._place(rows, batch, written, replace)
            self._place_late(batch, written, replace)
            self._blame.conclude()
            self._before_commit(
                [
                    *batch.unplaced,
                    *batch.errors_of_stored(written.refused),
                    *written.refused.values(),
                    *written.altered,
                ]
            )
        return written

    def _place(self, rows: list[_Row], batch: Batch, written: Written, replace: Replace) -> None:
        """Inserts the rows, halving down to the ones that PostgreSQL refuses."""

        def refuse(row: _Row, error: psycopg.Error) -> None:
            if error is self._seen_late:
                self._late.append((row, error))
            else:
                self._place_without_refused(row, batch, written, replace, error)

        place_by_halves(rows, lambda part: self._place_whole(part, batch, written, replace), refuse, self._blame)

    def _place_whole(self, rows: Sequence[_Row], batch: Batch, written: Written, replace: Replace) -> int:
        """Inserts the rows, all of them that are not orphans or dropped; the number that is there then."""
        with self._connection.transaction() as savepoint:
            placed = self._insert(rows, replace)
            if placed.strays > 0:
                raise psycopg.Rollback(savepoint)  # what is there under a key of its own would come again with each run
        if placed.strays > 0:
            rest = [row for row in rows if row[0] not in placed.dropped]
            there = self._place_whole(rest, batch, written, replace) if rest else 0
            self._refuse(placed.dropped, _NOT_THERE, batch, written)
            return there
        self._refuse_absent(placed, batch, written)
        there = len(rows) - placed.absent
        written.add(there, placed)
        self._name_altered(placed, batch, written)
        if there:
            self._blame.on_placed()
        return there

    def _place_late(self, batch: Batch, written: Written, replace: Replace) -> None:
        """Tries again together what only a deferred check refused: by halving, a row may have come before one that it
        refers to."""
        while self._late:
            late, self._late = self._late, []
            self._place([row for row, _ in late], batch, written, replace)
            if len(self._late) < len(late):
                continue
            late, self._late = self._late, []
            culprit = self._only_culprit([row for row, _ in late], batch, written, replace)
            for row, error in late:
                if culprit is None or row is culprit:
                    self._place_without_refused(row, batch, written, replace, error)

    def _only_culprit(self, rows: list[_Row], batch: Batch, written: Written, replace: Replace) -> _Row | None:
        """The row without which the others, which refer to each other, go in together; they are placed then."""
        if not 2 < len(rows) <= _FEW:
            return None
        for culprit in rows:
            try:
                self._place_whole([row for row in rows if row is not culprit], batch, written, replace)
            except psycopg.Error as error:
                if not self._blame.may_be_a_rows(error):
                    raise
            else:
                return culprit
        return None

    def _insert(self, rows: Sequence[_Row], replace: Replace) -> _Placed:
        """Stages and inserts what is not there, then brings what was there up to date."""
        self._stage.fill(rows)
        orphans: dict[int, str] = {}
        for each in self._statements.orphans:
            orphans.update({ordinal: each.constraint for (ordinal,) in self._connection.execute(each.query)})
        barred = list(orphans)
        if self._table.stored is not None:
            keep_others_from_inserting(self._connection)
            if self._has_key_index:
                go_by_index(self._connection)
        if not self._triggers.on_insert:
            inserted = self._connection.execute(self._statements.insert, (barred,)).rowcount
            replaced = self._finish(replace(barred))
            some_absent = inserted < len(rows) - len(orphans)  # there already, nearly always
            return _Placed(orphans, inserted, replaced, self._absent(barred) if some_absent else frozenset())
        wanted = self._absent(barred)
        there = [ordinal for ordinal, _ in rows if ordinal not in wanted]
        inserted = self._connection.execute(self._statements.insert, (there,)).rowcount if wanted else 0
        replaced = self._finish(replace(barred))
        dropped = self._absent(barred)
        strays = max(0, inserted - len(wanted) + len(dropped))
        return _Placed(orphans, inserted, replaced, dropped, strays, self._altered(wanted - dropped))

    def _finish(self, replaced: Replaced) -> Replaced:
        """Checks what would be checked at COMMIT."""
        if self._triggers.at_commit:
            try:
                check_now(self._connection)
            except psycopg.Error as error:
                self._seen_late = error
                raise
        return replaced

    def _absent(self, barred: list[int]) -> frozenset[int]:
        """The ordinals of staged rows whose key is not there."""
        return frozenset(ordinal for (ordinal,) in self._connection.execute(self._statements.absent, (barred,)))

    def _altered(self, inserted: frozenset[int]) -> dict[int, list[str]]:
        """The ordinals of staged rows, of those that were just inserted, that are there with other values."""
        if not inserted:
            return {}
        return dict(self._connection.execute(self._statements.find_changed, (list(inserted),)).fetchall())

    def _try_without_rows(self) -> None:
        """The statement with no row, for what PostgreSQL says against that."""
        with self._connection.transaction(force_rollback=True):
            self._stage.empty()
            self._connection.execute(self._statements.insert, ([],))
            if self._replacer is not None:
                self._replacer.apply([], None)
            if self._triggers.at_commit:
                check_now(self._connection)

    def _any_goes_in(self) -> bool:
        """Whether a row from anywhere in the table goes in, or is there; none is placed by asking."""
        others = self._others()
        return others is not None and any(self._goes_in(row) for row in enumerate(others.rows()))

    def _goes_in(self, row: _Row) -> bool:
        try:
            with self._connection.transaction(force_rollback=True):
                return not self._insert([row], _keep).absent
        except psycopg.Error as error:
            if not self._blame.may_be_a_rows(error):
                raise
            return False

    def _parent_column(self, constraint: str) -> str:
        return next(parent.column for parent in self._table.parents if parent.constraint == constraint)

    def _place_without_refused(
        self, row: _Row, batch: Batch, written: Written, replace: Replace, cause: psycopg.Error
    ) -> None:
        """Places a refused row without the values that PostgreSQL objects to; gives it up where that does not help."""
        ordinal, fields = row
        found = without_refused(self._table, fields, lambda tried: self._objection((ordinal, tried), replace))
        if found is None:
            column = None if is_of_functions(cause) else cause.diag.column_name
            written.refused[ordinal] = self._refusal(batch, ordinal, cause, column, Outcome.NOT_COPIED)
            return
        kept, lost = found
        if self._place_whole([(ordinal, kept)], batch, written, replace):
            written.altered += [
                self._refusal(batch, ordinal, error, self._table.columns[at].name, Outcome.COPIED_WITHOUT_VALUE)
                for at, error in lost.items()
            ]

    def _objection(self, row: _Row, replace: Replace) -> psycopg.Error | None:
        """What PostgreSQL says against a row, which is not placed by asking."""
        try:
            with self._connection.transaction(force_rollback=True):
                self._insert([row], replace)
        except psycopg.Error as error:
            if not self._blame.may_be_a_rows(error):
                raise
            return error
        return None

    def _refuse_absent(self, placed: _Placed, batch: Batch, written: Written) -> None:
        self._refuse(placed.dropped, _NOT_THERE, batch, written)
        self._refuse(placed.replaced.dropped, NOT_REPLACED, batch, written)
        for ordinal, constraint in placed.orphans.items():
            written.refused[ordinal] = RowError(
                table=self._table.name,
                id=batch.id_of(ordinal),
                column=self._parent_column(constraint),
                message=f'violates foreign key "{constraint}": what it refers to is not there',
                outcome=Outcome.NOT_COPIED,
                sqlstate=errors.ForeignKeyViolation.sqlstate,
            )

    def _name_altered(self, placed: _Placed, batch: Batch, written: Written) -> None:
        column = self._table.refresh.decides if self._table.refresh is not None else None
        found = [(ordinal, column, ALTERED) for ordinal in sorted(placed.replaced.altered)]
        found += [
            (ordinal, name, f"{name} {_CHANGED}") for ordinal, names in sorted(placed.altered.items()) for name in names
        ]
        written.altered += [
            RowError(self._table.name, batch.id_of(ordinal), name, message, Outcome.COPIED_WITHOUT_VALUE)
            for ordinal, name, message in found
        ]

    def _refuse(self, ordinals: Iterable[int], message: str, batch: Batch, written: Written) -> None:
        for ordinal in ordinals:
            id_ = batch.id_of(ordinal)
            written.refused[ordinal] = RowError(self._table.name, id_, None, message, Outcome.NOT_COPIED)

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

    def __init__(self, connection: Connection, table: Table, stage: sql.Identifier) -> None:
        columns = sql.SQL(", ").join(map(sql.Identifier, table.column_names))
        self.copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(ours(connection, table.name), columns)
        self.insert = sql.SQL("{}").format(insertion(connection, table, stage))
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
