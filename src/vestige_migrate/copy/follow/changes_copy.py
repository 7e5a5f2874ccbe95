"""The copy of rows that changed: the same load as for all of them, of these alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from vestige_migrate.copy.file_copy import FilesOfRun
from vestige_migrate.copy.late_memories import LateMemories
from vestige_migrate.copy.load import Load
from vestige_migrate.copy.lost_sessions import through_lost_sessions
from vestige_migrate.copy.repeated_rows import RepeatedRows
from vestige_migrate.copy.tally import Tally
from vestige_migrate.progress import OnProgress, timed
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.ranges import MIN_RANGE_ROWS, Range, Rows
from vestige_migrate.tables.overrides import Overrides


def copy_changes(
    files: FilesOfRun,
    sources: dict[str, TableSource],
    rowids: Mapping[str, Sequence[int]],
    overrides: Overrides,
    rows_with_errors: int,
    on_progress: OnProgress | None,
) -> MigrationReport:
    """Brings these rows of the run's one file, by table; the report is about them alone.

    `rows_with_errors` were found before and count with those that are found now. When it returns, what was written
    outlives a crash of the server. Raises what a copy raises.
    """
    plan, destination, [source] = files.plan, files.destination, files.sources
    report = MigrationReport(source.info, destination.info, destination.model, on_conflict=plan.on_conflict)
    tally = Tally(report, plan.max_errors, on_progress, rows_with_errors)
    load = Load(
        plan,
        source,
        destination,
        sources,
        {name: len(rowids.get(name, ())) for name in sources},
        files.run_name,
        datetime.now(UTC),
        True,
        files.history,
        {name: _ranges(name, rowids.get(name, ())) for name in sources},
    )

    def write() -> None:
        files.history.look_at_triggers()
        late = LateMemories(tally, source, destination.shapes.tables(), sources)
        load.run(tally, overrides, True, lambda phase: timed(report.phases, phase))
        still_open = late.open_rows()
        tally.settle()
        repeated = RepeatedRows(plan, source, sources, destination, ())
        repeated.name(report, tally, lambda: load.comparing_pool(overrides))
        report.still_open = late.put_aside(still_open)
        with destination.main.transaction():  # flushes the commits of the workers, which did not wait for that
            destination.main.execute("SET LOCAL synchronous_commit = on")
            destination.main.execute("SELECT pg_logical_emit_message(true, 'vestige_migrate', '')")

    try:
        through_lost_sessions(destination.session, plan.retries, lambda _: write(), tally.start_over)
    finally:
        tally.settle()
    report.complete = True
    return report


def _ranges(table: str, rowids: Sequence[int]) -> list[Range]:
    return [
        Rows(table, number, tuple(rowids[start : start + MIN_RANGE_ROWS]))
        for number, start in enumerate(range(0, len(rowids), MIN_RANGE_ROWS))
    ]
