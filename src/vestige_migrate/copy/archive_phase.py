"""`--archive`: rows of tables that have no place in the destination are kept there as JSON, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing

from loguru import logger

from vestige_migrate.copy.error_ledger import Cause
from vestige_migrate.copy.tally import Tally
from vestige_migrate.destination.load.archive_table import Archived, ArchiveWriter
from vestige_migrate.errors import SourceIncomplete, Stopped
from vestige_migrate.limits import BATCH_BYTES
from vestige_migrate.plan import SqliteToPostgresPlan
from vestige_migrate.prepare.archive_rows import encode
from vestige_migrate.prepare.destination import ReadyDestination
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.progress import OnProgress, Progress
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.layout.vectors import unplaced_condition
from vestige_migrate.source.read.any_table import AnyTable
from vestige_migrate.source.read.counts import CACHES
from vestige_migrate.source.sqlite import driver
from vestige_migrate.source.sqlite.connect import open_source
from vestige_migrate.tables.unreadable_rows import errors_of_unplaced


class ArchivePhase:
    """Keeps what the report calls left behind, and moves it to `archived` there. Does nothing without `--archive`."""

    def __init__(
        self,
        plan: SqliteToPostgresPlan,
        report: MigrationReport,
        source: PreparedSource,
        destination: ReadyDestination,
        sources: Mapping[str, TableSource],
        on_progress: OnProgress | None,
    ) -> None:
        self._plan = plan
        self._report = report
        self._source = source
        self._destination = destination
        self._on_progress = on_progress
        self._lost = {
            name: errors for name, errors in errors_of_unplaced(source.lost, sources).items() if name not in CACHES
        }
        self._expected: dict[str, int] = {}
        self._read: dict[str, int] = {}

    def plan(self) -> None:
        """Takes the tables from `left_behind`, all but the caches, as what is to be archived."""
        if not self._plan.archive:
            return
        left = self._report.left_behind
        self._expected = {name: rows for name, rows in left.items() if name not in CACHES}
        self._report.left_behind = {name: rows for name, rows in left.items() if name in CACHES}
        self._report.archived = dict(self._expected) if self._plan.dry_run else dict.fromkeys(self._expected, 0)
        if self._plan.dry_run:
            self._report.errors += [error for errors in self._lost.values() for error in errors]

    def run(self, tally: Tally) -> None:
        """Archives them. Raises `Stopped` where one cannot be read."""
        self._read = dict.fromkeys(self._expected, 0)
        self._report.archived = dict.fromkeys(self._expected, 0)
        for name, errors in self._lost.items():
            tally.name(name, Cause.UNREADABLE, errors)
        for name in self._expected:
            inserted = 0
            for rows, archived in self._archive(name):
                tally.name(name, Cause.ARCHIVE, archived.refused)
                inserted += archived.inserted
                self._report.newly_archived += archived.inserted
                self._count(name, rows, rows - len(archived.refused))
            there = self._report.archived[name]
            logger.info("archived {}: {} of {} rows are there, {} of them new", name, there, self._read[name], inserted)

    def check_complete(self) -> None:
        """Raises `SourceIncomplete` where other rows were read than the source holds, unless it changed meanwhile."""
        for name, rows in self._read.items():
            if rows != self._expected[name] and not self._report.source_changed:
                raise SourceIncomplete(
                    f"{rows} rows of {name} were archived, and the source holds {self._expected[name]}. "
                    "Run again; if this stays, check the file with PRAGMA integrity_check"
                )

    def _archive(self, name: str) -> Iterator[tuple[int, Archived]]:
        """One table; yields rows read and what became of them after every committed batch."""
        writer = ArchiveWriter(self._destination.main, name)
        condition = unplaced_condition(self._source.layout, name)
        try:
            with closing(open_source(self._source.file)) as connection:
                table = AnyTable(connection, name)
                for batch in table.batches(condition, self._plan.batch_size, BATCH_BYTES):
                    yield len(batch), writer.write([encode(table, row) for row in batch])
        except driver.errors() as error:
            reason = getattr(error, "sqlite_errorname", None) or type(error).__name__
            raise Stopped(
                f"table {name} of {self._report.source.path} cannot be read for the archive ({reason}). What was "
                "committed stays; run again to resume, or without --archive"
            ) from None

    def _count(self, name: str, read: int, archived: int) -> None:
        assert self._report.archived is not None
        self._report.archived[name] += archived
        self._read[name] += read
        if self._on_progress is not None:
            self._on_progress(Progress("archive", sum(self._read.values()), sum(self._expected.values())))
