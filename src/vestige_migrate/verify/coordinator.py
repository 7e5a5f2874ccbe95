"""The comparison from start to report. The public entry is `verify_sqlite_to_postgres`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from secrets import token_hex

import psycopg
from loguru import logger

from vestige_migrate.destination.compare import count_and_sum
from vestige_migrate.destination.faults import describe
from vestige_migrate.errors import Interrupted, SourceIncomplete, Stopped
from vestige_migrate.plan import BATCH_BYTES, SqliteToPostgresPlan
from vestige_migrate.report import ModelInfo
from vestige_migrate.run.messages import WorkerConfig
from vestige_migrate.run.pool import WriterPool, warm_up
from vestige_migrate.run.prepare import PreparedSource, found_source, prepared_source
from vestige_migrate.run.progress import OnProgress
from vestige_migrate.source.counts import count_rows
from vestige_migrate.source.ranges import Range, plan_ranges
from vestige_migrate.source.select import TableSource
from vestige_migrate.tables import TABLES
from vestige_migrate.verify.destination import OpenDestination, open_destination
from vestige_migrate.verify.extras import find_extras, repeated
from vestige_migrate.verify.messages import Queries
from vestige_migrate.verify.report import Difference, Kind, VerifyReport
from vestige_migrate.verify.search import Sample, check_search, draw_sample
from vestige_migrate.verify.tally import VerifyTally, log_findings


def verify_sqlite_to_postgres(plan: SqliteToPostgresPlan, on_progress: OnProgress | None = None) -> VerifyReport:
    """Compares a destination with the source it was copied from, as `vestige migrate verify` does.

    Args:
        plan: the copy to check. Its source is never written to, so `allow_source_upgrade` has no effect; an older
            source is upgraded in a private snapshot with `snapshot`.
        on_progress: called after every compared batch, in this process and thread.

    Returns:
        The report; `report.same` is the answer, `report.differences` names every row that differs.

    Raises:
        Refused: the two cannot be compared (`SourceUnusable`, `ModelMismatch`, `DestinationUnusable`, ...).
        Stopped: stopped in the middle; nothing was changed.
        Interrupted: Ctrl-C.
    """
    started = time.monotonic()
    warm_up()
    run_name = f"vestige-migrate {token_hex(4)}"
    with (
        found_source(plan) as found,
        open_destination(plan, found.layout, run_name) as destination,
        prepared_source(plan, found) as source,
    ):
        report = verify_opened(plan, source, destination, run_name, on_progress)
    report.duration_seconds = time.monotonic() - started
    return report


def verify_opened(
    plan: SqliteToPostgresPlan,
    source: PreparedSource,
    destination: OpenDestination,
    run_name: str,
    on_progress: OnProgress | None,
) -> VerifyReport:
    """The comparison of a source and a destination that are open already. Raises `Stopped` or `Interrupted`."""
    started = time.monotonic()
    run = _Verification(plan, source, destination, run_name, on_progress)
    try:
        run.execute()
    except KeyboardInterrupt:
        raise Interrupted("interrupted: nothing was changed by comparing; run vestige migrate verify again") from None
    except psycopg.Error as error:
        raise Stopped(f"the destination failed: {describe(error)}. Nothing was changed; verify again") from None
    run.report.duration_seconds = time.monotonic() - started
    return run.report


class _Verification:
    """One comparison."""

    def __init__(
        self,
        plan: SqliteToPostgresPlan,
        source: PreparedSource,
        destination: OpenDestination,
        run_name: str,
        on_progress: OnProgress | None,
    ) -> None:
        self._plan = plan
        self._source = source
        self._destination = destination
        self._run_name = run_name
        self._sources: dict[str, TableSource] = {
            name: found for name, table in TABLES.items() if (found := table.find_source(source.layout))
        }
        self._tally = VerifyTally(on_progress)
        model = source.layout.model or destination.registered
        self.report = VerifyReport(source.info, destination.info, ModelInfo(**asdict(model)) if model else None)

    def execute(self) -> None:
        """Everything. The report is complete afterwards."""
        logger.info(
            "comparing {} (V{}, {} line) with {}: {} workers",
            self.report.source.path,
            self.report.source.schema_version,
            self.report.source.lineage,
            self.report.destination.url,
            self._plan.workers,
        )
        before = self._source.state()
        with self._phase("sample"):
            sample = draw_sample(self._source.connection, self._destination.main, self._source.layout)
            queries = sample.queries()
        with self._phase("rows"):
            self._compare_rows(queries)
        self._tally.settle(self.report)
        with self._phase("keys"):
            self._compare_keys()
        self._compare_registry()
        with self._phase("search"):
            self._check_search(sample, queries)
        self.report.source_changed = self._source.state() != before
        self._check_complete()
        self.report.complete = True
        log_findings(self.report)

    def _compare_rows(self, queries: Queries) -> None:
        pool = WriterPool(self._worker_config(queries), self._plan.workers, self._plan.retries, logger.warning)
        try:
            ranges: list[Range] = []
            # Nothing has to wait for anything, so the large tables' ranges go first and the small ones fill up the end.
            for name, source in self._sources.items():
                self._tally.begin(name, count_rows(self._source.connection, source))
                ranges += plan_ranges(self._source.connection, name, source, self._plan.workers)
            pool.run(ranges, False, self._tally.handle)
            pool.stop()
        except BaseException:
            pool.kill()
            raise

    def _worker_config(self, queries: Queries) -> WorkerConfig:
        return WorkerConfig(
            source=self._source.file,
            layout=self._source.layout,
            postgres_url=self._destination.url,
            application_name=f"{self._run_name} worker",
            batch_rows=self._plan.batch_size,
            batch_bytes=BATCH_BYTES,
            run_start=datetime.now(UTC),
            verify=queries,
        )

    def _compare_keys(self) -> None:
        """Looks for rows that only the destination has; where several rows of the source share an id, one is there."""
        sqlite, main = self._source.connection, self._destination.main
        for name, table in TABLES.items():
            rows, total = count_and_sum(main, table)
            source = self._sources.get(name)
            if (rows, total) == self._tally.matched(name):
                continue
            for id_ in find_extras(sqlite, main, table, source, rows):
                self.report.differences.append(Difference(name, id_, Kind.EXTRA))
                self.report.tables[name].extra += 1
            if source is not None:
                self._forgive_repeated(name, source)

    def _forgive_repeated(self, name: str, source: TableSource) -> None:
        """Of rows that share an id the first is stored: the others differ from it, and nothing is wrong."""
        different = self._tally.different(name)
        if not different:
            return
        ids = [item.id for item in different]
        rows = repeated(self._source.connection, TABLES[name], source, ids)
        rightly = {id_ for id_ in ids if rows[id_] > ids.count(id_)}
        forgiven = [item for item in different if item.id in rightly]
        counts = self.report.tables[name]
        counts.different -= len(forgiven)
        counts.repeated += len(forgiven)
        gone = set(forgiven)
        self.report.differences = [item for item in self.report.differences if item not in gone]

    def _compare_registry(self) -> None:
        """What the two registries say was compared before; here it is missed where the destination has none."""
        if self._source.layout.model is not None and self._destination.registered is None:
            self.report.differences.append(Difference("embedding_model", "1", Kind.MISSING))

    def _check_search(self, sample: Sample, queries: Queries) -> None:
        exact = [self._tally.nearest(at) for at in range(len(queries.ids))]
        self.report.search = check_search(self._destination.main, sample, queries, exact)
        for warning in self.report.search.warnings:
            logger.warning("{}", warning)

    def _check_complete(self) -> None:
        if self.report.source_changed:
            logger.warning("another program wrote to the source during the comparison: copy and verify again")
            return
        for name, source in self._sources.items():
            expected, found = count_rows(self._source.connection, source), self.report.tables[name].source_rows
            if found != expected:
                raise SourceIncomplete(
                    f"{found} rows of {name} were read, and the source holds {expected}: the comparison is not "
                    "complete. Check the file with PRAGMA integrity_check"
                )

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.report.phases[name] = time.monotonic() - started
