"""`--deletions`: memories that the source has deleted since a copy brought them.

A tombstone has to name them. What the destination has and no tombstone names may have been written there: it stays,
and is named.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from uuid import UUID

import psycopg
from loguru import logger
from psycopg import sql

from vestige_migrate.destination.connection.faults import describe
from vestige_migrate.destination.connection.table_names import ours
from vestige_migrate.destination.load.binary_arrays import binary_array, register_arrays
from vestige_migrate.destination.load.bisect_refused import by_halves
from vestige_migrate.destination.load.stored_form import rows_of
from vestige_migrate.destination.schema import schema, tombstones
from vestige_migrate.encode.encoders import encoder_of
from vestige_migrate.plan import Deletions, SqliteToPostgresPlan
from vestige_migrate.prepare.destination import ReadyDestination
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.report.deletions import DeletionReport
from vestige_migrate.report.rows import NIL_UUID, Outcome, RowError
from vestige_migrate.source.read.tombstones import Tombstones
from vestige_migrate.tables.unreadable_rows import NONE_LOST, errors_of_lost
from vestige_migrate.verify.extra_rows import find_extras
from vestige_migrate.wire import field
from vestige_migrate.wire.column import uuids

_MEMORIES = "knowledge_nodes"
_HELD_BACK = (
    "the source has lost memories whose ids cannot be read, and one of them may have a tombstone and have come back"
)
_DROPPED = "is there after its DELETE: a trigger of the destination's own kept it"

Dead = tuple[str, bytes]
"""The id of a memory, and the time of its last tombstone as a COPY field."""


def settle_deletions(
    plan: SqliteToPostgresPlan,
    sources: Sequence[PreparedSource],
    destination: ReadyDestination,
    report: DeletionReport,
) -> None:
    """Names the memories that only the destination has, and deletes what is to be deleted, in the report as it does.

    Raises psycopg.Error only for what is no row's fault; what was deleted until then stays so.
    """
    if not destination.made or (plan.dry_run and schema.missing_tables(destination.main)):
        return
    apply = plan.deletions_asked is Deletions.APPLY and not plan.dry_run
    _Settling(plan, sources, destination).settle(report, apply)


class _Settling:
    def __init__(
        self, plan: SqliteToPostgresPlan, sources: Sequence[PreparedSource], destination: ReadyDestination
    ) -> None:
        self._plan = plan
        self._sources = sources
        self._destination = destination
        self._table = destination.shapes.table(_MEMORIES)
        name = ours(destination.main, _MEMORIES)
        named = sql.SQL("unnest(%s, %s) AS k(id, deleted_at)")
        unchanged = self._unchanged_since()
        self._judge = sql.SQL("SELECT t.id::text, {} FROM {} JOIN {} AS t ON t.id = k.id").format(
            unchanged, named, name
        )
        # The condition once more: what is changed meanwhile is judged as it is at that moment.
        self._delete = sql.SQL("DELETE FROM {} AS t USING {} WHERE t.id = k.id AND {} RETURNING t.id::text").format(
            name, named, unchanged
        )
        self._count = sql.SQL("SELECT count(*) FROM {}").format(name)
        register_arrays(destination.main)

    def _unchanged_since(self) -> sql.Composed:
        """Whether nobody has changed, recalled or linked the memory `t` here since its tombstone `k`.

        A recall does not touch the memory's own time, and all that hangs on it would go with it.
        """
        of_memory = (
            ("scheduling", sql.SQL("o.memory_id = t.id AND o.last_review > k.deleted_at")),
            ("edges", sql.SQL("t.id IN (o.source_id, o.target_id) AND o.created_at > k.deleted_at")),
            ("review_events", sql.SQL("o.memory_id = t.id AND o.occurred_at > k.deleted_at")),
        )
        younger = [
            sql.SQL("NOT EXISTS (SELECT FROM {} AS o WHERE {})").format(
                rows_of(self._destination.main, self._destination.shapes.table(name)), condition
            )
            for name, condition in of_memory
        ]
        own = sql.SQL("COALESCE(t.updated_at <= k.deleted_at, false)")
        return sql.SQL("({})").format(sql.SQL(" AND ").join([own, *younger]))

    def settle(self, report: DeletionReport, apply: bool) -> None:
        lost = [error.id for source in self._sources for error in self._lost(source)]
        if NIL_UUID in lost and apply:
            report.held_back = _HELD_BACK
            logger.warning("nothing is deleted: {}", report.held_back)
            apply = False
        report.applied = apply
        dead = self._find_dead(report, {UUID(id_) for id_ in lost if id_ != NIL_UUID})
        if apply:
            for start in range(0, len(dead), self._plan.batch_size):
                self._delete_some(dead[start : start + self._plan.batch_size], report)
            report.deleted.sort()
        report.to_delete, later = self._judged(dead)
        report.changed_since = sorted({*report.changed_since, *later})
        if apply:
            named = {error.id for error in report.errors}
            report.errors += [self._error(id_, _DROPPED) for id_ in report.to_delete if id_ not in named]
        self._say(report)

    def _lost(self, source: PreparedSource) -> Sequence[RowError]:
        """The memories that a damaged source has lost: the destination may have them from before."""
        table = self._table.source_in(source.layout)
        if table is None:
            return ()
        found = errors_of_lost(source.lost, {_MEMORIES: table}, self._destination.shapes).get(_MEMORIES, NONE_LOST)
        return [error for error in found.errors if error.outcome is Outcome.NOT_COPIED]

    def _find_dead(self, report: DeletionReport, known: Set[UUID]) -> list[Dead]:
        """`known` are ids of memories that the source has though they cannot be read."""
        main = self._destination.main
        [(rows,)] = main.execute(self._count).fetchall()
        sides, tombstones = [], Tombstones()
        for source in self._sources:
            table = self._table.source_in(source.layout)
            if table is None:
                continue
            sides.append((source.connection, table.by_rowid()))
            tombstones.add(source.connection, source.layout)
        column = self._table.columns[self._table.index("updated_at")]
        encode = encoder_of(column, self._sources[0].layout)
        dead = []
        for id_ in find_extras(main, self._table, sides, int(rows), known):
            times = tombstones.times_of(id_)
            if not times:
                report.not_in_source.append(id_)
                continue
            fields = [time for time in encode(times).fields if time is not None and time != field.NULL]
            if fields:
                dead.append((id_, max(fields, key=_microseconds)))
            else:
                report.changed_since.append(id_)
        return dead

    def _judged(self, dead: Sequence[Dead]) -> tuple[list[str], list[str]]:
        """Those that are there and not later than their tombstone, and those that are later."""
        if not dead:
            return [], []
        found = self._destination.main.execute(self._judge, self._arrays(dead)).fetchall()
        return sorted(id_ for id_, is_dead in found if is_dead), [id_ for id_, is_dead in found if not is_dead]

    def _delete_some(self, dead: Sequence[Dead], report: DeletionReport) -> None:
        """Deletes them with what hangs on them, halving down to those that PostgreSQL does not let go."""

        def refuse(dead: Dead, error: psycopg.Error) -> None:
            report.errors.append(self._error(dead[0], describe(error), error.sqlstate))

        by_halves(dead, lambda part: report.deleted.extend(self._delete_whole(part)), refuse)

    def _delete_whole(self, dead: Sequence[Dead]) -> list[str]:
        """Deletes them in one transaction; the ids of those that are gone then."""
        main = self._destination.main
        with main.transaction():
            tombstones.own_deletes(main)
            gone = [id_ for (id_,) in main.execute(self._delete, self._arrays(dead))]
            for id_ in gone:  # before the commit: afterwards nobody can find them
                logger.info("deleting {} {}, which the source has deleted", _MEMORIES, id_)
        return gone

    def _arrays(self, dead: Sequence[Dead]) -> list[object]:
        ids = [value for value in uuids([id_ for id_, _ in dead]).fields if value is not None]
        return [binary_array("uuid", ids), binary_array("timestamptz", [time for _, time in dead])]

    def _error(self, id_: str, message: str, sqlstate: str | None = None) -> RowError:
        return RowError(_MEMORIES, id_, None, message, Outcome.NOT_DELETED, sqlstate)

    def _say(self, report: DeletionReport) -> None:
        if report.deleted:
            logger.info("{} memories that were deleted in the source are deleted here too", len(report.deleted))
        for error in report.errors:
            logger.warning("{}", error)


def _microseconds(time: bytes) -> int:
    """Of a COPY field of timestamptz: behind its length, microseconds since 2000."""
    return int.from_bytes(time[4:], "big", signed=True)
