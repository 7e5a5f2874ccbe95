"""The load: every table's ranges through the pool of workers, in foreign-key order, with a barrier between phases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime

import psycopg
from loguru import logger

from vestige_migrate.copy.error_ledger import Cause
from vestige_migrate.copy.job import CopyJob
from vestige_migrate.copy.run_history import RunHistory
from vestige_migrate.copy.tally import Tally
from vestige_migrate.destination.connection.faults import describe
from vestige_migrate.destination.schema import tombstones
from vestige_migrate.limits import BATCH_BYTES
from vestige_migrate.plan import SqliteToPostgresPlan
from vestige_migrate.prepare.destination import ReadyDestination
from vestige_migrate.prepare.owner import check_owner
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.ranges import Range, plan_ranges
from vestige_migrate.tables import PHASES
from vestige_migrate.tables.overrides import Overrides
from vestige_migrate.tables.unreadable_rows import errors_of_lost
from vestige_migrate.verify.comparing_pool import ComparingPool
from vestige_migrate.verify.job import CompareJob
from vestige_migrate.workers.bisect import Bisector
from vestige_migrate.workers.job import WorkerConfig
from vestige_migrate.workers.pool import WorkerPool

Phase = Callable[[str], AbstractContextManager[None]]


class Load:
    """What is to be loaded of one file. `counts` are the rows of each table of `sources`.

    `ranges` are those of every table where not all of its rows are to be loaded.
    """

    def __init__(
        self,
        plan: SqliteToPostgresPlan,
        source: PreparedSource,
        destination: ReadyDestination,
        sources: dict[str, TableSource],
        counts: dict[str, int],
        run_name: str,
        run_start: datetime,
        is_only_file: bool,
        history: RunHistory,
        ranges: Mapping[str, list[Range]] | None = None,
    ) -> None:
        self._plan = plan
        self._source = source
        self._destination = destination
        self._sources = sources
        self._counts = counts
        self._lost = errors_of_lost(source.lost, sources, destination.shapes)
        self._run_name = run_name
        self._run_start = run_start
        self._is_only_file = is_only_file
        self._history = history
        self._ranges = dict(ranges) if ranges is not None else {}

    def run(self, tally: Tally, overrides: Overrides, again: bool, phase: Phase) -> None:
        """Loads everything. Raises psycopg.OperationalError where the coordinator's session is lost meanwhile.

        `again`: some of it was loaded before, so ask the destination first.
        """
        session = self._destination.session
        ask_first = again or not self._destination.fresh
        plan, bisector = self._plan, self._bisector()
        pool = WorkerPool(self.config(overrides), plan.workers, plan.retries, logger.warning, session, bisector)
        try:
            for name, tables in PHASES:
                with phase(name):
                    ranges: list[Range] = []
                    for table in tables:
                        if table.name in self._sources:
                            tally.begin(table.name, self._counts[table.name])
                            self._tell_lost(table.name, tally)
                            ranges += self._plan_ranges(table.name, table is tables[-1])
                    # The barrier: `run` returns when every range is in, and the session still has the lock.
                    pool.run(ranges, ask_first, tally.handle)
                    session.check()
                if name == PHASES[0][0] and overrides.owner is not None:
                    check_owner(session.connection, overrides.owner)
            pool.stop()
        except BaseException:
            pool.kill(tally.handle_last)
            self._end_sessions()
            raise

    def _bisector(self) -> Bisector:
        return Bisector(self._source.connection, self._sources, self._destination.shapes)

    def _tell_lost(self, table: str, tally: Tally) -> None:
        """The rows that a damaged source has lost are dealt with by being named."""
        lost = self._lost.get(table)
        if lost is not None:
            tally.name(table, Cause.UNREADABLE, lost.errors, lost.rows)

    def _plan_ranges(self, table: str, is_last: bool) -> list[Range]:
        """The same ones every time: the tally counts by them.

        What the phase ends with is in small pieces, so that no worker waits long for the last one.
        """
        if table not in self._ranges:
            source = self._sources[table]
            fine_end = is_last or not self._destination.fresh
            self._ranges[table] = plan_ranges(self._source.connection, table, source, self._plan.workers, fine_end)
        return self._ranges[table]

    def _end_sessions(self) -> None:
        try:
            self._destination.session.end_sessions()
        except psycopg.Error as error:
            logger.debug("could not end the workers' sessions: {}", describe(error))

    def config(self, overrides: Overrides) -> WorkerConfig:
        """What the workers are told."""
        job = CopyJob(
            layout=self._source.layout,
            batch_rows=self._plan.batch_size,
            batch_bytes=BATCH_BYTES,
            run_start=self._run_start,
            on_conflict=self._plan.on_conflict,
            overrides=overrides,
            shapes=self._destination.shapes,
            forgets=self._forgets(),
            is_only_file=self._is_only_file,
            replaces_all=self._plan.yes,
            recorded=self._history.recorded,
        )
        return WorkerConfig(
            source=self._source.file,
            postgres_url=self._destination.url,
            home=self._destination.home,
            application_name=f"{self._run_name} worker",
            answer_timeout=self._plan.answer_timeout,
            job=job,
        )

    def _forgets(self) -> bool:
        return not self._plan.restore_forgotten and tombstones.are_any(self._destination.main)

    def comparing_pool(self, overrides: Overrides) -> ComparingPool:
        """Workers that compare what this load has brought, while the run goes on."""
        destination, source = self._destination, self._source
        job = CompareJob(source.layout, BATCH_BYTES, overrides, destination.shapes, forgets=self._forgets())
        config = replace(self.config(overrides), job=job)
        by_rowid = {name: found.by_rowid() for name, found in self._sources.items()}
        return ComparingPool(
            config, self._plan, destination.session, Bisector(source.connection, by_rowid, destination.shapes)
        )
