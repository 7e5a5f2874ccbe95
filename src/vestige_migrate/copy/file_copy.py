"""The copy of one file: its phases in order, the barrier between them, and its report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from loguru import logger

from vestige_migrate.copy.archive_phase import ArchivePhase
from vestige_migrate.copy.error_ledger import Cause
from vestige_migrate.copy.index_phase import IndexPhase
from vestige_migrate.copy.job import NO_OVERRIDES, Rules, rules_for
from vestige_migrate.copy.late_memories import LateMemories
from vestige_migrate.copy.load import Load
from vestige_migrate.copy.long_vectors import say_outlook
from vestige_migrate.copy.lost_sessions import through_lost_sessions
from vestige_migrate.copy.repeated_rows import RepeatedRows
from vestige_migrate.copy.rows_deleted_later import RowsThatStayed
from vestige_migrate.copy.run_history import RunHistory
from vestige_migrate.copy.tally import Tally
from vestige_migrate.destination.load.archive_table import create_archive
from vestige_migrate.destination.schema import registry, schema, tombstones
from vestige_migrate.destination.schema.search_function import keep_search_function
from vestige_migrate.errors import SourceIncomplete
from vestige_migrate.plan import OnConflict, SqliteToPostgresPlan
from vestige_migrate.prepare.destination import ReadyDestination
from vestige_migrate.prepare.model import telling_layout
from vestige_migrate.prepare.owner import make_owner
from vestige_migrate.prepare.reembed_count import count_awaiting
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.progress import OnProgress, timed
from vestige_migrate.report.estimate import Estimate
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import RowError
from vestige_migrate.source.layout.layout import Mislabelled
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.counts import count_dropped, count_rows, has_user, left_behind
from vestige_migrate.source.sqlite import driver
from vestige_migrate.tables.base import BOOTSTRAP_USER, Table
from vestige_migrate.tables.overrides import Overrides
from vestige_migrate.tables.unreadable_rows import NONE_LOST, errors_of_lost, tables_of_lost

if TYPE_CHECKING:
    from vestige_migrate.estimate.figures import Work


@dataclass
class FilesOfRun:
    """What the files of one run share: the plan (whose path is the first file's), both ends, and what the copy of each
    file leaves for the next ones."""

    plan: SqliteToPostgresPlan
    sources: Sequence[PreparedSource]
    destination: ReadyDestination
    """As it was at the start."""
    fresh: bool
    """Whether no file has brought a memory yet, where none was there."""
    indexes: IndexPhase
    """One for all: it builds before the first file and after the last one, by what the destination was at the start."""
    run_name: str
    started: float
    on_progress: OnProgress | None
    history: RunHistory
    rows_with_errors: int = 0
    works: list[Work] = field(default_factory=list)
    """What a dry run found to be done in each file; a file that could not be sampled has no entry."""
    estimate: Estimate | None = None
    """Of a dry run of all files together."""


def _by_label(mislabelled: Sequence[Mislabelled]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for wrong in mislabelled:
        found[wrong.name] += wrong.count
    return dict(found)


class FileCopy:
    """The copy of file `number` of a run, counted from 0."""

    def __init__(self, files: FilesOfRun, number: int) -> None:
        self._files = files
        self._number = number
        self._plan = files.plan
        self._source = source = files.sources[number]
        self._destination = destination = replace(files.destination, fresh=files.fresh)
        self._started = files.started if self._is_only_file else time.monotonic()
        self._start = datetime.now(UTC)
        self._sources: dict[str, TableSource] = {
            name: found
            for name, table in destination.shapes.tables().items()
            if (found := table.source_in(source.layout))
        }
        self.report = MigrationReport(
            source=source.info,
            destination=destination.info,
            model=destination.model,
            dry_run=self._plan.dry_run,
            on_conflict=self._plan.on_conflict,
            mislabelled_vectors=_by_label(source.layout.mislabelled),
            shortened_vectors=source.layout.shortened,
        )
        self.overrides = NO_OVERRIDES
        """What memories got that had only the default; known when they were copied."""
        self._archive = ArchivePhase(self._plan, self.report, source, destination, self._sources, files.on_progress)

    @property
    def _is_only_file(self) -> bool:
        return len(self._files.sources) == 1

    @property
    def _is_first(self) -> bool:
        return self._number == 0

    @property
    def _is_last(self) -> bool:
        return self._number == len(self._files.sources) - 1

    def execute(self) -> None:
        """The whole copy. A failure leaves the report with what was done so far."""
        try:
            self._execute()
        finally:
            self.report.duration_seconds = time.monotonic() - self._started

    def _execute(self) -> None:
        self._log_start()
        connection = self._source.connection
        before = self._source.state()
        lost = errors_of_lost(self._source.lost, self._sources, self._destination.shapes)
        counts = {
            name: count_rows(connection, source) + lost.get(name, NONE_LOST).rows
            for name, source in self._sources.items()
        }
        self.report.left_behind = left_behind(
            connection, self._source.layout, {source.base for source in self._sources.values()}
        )
        self._archive.plan()
        self._log_dropped()
        self._say_outlook()
        unreadable = tables_of_lost(self._source.lost, self._sources)
        for table in sorted(unreadable):
            logger.warning("{}: it has no place in the destination, and not all of it can be read", table)
        if not self._plan.archive:  # with it they are errors
            rows = Counter(self.report.left_behind)
            rows.update(row.table for row in self._source.lost if row.table in unreadable)
            self.report.left_behind = dict(sorted(rows.items()))
        if self._plan.dry_run:
            from vestige_migrate.copy.dry_run import fill_dry_run, fill_updates  # here: a copy has no use for it
            from vestige_migrate.copy.forgotten import fill_forgotten
            from vestige_migrate.copy.repeated_rows_dry_run import name_repeated

            with self._phase("count"):
                has_local = "users" in counts and has_user(connection, BOOTSTRAP_USER)
                fill_dry_run(self.report, counts, self._destination, has_local, lost)
                if self._plan.on_conflict is not OnConflict.SKIP and self._destination.made:
                    fill_updates(self.report, self._source, self._sources, self._destination, self._rules_of)
                if self._destination.made and not self._plan.restore_forgotten:
                    fill_forgotten(self.report, self._source, self._sources, self._destination)
                name_repeated(self.report, self._source, self._sources, self._destination.shapes)
            with self._phase("estimate"):
                self._estimate()
        else:
            self._copy(counts, before)
        is_whole = not (self._plan.dry_run or self.report.source_changed)
        self._files.history.settle(self.report, self._source, self._sources, is_whole)
        awaiting = count_awaiting(
            connection, self._source.layout, None if self._plan.dry_run else self._destination.main
        )
        self.report.awaiting_reembed, self.report.awaiting_reasons = awaiting.total(), dict(awaiting)
        self.report.complete = True
        self._log_end()

    def _rules_of(self, table: Table, source: TableSource) -> Rules:
        run = self._files.history.recorded.get(table.name)
        return rules_for(table, source, self._plan.on_conflict, run, self._is_only_file, self._plan.yes)

    def _estimate(self) -> None:
        if not self._destination.made:
            logger.info("no estimate: it is measured on the server, which a copy would make")
            return
        # Here and not above: a copy has no use for it.
        from vestige_migrate.estimate.figures import Work
        from vestige_migrate.estimate.measure import measure, measure_work

        files = self._files
        try:
            files.works.append(measure_work(self.report, self._source, self._sources, self._destination.fresh))
        except driver.errors() as error:
            name = getattr(error, "sqlite_errorname", None) or type(error).__name__
            logger.warning("no estimate: a sample of the source could not be read ({})", name)
            return
        if self._is_last and len(files.works) == len(files.sources):
            dimension = telling_layout(files.sources).dimension
            files.estimate = measure(sum(files.works, Work()), self._plan, files.destination, dimension)

    def _copy(self, counts: dict[str, int], before: object) -> None:
        tally = Tally(self.report, self._plan.max_errors, self._files.on_progress, self._files.rows_with_errors)
        run_name = self._files.run_name
        load = Load(
            self._plan,
            self._source,
            self._destination,
            self._sources,
            counts,
            run_name,
            self._start,
            self._is_only_file,
            self._files.history,
        )
        try:
            through_lost_sessions(
                self._destination.session,
                self._plan.retries,
                lambda again: self._write(tally, load, again),
                tally.start_over,
            )
        finally:
            tally.settle()
            self._files.rows_with_errors = tally.rows_with_errors
        self.report.source_changed = self._source.changed_since(before)
        self._source.check_same()
        self._check_complete(counts)
        self._archive.check_complete()

    def _write(self, tally: Tally, load: Load, again: bool) -> None:
        """Everything that writes to the destination; each step can be done a second time."""
        with self._phase("prepare"):
            self._prepare()
            began = tombstones.now(self._destination.main) if self._plan.restore_forgotten else None
        overrides = self.overrides = self._overrides(tally)
        late = LateMemories(tally, self._source, self._destination.shapes.tables(), self._sources)
        load.run(tally, overrides, again, self._phase)
        late.bring(lambda: load.run(tally, overrides, True, self._phase))
        if began is not None and tombstones.are_any(self._destination.main):
            self._warn(tombstones.drop_outlived(self._destination.main, began))
        still_open = late.open_rows()
        tally.settle()
        comparing = partial(load.comparing_pool, overrides)
        repeated = RepeatedRows(
            self._plan, self._source, self._sources, self._destination, self._files.sources[: self._number]
        )
        repeated.name(self.report, tally, comparing)
        tally.settle()
        stayed = RowsThatStayed(self._plan, self._source, self._sources, self._destination)
        late_rows = stayed.name(self.report, tally, comparing, late.source_changed)
        # Not before: those two leave rows alone that are known not to be there.
        self.report.still_open = late.put_aside(still_open) + late_rows
        if self._plan.archive:
            with self._phase("archive"):
                self._archive.run(tally)
        tally.settle()
        changed = {name: table.inserted + table.updated for name, table in self.report.tables.items()}
        with self._phase("indexes"):
            if self._is_last:
                self._files.indexes.after_load(changed)
                keep_search_function(self._destination.main)
            else:
                self._files.indexes.between_loads(changed)

    def _prepare(self) -> None:
        destination = self._destination
        with destination.main.transaction():  # all of it or nothing: what refuses one of them leaves none behind
            schema.create(destination.main, destination.server, needs_local=self._plan.owner is None)
            if self._plan.archive:
                create_archive(destination.main)
            self._files.history.begin()
            lacks = tombstones.keep(destination.main)
        if self._is_first:
            self._warn(lacks)
        dimension = self._source.layout.dimension or (destination.model.dimension if destination.model else None)
        registry.stamp(destination.main, destination.model, dimension)
        if self._is_first:
            self._files.indexes.before_load()

    def _warn(self, reason: str | None) -> None:
        if reason is not None:
            logger.warning("{}", reason)

    def _overrides(self, tally: Tally) -> Overrides:
        """What memories get that have only the default; makes the owner where there is none of that handle."""
        plan = self._plan
        if plan.owner is None:
            return Overrides(plan.codebase)

        def on_errors(errors: list[RowError]) -> None:
            tally.name("users", Cause.OWNER, errors)

        main, others = self._destination.main, self._files.sources[self._number + 1 :]
        return Overrides(
            plan.codebase,
            make_owner(
                main, plan.owner, self._source, others, self._start, on_errors, self._files.history.record("users")
            ),
        )

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

    def _phase(self, name: str) -> AbstractContextManager[None]:
        return timed(self.report.phases, name)

    def _log_start(self) -> None:
        plan, info = self._plan, self.report.destination
        logger.info(
            "{} {} (V{}, {} line) to {} (PostgreSQL {}, pgvector {}, schema {})",
            "dry run:" if plan.dry_run else "copying",
            self.report.source.path,
            self.report.source.schema_version,
            self.report.source.lineage,
            info.url,
            info.server_version,
            info.pgvector_version or "to be installed",
            info.schema,
        )
        logger.info(
            "workers {}, batches of {} rows, model {}",
            plan.workers,
            plan.batch_size,
            self._destination.model or "none",
        )

    def _say_outlook(self) -> None:
        layout, destination = self._source.layout, self._destination
        dimension = layout.dimension or (destination.model.dimension if destination.model else None)
        say_outlook(layout, dimension, destination.info.pgvector_version, self._plan)

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
        # "0 errors" would be taken for "every row is there as it was", which a run that looked at none cannot say.
        errors = "nothing new" if report.nothing_new else f"{len(report.errors)} errors"
        logger.info("{}; {}; {:.1f} s", counts, errors, time.monotonic() - self._started)
        if report.kept:
            logger.warning(
                "rows that differ from the source's and stay, because nothing says which are later, or the source's "
                "cannot be read: {}",
                len(report.kept),
            )
        if report.replaced_vectors:
            logger.warning(
                "memories that were changed here and {} the source's vector: {}",
                "would take" if report.dry_run else "took",
                len(report.replaced_vectors),
            )
        if report.source_changed:
            logger.warning("another program wrote to the source during the copy: run again to bring what is new")
