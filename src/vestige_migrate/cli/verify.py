"""`vestige migrate verify`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from vestige_migrate.cli import options
from vestige_migrate.cli.output import check_report_target, configure_logging, write_report
from vestige_migrate.cli.progress import ProgressBars
from vestige_migrate.cli.verify_output import print_verification
from vestige_migrate.paths import default_database
from vestige_migrate.plan import SqliteToPostgresPlan, default_workers
from vestige_migrate.verify.coordinator import verify_sqlite_to_postgres


def verify(
    sqlite_path: options.SqlitePath = None,
    postgres_url: options.PostgresUrl = "embedded",
    workers: Annotated[int, typer.Option(help="Processes, one connection each.")] = default_workers(),
    retries: Annotated[int, typer.Option(help="Tries of a range after a transient fault or a lost worker.")] = 5,
    snapshot: Annotated[
        bool,
        typer.Option("--snapshot", help="Compare a private snapshot; an older file is upgraded there."),
    ] = False,
    report: options.Report = None,
    progress: options.ShowProgress = None,
    log_file: options.LogFile = None,
    log_level: options.LogLevel = "INFO",
    debug: options.Debug = False,
) -> int:
    """Compare source and destination: every table, row and column, vectors bit for bit, and try out the search.

    Exit codes: 0 the same; 1 different; 2 bad arguments; 3 refused, the two cannot be compared; 4 stopped in the
    middle; 130 interrupted. Nothing is changed on either side.
    """
    plan = SqliteToPostgresPlan(
        sqlite_path=sqlite_path or default_database(),
        postgres_url=postgres_url,
        workers=workers,
        retries=retries,
        snapshot=snapshot,
    )
    errors_to = Console(stderr=True)
    configure_logging("DEBUG" if debug else log_level, log_file, errors_to)
    check_report_target(report)
    shown = sys.stderr.isatty() if progress is None else progress
    with ProgressBars(errors_to, shown) as bars:
        result = verify_sqlite_to_postgres(plan, bars.update)
    write_report(result, report)
    print_verification(result, errors_to if report == "-" else Console())
    return result.exit_code
