"""What a person reads: log lines, and the report on the terminal."""

from __future__ import annotations

from collections.abc import Callable

from loguru import logger
from rich.console import Console
from rich.text import Text

from vestige_migrate.cli.counts import print_counts
from vestige_migrate.cli.deletions_output import print_deletions
from vestige_migrate.cli.estimate_output import print_estimate
from vestige_migrate.cli.first_lines import print_first
from vestige_migrate.cli.forgotten_output import print_forgotten
from vestige_migrate.cli.passes_output import print_passes
from vestige_migrate.cli.reembed_line import awaiting_line
from vestige_migrate.cli.streams import print_line
from vestige_migrate.errors import PlanError
from vestige_migrate.model_names import MINI_DIMENSION
from vestige_migrate.report.combined import CombinedReport
from vestige_migrate.report.endpoints import USUAL_SCHEMA, DestinationInfo
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import TableReport
from vestige_migrate.source.layout.layout import Lineage
from vestige_migrate.source.layout.lineage import is_newer_than_known
from vestige_migrate.source.read.counts import CACHES

LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")
_VERIFY_NAMES_IT = "vestige migrate verify names what an earlier run altered or left out"
_LOG_FORMAT = "{time:YYYY-MM-DD HH:mm:ss} {level: <7} {message}"


def console_sink(console: Console) -> Callable[[str], None]:
    """Prints lines on the console, above the progress bars, with nothing taken for markup."""
    return lambda line: print_line(console, str(line).rstrip("\n"))


def log_to(sink: Callable[[str], None], level: str, debug: bool = False) -> None:
    """Sends log lines to the sink. Raises `PlanError` for an unknown level.

    `debug` asks for DEBUG whatever the level is.
    """
    level = level.upper()
    if level not in LOG_LEVELS:
        raise PlanError(f"--log-level is {level}: it must be one of {', '.join(LOG_LEVELS)}")
    if debug and level != "TRACE":
        level = "DEBUG"
    logger.enable("vestige_migrate")
    logger.remove()
    logger.add(sink, level=level, format=_LOG_FORMAT, backtrace=False, diagnose=False)


def print_report(report: MigrationReport | CombinedReport, console: Console) -> None:
    """The report for a person: a table, the first errors, what stays behind, and the speed; for each file its own."""
    print_destination(report.destination.url, console)
    if isinstance(report, MigrationReport):
        _print_section(report, console)
        if report.deletions is not None:
            print_deletions(report.deletions, console)
        if report.passes:
            print_passes(report, console)
        else:
            _print_nothing_new(report, "the source", console)
        return
    for at, section in enumerate(report.reports):
        source = section.source
        console.print(
            Text(f"{source.path} (V{source.schema_version}, {source.lineage} line), file {at + 1} of {report.files}"),
            soft_wrap=True,
        )
        _print_section(section, console)
        if not report.nothing_new:
            _print_nothing_new(section, "this source", console)
        console.print()
    if report.deletions is not None:
        print_deletions(report.deletions, console)
    moved = report.source_rows
    if report.estimate is not None:
        print_estimate(report.estimate, console)
    verb = "counted" if report.dry_run else "done"
    where = _where(report.destination)
    console.print(Text(f"{verb}: {moved} rows of {report.files} files in {report.duration_seconds:.1f} s{where}"))
    _print_nothing_new(report, f"the {report.files} sources", console)


def print_destination(url: str, console: Console) -> None:
    """Where it went, with what libpq chose by itself: the log, which has it too, may go elsewhere."""
    console.print(Text(f"destination: {url}"), soft_wrap=True)


def _print_nothing_new(report: MigrationReport | CombinedReport, source: str, console: Console) -> None:
    """Where nothing was written the counts say "0 failed", and that is not all: rows were not looked at again."""
    if not report.nothing_new:
        return
    # With --verify they were compared, and the last line is what that found.
    further = "" if report.verification is not None else f", and were not looked at again; {_VERIFY_NAMES_IT}"
    if isinstance(report, MigrationReport) and report.updates:
        further = ", and none of them was to be brought again"
    all_rows = f"all {report.source_rows} rows" if report.source_rows != 1 else "the one row"
    console.print(
        Text(f"nothing new: {all_rows} of {source} were there already{further}"),
        soft_wrap=True,
    )


def _print_section(report: MigrationReport, console: Console) -> None:
    _print_counts(report, console)
    _print_errors(report, console)
    if report.source.scope is not None:
        console.print(Text(str(report.source.scope)), soft_wrap=True)
    for line in report.source.portable_archive.lines if report.source.portable_archive is not None else ():
        console.print(Text(line), soft_wrap=True)
    if report.archived:
        verb = "to archive" if report.dry_run else "archived"
        console.print(Text(f"{verb} in vestige_archive: {names_with_rows(report.archived)}"))
    if report.left_behind:
        # Neither where it was given, nor where it cannot be given.
        is_open = report.archived is None and report.source.scope is None
        hint = _archive_hint(report.left_behind) if is_open else ""
        console.print(
            Text(f"left in the source, no place in the destination: {names_with_rows(report.left_behind)}{hint}")
        )
    if report.awaiting_reembed:
        line = awaiting_line(report.awaiting_reembed, report.awaiting_reasons, report.model)
        console.print(Text(line), soft_wrap=True)
    for line in _label_lines(report):
        console.print(Text(line), soft_wrap=True)
    if is_newer_than_known(Lineage(report.source.lineage), report.source.schema_version):
        console.print(Text(_newer(report)), soft_wrap=True)
    print_forgotten(report, console)
    _print_kept(report, console)
    _print_replaced_vectors(report, console)
    _print_open(report, console)
    if report.source_changed and not report.passes:
        console.print(Text("the source changed during the copy: run again to bring what is new"))
    if report.estimate is not None:
        print_estimate(report.estimate, console)
    moved = report.source_rows
    rate = moved / report.duration_seconds if report.duration_seconds else 0.0
    verb = "counted" if report.dry_run else "done"
    where = _where(report.destination)
    console.print(Text(f"{verb}: {moved} rows in {report.duration_seconds:.1f} s ({rate:.0f} rows/s){where}"))


def _where(destination: DestinationInfo) -> str:
    """Said where it is not the usual place."""
    return f", schema {destination.schema}" if destination.schema != USUAL_SCHEMA else ""


def _label_lines(report: MigrationReport) -> list[str]:
    """What is to be known of the vectors' labels and lengths, beside the line about a re-embed."""
    lines = [
        f"{count} vectors are labelled {name} and have not its {MINI_DIMENSION} dimensions: they stay in the source"
        for name, count in report.mislabelled_vectors.items()
    ]
    if report.shortened_vectors and report.model is not None:
        kept = report.model.dimension
        lines.append(
            f"{report.shortened_vectors} vectors come over as Vestige itself takes them, the first {kept} floats at "
            "length 1; the rest is only in the source"
        )
    return lines


def _newer(report: MigrationReport) -> str:
    return (
        f"the source is at V{report.source.schema_version}, newer than any this program knows: check the tables left "
        "behind, or look for a newer vestige-migrate"
    )


def _archive_hint(left_behind: dict[str, int]) -> str:
    """What --archive would do about these tables; nothing where all of them are caches, which it leaves out."""
    caches = [name for name in left_behind if name in CACHES]
    if len(caches) == len(left_behind):
        return ""
    return f" (--archive keeps these rows too{', but for ' if caches else ''}{', '.join(caches)})"


def names_with_rows(tables: dict[str, int]) -> str:
    """Tables, each with its number of rows."""
    return ", ".join(f"{name} {rows}" for name, rows in tables.items())


def _print_counts(report: MigrationReport, console: Console) -> None:
    counts = {name: _counts(report, table) for name, table in report.tables.items()}
    print_counts(console, _headings(report), counts, "dry run, nothing was written" if report.dry_run else None)


def _headings(report: MigrationReport) -> list[str]:
    inserted, updated = ("to insert", "to update") if report.dry_run else ("inserted", "updated")
    forgotten = ["forgotten"] if any(table.forgotten for table in report.tables.values()) else []
    return ["in the source", inserted, *([updated] if report.updates else []), "already there", *forgotten, "failed"]


def _counts(report: MigrationReport, counts: TableReport) -> list[int]:
    return [
        counts.source_rows,
        counts.inserted,
        *([counts.updated] if report.updates else []),
        counts.skipped,
        *([counts.forgotten] if any(table.forgotten for table in report.tables.values()) else []),
        counts.failed,
    ]


def _print_kept(report: MigrationReport, console: Console) -> None:
    if not report.kept:
        return
    few = len(report.kept) == 1
    rows = "1 row differs" if few else f"{len(report.kept)} rows differ"
    stay = "stays as it is" if few else "stay as they are"
    console.print(
        Text(
            f"{rows} from the source's and {stay}: nothing says which is later, or the source's cannot be read "
            "(--on-conflict source --yes takes whatever can be):"
        ),
        soft_wrap=True,
    )
    print_first([f"{row.table} {row.id}: {row.column}" for row in report.kept], console)


def _print_replaced_vectors(report: MigrationReport, console: Console) -> None:
    found = report.replaced_vectors
    if not found:
        return
    took = "would take" if report.dry_run else "took"
    rows = "1 memory that was changed here" if len(found) == 1 else f"{len(found)} memories that were changed here"
    console.print(Text(f"{rows} {took} the source's vector:"), soft_wrap=True)
    print_first([f"{row.table} {row.id}" for row in found], console)


def _print_open(report: MigrationReport, console: Console) -> None:
    if not report.still_open:
        return
    rows = "1 row waits" if len(report.still_open) == 1 else f"{len(report.still_open)} rows wait"
    console.print(
        Text(
            f"{rows} for memories that were written to the source while the copy ran, and will come with the next run:"
        ),
        soft_wrap=True,
    )
    print_first([f"{row.table} {row.id}" for row in report.still_open], console)


def _print_errors(report: MigrationReport, console: Console) -> None:
    if not report.errors:
        return
    console.print(Text(f"{len(report.errors)} error{'' if len(report.errors) == 1 else 's'}:"))
    print_first([str(error) for error in report.errors], console)
