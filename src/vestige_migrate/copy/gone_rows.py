"""`--deletions` for what no tombstone names: rows that a copy of this source brought, and that it has no more.

An edge that was taken away leaves no trace in Vestige's file. The destination's record says that a copy wrote it, and
that nobody changed it since: so it was the source that let it go.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import psycopg
from loguru import logger
from psycopg import sql

from vestige_migrate.copy.run_history import RunHistory
from vestige_migrate.destination.connection.faults import describe
from vestige_migrate.destination.connection.table_names import ours
from vestige_migrate.destination.load.bisect_refused import by_halves
from vestige_migrate.destination.load.named_rows import key_parameters, named_rows
from vestige_migrate.destination.load.stored_form import same_key
from vestige_migrate.destination.schema.run_tables import BATCHES, RUNS
from vestige_migrate.paths import shown
from vestige_migrate.plan import SqliteToPostgresPlan
from vestige_migrate.prepare.destination import ReadyDestination
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.report.deletions import DeletionReport, GoneRows
from vestige_migrate.report.rows import Outcome, RowError
from vestige_migrate.tables.base import BOOTSTRAP_USER, Table
from vestige_migrate.tables.unreadable_rows import errors_of_lost
from vestige_migrate.verify.extra_rows import find_extras

_TABLES = ("edges", "scheduling", "review_events", "group_memberships", "domains", "groups", "users")
"""What refers to others comes first."""


def settle_gone_rows(
    plans: Sequence[SqliteToPostgresPlan],
    sources: Sequence[PreparedSource],
    destination: ReadyDestination,
    history: RunHistory,
    report: DeletionReport,
) -> None:
    """Names the rows that the source has no more, and deletes them where that is to be done, after the memories.

    Raises psycopg.Error only for what is no row's fault; what was deleted until then stays so.
    """
    paths = [shown(plan.sqlite_path) for plan in plans]
    gone_memories = {*report.deleted, *report.to_delete, *report.changed_since, *report.not_in_source}
    for name in _TABLES:
        table = destination.shapes.table(name)
        if name in history.recorded and table.stored is None:
            _Gone(plans[0], table, sources, destination, paths).settle(report, gone_memories)


class _Gone:
    """The rows of one table."""

    def __init__(
        self,
        plan: SqliteToPostgresPlan,
        table: Table,
        sources: Sequence[PreparedSource],
        destination: ReadyDestination,
        paths: Sequence[str],
    ) -> None:
        self._batch_size = plan.batch_size
        self._table = table
        self._sources = sources
        self._destination = destination
        self._paths = list(paths)
        main = destination.main
        # By the sources' runs alone: another file's rows are none of this one's to take away.
        self._matches = sql.SQL(
            "{} AND EXISTS (SELECT FROM {} AS b JOIN {} AS r ON r.id = b.run_id"
            " WHERE b.row_xmin = t.xmin::text::bigint AND b.table_name = {} AND r.sources <@ %s::text[])"
        ).format(same_key(table, "k"), ours(main, BATCHES), ours(main, RUNS), sql.Literal(table.name))

    def settle(self, report: DeletionReport, gone_memories: Set[str]) -> None:
        extras = [id_ for id_ in self._extras() if not self._hangs_on(id_, gone_memories)]
        gone = GoneRows(to_delete=self._brought(extras))
        if report.applied and gone.to_delete:
            wanted, gone.to_delete = gone.to_delete, []
            for start in range(0, len(wanted), self._batch_size):
                self._delete_some(wanted[start : start + self._batch_size], gone, report)
            gone.to_delete = self._brought(wanted)
            logger.info("{} rows of {} that the source has no more are deleted", len(gone.deleted), self._table.name)
        if gone.deleted or gone.to_delete:
            report.rows[self._table.name] = gone

    def _extras(self) -> list[str]:
        main, name = self._destination.main, self._table.name
        sides = []
        for source in self._sources:
            found = self._table.source_in(source.layout)
            if found is None:
                return []  # a file that never had such rows took none away
            if errors_of_lost(source.lost, {name: found}, self._destination.shapes):
                return []  # what it has cannot be known
            sides.append((source.connection, found.by_rowid()))
        [(rows,)] = main.execute(sql.SQL("SELECT count(*) FROM {}").format(ours(main, name))).fetchall()
        ours_alone = self._made_here() if name == "users" else set()
        return [id_ for id_ in find_extras(main, self._table, sides, int(rows), set()) if id_ not in ours_alone]

    def _made_here(self) -> set[str]:
        """Users whom no source has to have: the schema's own, and those whom a copy made for its `--owner`."""
        main = self._destination.main
        query = sql.SQL("SELECT id::text FROM {} WHERE handle IN (SELECT options ->> 'owner' FROM {})").format(
            ours(main, self._table.name), ours(main, RUNS)
        )
        return {BOOTSTRAP_USER, *(id_ for (id_,) in main.execute(query))}

    def _hangs_on(self, id_: str, memories: Set[str]) -> bool:
        """Whether the row belongs to a memory that only the destination has: it goes and stays with that."""
        return any(part in memories for part in id_.split(" -> "))

    def _brought(self, ids: Sequence[str]) -> list[str]:
        """Those of the rows that are as a copy of the sources wrote them."""
        if not ids:
            return []
        main = self._destination.main
        query = sql.SQL("SELECT k.ordinal FROM {} AS k JOIN {} AS t ON {}").format(
            named_rows(self._table), ours(main, self._table.name), self._matches
        )
        found = main.execute(query, [*key_parameters(self._table, ids), self._paths])
        return sorted(ids[ordinal - 1] for (ordinal,) in found)

    def _delete_some(self, ids: Sequence[str], gone: GoneRows, report: DeletionReport) -> None:
        main = self._destination.main
        # The condition once more: what is changed meanwhile stays.
        query = sql.SQL("DELETE FROM {} AS t USING {} AS k WHERE {} RETURNING k.ordinal").format(
            ours(main, self._table.name), named_rows(self._table), self._matches
        )

        def delete(part: Sequence[str]) -> None:
            with main.transaction():
                found = main.execute(query, [*key_parameters(self._table, part), self._paths]).fetchall()
            gone.deleted += sorted(part[ordinal - 1] for (ordinal,) in found)

        def refuse(id_: str, error: psycopg.Error) -> None:
            name = self._table.name
            report.errors.append(RowError(name, id_, None, describe(error), Outcome.NOT_DELETED, error.sqlstate))

        by_halves(ids, delete, refuse)
