"""The coordinator: phases, barrier, report. The public entry is `run_sqlite_to_postgres`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from secrets import token_hex

import psycopg
from loguru import logger

from vestige_migrate.destination import registry, schema
from vestige_migrate.destination.archive import create_archive
from vestige_migrate.destination.faults import describe
from vestige_migrate.errors import Interrupted, MigrationError, SourceIncomplete, Stopped
from vestige_migrate.plan import BATCH_BYTES, Embedder, ModelSignature, OnConflict, SqliteToPostgresPlan
from vestige_migrate.report import MigrationReport, ModelInfo, RowError
from vestige_migrate.run.archive import ArchivePhase
from vestige_migrate.run.awaiting import count_awaiting
from vestige_migrate.run.destination import ReadyDestination, check_url, ready_destination
from vestige_migrate.run.dry_run import fill_dry_run, fill_updates
from vestige_migrate.run.index_phase import IndexPhase
from vestige_migrate.run.messages import ErrorsFound, WorkerConfig
from vestige_migrate.run.owner import make_owner
from vestige_migrate.run.pool import WriterPool
from vestige_migrate.run.prepare import PreparedSource, found_source, prepared_source
from vestige_migrate.run.processes import warm_up
from vestige_migrate.run.progress import OnProgress
from vestige_migrate.run.tally import Tally
from vestige_migrate.source import driver
from vestige_migrate.source.counts import count_dropped, count_rows, has_user, left_behind
from vestige_migrate.source.ranges import Range, plan_ranges
from vestige_migrate.source.select import TableSource
from vestige_migrate.tables import PHASES, TABLES
from vestige_migrate.tables.base import BOOTSTRAP_USER
from vestige_migrate.tables.overrides import Overrides

_TERMINATE_MS = 5000


def run_sqlite_to_postgres(
    plan: SqliteToPostgresPlan, embedder: Embedder | None = None, on_progress: OnProgress | None = None
) -> MigrationReport:
    """Copies a source into a destination, as `vestige migrate copy` does.

    Args:
        plan: what to copy, from where, to where.
        embedder: the embedding model that the caller uses; compared with the source's, never called.
        on_progress: called after every committed batch, in this process and thread.

    Returns:
        The report. `report.errors` names every row that did not come over as it was.

    Raises:
        PlanError: the plan's `postgres_url` is none.
        Refused: nothing was written (`SourceUnusable`, `ModelMismatch`, `DestinationUnusable`, ...).
        Stopped: stopped in the middle; what is committed stays, running again resumes.
        Interrupted: Ctrl-C. No process, transaction or lock is left behind.
    """
    started = time.monotonic()
    check_url(plan)
    run_name = new_run_name()
    if not plan.dry_run:
        warm_up()
    # Every check that can refuse the run comes before the first write: an upgrade of the source is one.
    with (
        found_source(plan) as found,
        ready_destination(plan, found.layout, signature_of(embedder), run_name) as destination,
        prepared_source(plan, found) as source,
    ):
        indexes = IndexPhase(plan, destination, on_progress)
        run = Run(plan, source, destination, indexes, run_name, started, on_progress)
        try:
            with as_migration_error():
                run.execute()
            if plan.verify:
                from vestige_migrate.verify.coordinator import verify_copied

                run.report.verification = verify_copied(plan, [source], destination, run_name, on_progress)
        except MigrationError as error:
            error.report = run.report
            raise
        finally:
            run.report.duration_seconds = time.monotonic() - started
    return run.report


def new_run_name() -> str:
    """What the server is told of a run's sessions, so that they can be told from those of any other."""
    return f"vestige-migrate {token_hex(4)}"


def signature_of(embedder: Embedder | None) -> ModelSignature | None:
    """What is compared of the caller's embedder."""
    return ModelSignature(embedder.name, embedder.dimension, embedder.hash) if embedder else None


@contextmanager
def as_migration_error() -> Iterator[None]:
    """Ctrl-C and the destination's failures in the operator's terms."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted: everything committed so far stays, and running the same command again resumes"
        ) from None
    except psycopg.Error as error:
        raise Stopped(
            f"the destination failed: {describe(error)}. What was committed stays; run again to resume"
        ) from None
    except driver.errors() as error:
        reason = getattr(error, "sqlite_errorname", None) or type(error).__name__
        raise Stopped(
            f"the source could not be read ({reason}). What was committed stays; run again to resume, and check the "
            "file with PRAGMA integrity_check if this stays"
        ) from None


@dataclass(frozen=True)
class Turn:
    """A file's place among the files of a copy: how many rows of those before it have errors, which come after it."""

    first: bool = True
    last: bool = True
    errors_before: int = 0
    others: tuple[PreparedSource, ...] = ()


ALONE = Turn()


class Run:
    """One run against an open source and a checked destination."""

    def __init__(
        self,
        plan: SqliteToPostgresPlan,
        source: PreparedSource,
        destination: ReadyDestination,
        indexes: IndexPhase,
        run_name: str,
        started: float,
        on_progress: OnProgress | None,
        turn: Turn = ALONE,
    ) -> None:
        self._plan = plan
        self._turn = turn
        self.rows_with_errors = turn.errors_before
        self._source = source
        self._destination = destination
        self._run_name = run_name
        self._started = started
        self._on_progress = on_progress
        self._start = datetime.now(UTC)
        self._indexes = indexes
        self._sources: dict[str, TableSource] = {
            name: found for name, table in TABLES.items() if (found := table.find_source(source.layout))
        }
        model = destination.model
        self.report = MigrationReport(
            source=source.info,
            destination=destination.info,
            model=ModelInfo(**asdict(model)) if model else None,
            dry_run=plan.dry_run,
            on_conflict=plan.on_conflict,
        )
        self._archive = ArchivePhase(plan, self.report, source, destination, on_progress)

    def execute(self) -> None:
        """The whole run. A failure leaves the report with what was done so far."""
        self._log_start()
        connection = self._source.connection
        before = self._source.state()
        counts = {name: count_rows(connection, source) for name, source in self._sources.items()}
        self.report.left_behind = left_behind(
            connection, self._source.layout, {source.base for source in self._sources.values()}
        )
        self._archive.plan()
        self._log_dropped()
        if self._plan.dry_run:
            with self._phase("count"):
                has_local = "users" in counts and has_user(connection, BOOTSTRAP_USER)
                fill_dry_run(self.report, counts, self._destination, has_local)
                if self._plan.on_conflict is OnConflict.NEWER:
                    fill_updates(self.report, self._source, self._sources, self._destination)
        else:
            self._copy(counts, before)
        self.report.awaiting_reembed = count_awaiting(
            connection, self._source.layout, None if self._plan.dry_run else self._destination.main
        )
        self.report.complete = True
        self._log_end()

    def _copy(self, counts: dict[str, int], before: object) -> None:
        tally = Tally(self.report, self._plan.max_errors, self._on_progress, self._turn.errors_before)
        try:
            with self._phase("prepare"):
                self._prepare()
            overrides = self._overrides(tally)
            self._copy_tables(tally, counts, overrides)
            if self._plan.archive:
                with self._phase("archive"):
                    self._archive.run(tally)
        finally:
            tally.settle()
            self.rows_with_errors = tally.rows_with_errors
        self.report.source_changed = self._source.state() != before
        self._check_complete(counts)
        self._archive.check_complete()
        changed = {name for name, table in self.report.tables.items() if table.inserted or table.updated}
        with self._phase("indexes"):
            if self._turn.last:
                self._indexes.after_load(changed)
            else:
                self._indexes.between_loads(changed)

    def _prepare(self) -> None:
        destination = self._destination
        schema.create(destination.main, destination.server)
        if self._plan.archive:
            create_archive(destination.main)
        dimension = self._source.layout.dimension or (destination.model.dimension if destination.model else None)
        registry.stamp(destination.main, destination.model, dimension)
        if self._turn.first:
            self._indexes.before_load()

    def _overrides(self, tally: Tally) -> Overrides:
        """What memories get that have only the default; makes the owner where there is none of that handle."""
        plan = self._plan
        if plan.owner is None:
            return Overrides(plan.codebase)

        def on_errors(errors: list[RowError]) -> None:
            tally.handle(ErrorsFound(Range("users", -1), tuple(errors)))

        main, others = self._destination.main, self._turn.others
        return Overrides(plan.codebase, make_owner(main, plan.owner, self._source, others, self._start, on_errors))

    def _copy_tables(self, tally: Tally, counts: dict[str, int], overrides: Overrides) -> None:
        pool = WriterPool(self._worker_config(overrides), self._plan.workers, self._plan.retries, logger.warning)
        try:
            for phase, tables in PHASES:
                with self._phase(phase):
                    ranges: list[Range] = []
                    for table in tables:
                        source = self._sources.get(table.name)
                        if source is not None:
                            tally.begin(table.name, counts[table.name])
                            ranges += plan_ranges(self._source.connection, table.name, source, self._plan.workers)
                    # The barrier: `run` returns when every range is in.
                    pool.run(ranges, not self._destination.fresh, tally.handle)
            pool.stop()
        except BaseException:
            pool.kill(tally.handle_last)
            self._end_backends()
            raise

    def _worker_config(self, overrides: Overrides) -> WorkerConfig:
        return WorkerConfig(
            source=self._source.file,
            layout=self._source.layout,
            postgres_url=self._destination.url,
            application_name=f"{self._run_name} worker",
            batch_rows=self._plan.batch_size,
            batch_bytes=BATCH_BYTES,
            run_start=self._start,
            on_conflict=self._plan.on_conflict,
            overrides=overrides,
        )

    def _end_backends(self) -> None:
        """Ends the killed workers' sessions now, where the server would notice only at their next write."""
        try:
            self._destination.main.execute(
                "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity WHERE application_name = %s",
                (_TERMINATE_MS, f"{self._run_name} worker"),
            )
        except psycopg.Error as error:
            logger.warning("could not end the workers' sessions: {}", describe(error))

    def _check_complete(self, counts: dict[str, int]) -> None:
        for name, expected in counts.items():
            found = self.report.tables[name].source_rows
            if found == expected:
                continue
            if self.report.source_changed:
                logger.warning("{} had {} rows at the start and {} were read", name, expected, found)
                continue
            raise SourceIncomplete(
                f"{found} rows of {name} were read, and the source holds {expected}: the copy is not complete. "
                "Run again; if this stays, check the file with PRAGMA integrity_check"
            )

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.report.phases[name] = time.monotonic() - started

    def _log_start(self) -> None:
        plan, info = self._plan, self.report.destination
        logger.info(
            "{} {} (V{}, {} line) to {} (PostgreSQL {}, pgvector {})",
            "dry run:" if plan.dry_run else "copying",
            self.report.source.path,
            self.report.source.schema_version,
            self.report.source.lineage,
            info.url,
            info.server_version,
            info.pgvector_version or "to be installed",
        )
        logger.info(
            "workers {}, batches of {} rows, model {}",
            plan.workers,
            plan.batch_size,
            self._destination.model or "none",
        )

    def _log_dropped(self) -> None:
        """One line a table: values that stay behind although their row comes over."""
        for name, source in self._sources.items():
            found = count_dropped(self._source.connection, source)
            if found:
                columns = ", ".join(f"{column} ({rows} rows)" for column, rows in found.items())
                logger.info("{}: columns of {} with no place in the destination: {}", name, source.base, columns)

    def _log_end(self) -> None:
        report = self.report
        counts = ", ".join(f"{name} {table.in_destination}" for name, table in report.tables.items())
        logger.info("{}; {} errors; {:.1f} s", counts, len(report.errors), time.monotonic() - self._started)
        if report.source_changed:
            logger.warning("another program wrote to the source during the copy: run again to bring what is new")
