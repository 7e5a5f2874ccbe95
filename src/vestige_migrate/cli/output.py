"""What a person reads: log lines, the report on the terminal, and the report as a file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from loguru import logger
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vestige_migrate.errors import PlanError
from vestige_migrate.report import MigrationReport
from vestige_migrate.source.lineage import is_newer_than_known
from vestige_migrate.verify.report import VerifyReport

LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")
SHOWN_ERRORS = 20
_LOG_FORMAT = "{time:YYYY-MM-DD HH:mm:ss} {level: <7} {message}"
_OWNER_ONLY = 0o600


def configure_logging(level: str, file: Path | None, console: Console) -> None:
    """Sends log lines to the file, else to the console (above the progress bars). Raises `PlanError`."""
    level = level.upper()
    if level not in LOG_LEVELS:
        raise PlanError(f"--log-level is {level}: it must be one of {', '.join(LOG_LEVELS)}")
    logger.remove()
    if file is None:
        logger.add(
            lambda line: console.print(Text(str(line).rstrip("\n")), soft_wrap=True),
            level=level,
            format=_LOG_FORMAT,
            backtrace=False,
            diagnose=False,
        )
        return
    _create_private(file, "--log-file")
    logger.add(file, level=level, format=_LOG_FORMAT, backtrace=False, diagnose=False)


def _create_private(file: Path, option: str) -> None:
    """Makes the file where it is missing, readable by its owner only. Raises `PlanError` where that fails."""
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT, _OWNER_ONLY))
        file.chmod(_OWNER_ONLY)
    except OSError as error:
        raise PlanError(f"{option} {file} cannot be written: {error.strerror}") from None


def check_report_target(target: str | None) -> None:
    """Raises `PlanError` before the run where the report could not be written after it."""
    if target is not None and target != "-":
        _create_private(Path(target), "--report")


def write_report(report: MigrationReport | VerifyReport, target: str | None) -> None:
    """Writes the JSON report to the file, or to standard output for `-`."""
    if target is None:
        return
    text = json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n"
    if target == "-":
        sys.stdout.buffer.write(text.encode())
        sys.stdout.flush()
        return
    Path(target).write_text(text, encoding="utf-8")


def print_report(report: MigrationReport, console: Console) -> None:
    """The report for a person: a table, the first errors, what stays behind, and the speed."""
    console.print(_table(report))
    _print_errors(report, console)
    if report.archived:
        verb = "to archive" if report.dry_run else "archived"
        console.print(Text(f"{verb} in vestige_archive: {_names(report.archived)}"))
    if report.left_behind:
        hint = " (--archive keeps these rows too)" if report.archived is None else ""
        console.print(Text(f"left in the source, no place in the destination: {_names(report.left_behind)}{hint}"))
    if report.awaiting_reembed:
        console.print(Text(_awaiting(report)), soft_wrap=True)
    if is_newer_than_known(report.source.lineage, report.source.schema_version):
        console.print(Text(_newer(report)), soft_wrap=True)
    if report.source_changed:
        console.print(Text("the source changed during the copy: run again to bring what is new"))
    moved = sum(table.source_rows for table in report.tables.values())
    rate = moved / report.duration_seconds if report.duration_seconds else 0.0
    verb = "counted" if report.dry_run else "done"
    console.print(Text(f"{verb}: {moved} rows in {report.duration_seconds:.1f} s ({rate:.0f} rows/s)"))


def _awaiting(report: MigrationReport) -> str:
    """The line about memories whose vectors stayed behind, on one line whatever the terminal's width."""
    memories = "1 memory awaits" if report.awaiting_reembed == 1 else f"{report.awaiting_reembed} memories await"
    if report.model is None:
        return f"{memories} a re-embed: the vectors in the source have several lengths, and the commonest came over"
    model = f"{report.model.name} (dim {report.model.dimension})"
    return (
        f"{memories} a re-embed: the vectors in the source are not of {model}; after the copy, run "
        f"vestige migrate reembed --model {report.model.name}"
    )


def _newer(report: MigrationReport) -> str:
    return (
        f"the source is at V{report.source.schema_version}, newer than any this program knows: check the tables left "
        "behind, or look for a newer vestige-migrate"
    )


def _names(tables: dict[str, int]) -> str:
    return ", ".join(f"{name} {rows}" for name, rows in tables.items())


def _table(report: MigrationReport) -> Table:
    inserted = "to insert" if report.dry_run else "inserted"
    updated = "to update" if report.dry_run else "updated"
    table = Table(title="dry run, nothing was written" if report.dry_run else None)
    table.add_column("table")
    for heading in ("in the source", inserted, *([updated] if report.updates else []), "already there", "failed"):
        table.add_column(heading, justify="right")
    for name, counts in report.tables.items():
        renewed = [counts.updated] if report.updates else []
        values = (counts.source_rows, counts.inserted, *renewed, counts.skipped, counts.failed)
        table.add_row(name, *(str(value) for value in values))
    return table


def _print_errors(report: MigrationReport, console: Console) -> None:
    if not report.errors:
        return
    console.print(Text(f"{len(report.errors)} errors:"))
    for error in report.errors[:SHOWN_ERRORS]:
        console.print(Text(f"  {error.table} {error.id}: {error.message} ({error.outcome})"), soft_wrap=True)
    more = len(report.errors) - SHOWN_ERRORS
    if more > 0:
        console.print(Text(f"  +{more} more (the whole list: --report FILE)"))
