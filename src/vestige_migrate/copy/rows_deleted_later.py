"""Rows that went in, and that a trigger of the destination's own took out again later: named, not counted as copied.

Each batch is read back in its own transaction (`destination.load.batch_writer`). A trigger may still delete what an
earlier batch brought, or another table: one that keeps the latest hundred rows, or that replaces schedules when an edge
comes. So where rows went into a table with triggers, every row is asked for once more after the load, by the workers
of `verify`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from loguru import logger

from vestige_migrate.copy.tally import Tally
from vestige_migrate.destination.load.row_triggers import triggers_of
from vestige_migrate.plan import SqliteToPostgresPlan
from vestige_migrate.prepare.destination import ReadyDestination
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import Outcome, RowError
from vestige_migrate.report.verification import Kind
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.ranges import plan_ranges
from vestige_migrate.verify.comparing_pool import ComparingPool

_LATE = (
    "was written to the source while the copy ran, and is not there yet; or it went in, and a trigger of the "
    "destination's own deleted it"
)
_MESSAGE = "went in, and is not there any more: a trigger of the destination's own deleted it, or another program did"


class RowsThatStayed:
    """Looks for the rows of one file after its load."""

    def __init__(
        self,
        plan: SqliteToPostgresPlan,
        source: PreparedSource,
        sources: Mapping[str, TableSource],
        destination: ReadyDestination,
    ) -> None:
        self._plan = plan
        self._source = source
        self._sources = {name: found.by_rowid() for name, found in sources.items()}
        self._destination = destination

    def name(
        self, report: MigrationReport, tally: Tally, pool: Callable[[], ComparingPool], source_changed: bool
    ) -> list[RowError]:
        """Tells the tally, table by table. `pool` makes workers that compare.

        With `source_changed` nobody can tell a row that is gone again from one that was written to the source since:
        those are no errors, and are what is returned. Raises psycopg.OperationalError where the session is lost.
        """
        if not self._any_trigger_fired(report):
            return []
        logger.info("the destination has triggers of its own: looking whether every row is still there")
        missing = self._find_missing(pool())
        still_open = []
        for name in self._sources:
            refused = tally.refused(name)
            ids = [id_ for id_ in sorted(missing.get(name, ())) if id_ not in refused]
            if source_changed:
                still_open += [RowError(name, id_, None, _LATE, Outcome.SOURCE_CHANGED) for id_ in ids]
                ids = []
            tally.gone(name, [RowError(name, id_, None, _MESSAGE, Outcome.NOT_COPIED) for id_ in ids])
        return still_open

    def _any_trigger_fired(self, report: MigrationReport) -> bool:
        main = self._destination.main
        for name in self._sources:
            counts, triggers = report.tables[name], triggers_of(main, name)
            if (counts.inserted and triggers.on_insert) or (counts.updated and triggers.on_update):
                return True
        return False

    def _find_missing(self, pool: ComparingPool) -> dict[str, set[str]]:
        """The ids of rows that could be there and are not, by table."""
        ranges = [
            range_
            for name, source in self._sources.items()
            for range_ in plan_ranges(self._source.connection, name, source, self._plan.workers)
        ]
        missing: dict[str, set[str]] = {}
        for range_, differences in pool.differences(ranges).items():
            ids = (item.id for item in differences if item.kind is Kind.MISSING)
            missing.setdefault(range_.table, set()).update(ids)
        return missing
