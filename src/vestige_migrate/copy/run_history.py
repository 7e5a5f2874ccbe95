"""What the destination is told of a run, and what it remembers of earlier ones: errors that still hold are said again.

A second run finds an altered row there already and does not look at it: without a memory it would end with exit code 0
where the first one ended with 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any
from uuid import uuid4

from psycopg import sql
from psycopg.types.json import Jsonb

from vestige_migrate.destination.connection.table_names import ours
from vestige_migrate.destination.load.recordable_tables import recordable_tables
from vestige_migrate.destination.load.run_record import (
    BatchRecord,
    ErrorIdentity,
    errors_of_earlier_runs,
    forget_errors,
    forget_unnamed,
    forget_unsaid,
    identity_of,
    note_errors,
)
from vestige_migrate.destination.schema import run_tables
from vestige_migrate.destination.schema.run_tables import RUNS, Run
from vestige_migrate.paths import shown
from vestige_migrate.plan import OnConflict, SqliteToPostgresPlan
from vestige_migrate.prepare.destination import ReadyDestination
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.report.combined import CombinedReport
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import RowError
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.tables import TABLES

_SECRET_OR_OBVIOUS = {"postgres_url", "sqlite_path", "dry_run", "source_kind", "destination_kind"}


class RunHistory:
    """Of one run of all its files. `is_kept` says whether the destination remembers it."""

    def __init__(self, plans: Sequence[SqliteToPostgresPlan], destination: ReadyDestination, version: str) -> None:
        self.run = Run(uuid4(), tuple(shown(plan.sqlite_path) for plan in plans))
        self.is_kept = False
        self._plans = plans
        self._destination = destination
        self._version = version
        self._recorded: frozenset[str] = frozenset()
        self._begun = False
        self._said: set[ErrorIdentity] = set()
        self._all_whole = True
        self._in_no_file: dict[ErrorIdentity, RowError] | None = None
        """Errors of earlier runs about rows that none of the files settled so far has; None before the first."""

    def look(self) -> None:
        """Whether earlier runs are remembered; writes nothing."""
        self.is_kept = self._destination.made and run_tables.is_there(self._destination.main)
        if self.is_kept:
            self._recorded = recordable_tables(self._destination.main, list(TABLES))

    def tell_files_apart(self, sources: Sequence[PreparedSource]) -> None:
        """Earlier runs of other files of the same names count as such from now on; writes nothing."""
        if self._destination.made and run_tables.is_there(self._destination.main):
            from vestige_migrate.copy.other_files import find_other_files

            self.run = replace(self.run, of_other_files=find_other_files(self._destination.main, sources, self.run))

    def look_at_triggers(self) -> None:
        """Somebody may have given a table a trigger since: its rows are not entered any more."""
        if self.is_kept:
            self._recorded = recordable_tables(self._destination.main, list(TABLES))

    def begin(self) -> None:
        """Enters the run, in the caller's transaction; again where its session was lost."""
        main = self._destination.main
        if self._begun and not self.is_kept:
            return  # it was said
        self._begun = True
        self.is_kept = run_tables.make_run_tables(main)
        if not self.is_kept:
            return
        system = self._destination.home.server.system
        run_tables.forget_foreign(main, system)
        self._recorded = recordable_tables(main, list(TABLES))
        main.execute(
            sql.SQL(
                "INSERT INTO {} (id, sources, program_version, options, system_identifier) VALUES (%s, %s, %s, %s, %s)"
                " ON CONFLICT DO NOTHING"
            ).format(ours(main, RUNS)),
            (self.run.id, list(self.run.sources), self._version, self._options(), system),
        )

    def _options(self) -> Jsonb:
        plan = self._plans[0]
        values = {item.name: getattr(plan, item.name) for item in fields(plan) if item.name not in _SECRET_OR_OBVIOUS}
        return Jsonb({name: value for name, value in values.items() if value is not None})

    @property
    def recorded(self) -> Mapping[str, Run]:
        """The tables whose batches are to be entered, each with the run."""
        return dict.fromkeys(self._recorded, self.run) if self.is_kept else {}

    def record(self, table: str) -> BatchRecord | None:
        """For what the coordinator itself writes to a table."""
        return BatchRecord(self._destination.main, self.run, table, 0) if table in self.recorded else None

    def settle(
        self, report: MigrationReport, source: PreparedSource, sources: Mapping[str, TableSource], is_whole: bool
    ) -> None:
        """Enters the errors of a file's report, and adds those of earlier runs that still hold to it.

        `is_whole`: every row of the file was dealt with, so that what an earlier run refused was tried again.
        """
        if not self.is_kept:
            return
        main = self._destination.main
        self._all_whole = self._all_whole and is_whole
        if not report.dry_run:
            note_errors(main, self.run.id, report.errors)
            self._said.update(map(identity_of, report.errors))
            forget_unsaid(main, self.run.id, self._said)
        known = errors_of_earlier_runs(main, self.run.id, report.errors)
        if not known:
            self._in_no_file = {}
            return
        from vestige_migrate.copy.known_errors import KnownErrors  # here: it needs NumPy

        looks_at_all = self._plans[0].on_conflict is not OnConflict.SKIP
        settling = KnownErrors(main, self.run, source, self._destination.shapes, is_whole, looks_at_all)
        for name in sorted({error.table for error in known} & sources.keys()):
            settling.settle(name, sources[name], [error for error in known if error.table == name])
        report.errors += settling.holding
        missing = {identity_of(error): error for error in settling.elsewhere}
        before = self._in_no_file
        self._in_no_file = missing if before is None else {at: missing[at] for at in missing.keys() & before.keys()}
        if not report.dry_run:
            forget_errors(main, self.run.id, settling.over)

    def say(self, errors: Sequence[RowError]) -> None:
        """Enters these errors, and takes away what this run entered of others: they hold no more."""
        if not self.is_kept:
            return
        main = self._destination.main
        note_errors(main, self.run.id, errors)
        self._said = set(map(identity_of, errors))
        forget_unsaid(main, self.run.id, self._said)

    def end(self, combined: CombinedReport) -> None:
        """Enters the end of a run that came to it; one that did not has none."""
        if not self.is_kept or combined.dry_run:
            return
        main = self._destination.main
        if self._all_whole:
            # After the last file: a row that one of them lacks may be another's.
            forget_errors(main, self.run.id, list((self._in_no_file or {}).values()), self.run)
            forget_unnamed(main, self.run)
        counts: dict[str, Any] = {
            report.source.path: {name: table.as_json() for name, table in report.tables.items()}
            for report in combined.reports
        }
        main.execute(
            sql.SQL("UPDATE {} SET ended_at = clock_timestamp(), complete = %s, counts = %s WHERE id = %s").format(
                ours(main, RUNS)
            ),
            (combined.complete, Jsonb(counts), self.run.id),
        )
