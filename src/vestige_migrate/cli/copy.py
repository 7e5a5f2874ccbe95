"""`vestige migrate copy`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated, Optional

import typer
from rich.console import Console

from vestige_migrate.cli import options
from vestige_migrate.cli.output import print_report
from vestige_migrate.cli.outputs import STANDARD_OUTPUT, Outputs, RunFacts
from vestige_migrate.cli.progress import ProgressBars
from vestige_migrate.cli.streams import SteadyConsole
from vestige_migrate.cli.verify_output import print_verification
from vestige_migrate.host_limits import limits_refuse
from vestige_migrate.limits import (
    DEFAULT_ANSWER_TIMEOUT_SECONDS,
    DEFAULT_BATCH_SIZE,
    DEFAULT_CONNECTIONS,
    DEFAULT_RETRIES,
)
from vestige_migrate.model import ModelSignature
from vestige_migrate.plan import (
    Deletions,
    Indexes,
    OnConflict,
    SqliteToPostgresPlan,
    default_workers,
    embedder_signature,
)
from vestige_migrate.process_life import usual_folder
from vestige_migrate.report.combined import CombinedReport
from vestige_migrate.report.migration import MigrationReport

_Text = Optional[str]  # noqa: UP045  # typer reads the annotation at run time
_Number = Optional[int]  # noqa: UP045
_Seconds = Optional[float]  # noqa: UP045


def copy(
    source: Annotated[str, typer.Option("--from", help="Where from: sqlite.")] = "sqlite",
    destination: Annotated[str, typer.Option("--to", help="Where to: postgres.")] = "postgres",
    sqlite_path: options.SqlitePaths = None,
    postgres_url: options.PostgresUrl = None,
    workers: Annotated[
        int, typer.Option(metavar="N", help="Writer processes, one connection each.")
    ] = default_workers(),
    batch_size: Annotated[
        int, typer.Option(metavar="N", help="Rows a transaction (it also ends at 8 MiB).")
    ] = DEFAULT_BATCH_SIZE,
    max_errors: Annotated[
        _Number,
        typer.Option(metavar="N", help="Give up once more rows than this have errors.", show_default="no limit"),
    ] = None,
    max_connections: options.MaxConnections = DEFAULT_CONNECTIONS,
    retries: Annotated[
        int, typer.Option(metavar="N", help="Tries of a range after a transient fault or a lost worker.")
    ] = DEFAULT_RETRIES,
    answer_timeout: options.AnswerTimeout = DEFAULT_ANSWER_TIMEOUT_SECONDS,
    allow_source_upgrade: Annotated[
        bool,
        typer.Option("--allow-source-upgrade", help="Bring an older file to V15 in place, after a backup beside it."),
    ] = False,
    snapshot: Annotated[
        bool,
        typer.Option("--snapshot", help="Copy from a private snapshot; the file itself is never touched."),
    ] = False,
    embedding_model: Annotated[
        _Text,
        typer.Option(
            help="The embedding model that counts where a source has vectors of several; else checked against it.",
            show_default=False,
        ),
    ] = None,
    embedding_dimension: Annotated[
        _Number, typer.Option(help="... and its vectors' dimension.", show_default=False)
    ] = None,
    embedding_hash: Annotated[_Text, typer.Option(help="... and its hash.", show_default=False)] = None,
    indexes: Annotated[
        Indexes,
        typer.Option(
            help="When to build the secondary indexes: auto is later on a fresh destination, keep on one in use."
        ),
    ] = Indexes.AUTO,
    on_conflict: Annotated[
        OnConflict | None,
        typer.Option(
            help="A row that is there already: skip leaves it, newer takes what changed in the source since, source "
            "takes whatever differs.",
            show_default="skip, newer with --follow",
        ),
    ] = None,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", help="What --on-conflict source, or a --codebase or --owner left out this time, takes may be lost."
        ),
    ] = False,
    deletions: Annotated[
        Deletions | None,
        typer.Option(
            help="A memory that is there and was deleted in the source: ignore, report or apply (deletes it there).",
            show_default="ignore with skip, else report",
        ),
    ] = None,
    restore_forgotten: Annotated[
        bool,
        typer.Option("--restore-forgotten", help="Bring back memories that were deleted in the destination."),
    ] = False,
    archive: Annotated[
        bool,
        typer.Option("--archive", help="Keep rows that have no place in the destination in the table vestige_archive."),
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare both sides at the end, as the command verify does.")
    ] = False,
    codebase: Annotated[
        _Text, typer.Option(help="The codebase of memories that have none.", show_default=False)
    ] = None,
    owner: Annotated[
        _Text,
        typer.Option(help="The user (by handle, made if missing) of memories that have no owner.", show_default=False),
    ] = None,
    scope: Annotated[
        _Text,
        typer.Option(
            metavar="NAME", help="Only this scope (Vestige's namespaces), from a private copy.", show_default=False
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Go on bringing what changes in the source as it comes, until Ctrl-C."),
    ] = False,
    until_idle: Annotated[
        _Seconds,
        typer.Option(
            metavar="SECONDS",
            help="... or until nothing was written for so long; then every row is gone through once more.",
            show_default=False,
        ),
    ] = None,
    schema: options.Schema = None,
    dry_run: options.DryRun = False,
    report: options.Report = None,
    progress: options.ShowProgress = None,
    log_file: options.LogFile = None,
    log_level: options.LogLevel = "INFO",
    debug: options.Debug = False,
) -> int:
    """Copy every memory, schedule, edge and review event. Running it again writes nothing new.

    Exit codes: 0 all rows moved; 1 some rows have errors, or --verify found a difference; 2 bad arguments; 3 refused
    before anything was written; 4 stopped in the middle, safe to run again; 130 interrupted.
    """
    errors_to = SteadyConsole(stderr=True)
    facts = RunFacts.of("copy", dry_run, sqlite_path, postgres_url or "", schema)
    outputs = Outputs(facts, report, log_file, errors_to)
    shown = not dry_run and (sys.stderr.isatty() if progress is None else progress)
    with outputs.told_of_failure():
        outputs.begin(log_level, debug)
        paths = options.given_files(sqlite_path, postgres_url)
        plan = SqliteToPostgresPlan(
            sqlite_path=paths[0],
            postgres_url=options.asked_url(postgres_url),
            source_kind=source,
            destination_kind=destination,
            workers=workers,
            batch_size=batch_size,
            max_errors=max_errors,
            max_connections=max_connections,
            retries=retries,
            answer_timeout=answer_timeout,
            allow_source_upgrade=allow_source_upgrade,
            snapshot=snapshot,
            indexes=indexes,
            on_conflict=on_conflict or (OnConflict.NEWER if follow else OnConflict.SKIP),
            yes=yes,
            deletions=deletions,
            restore_forgotten=restore_forgotten,
            archive=archive,
            verify=verify,
            codebase=codebase,
            owner=owner,
            scope=scope,
            schema=schema,
            dry_run=dry_run,
            follow=follow,
            until_idle=until_idle,
        )
        embedder = embedder_signature(embedding_model, embedding_dimension, embedding_hash)
        usual_folder()  # what is imported next looks for it
        result = _run([replace(plan, sqlite_path=path) for path in paths], embedder, errors_to, shown)
    outputs.write(result)
    shown_on = errors_to if report == STANDARD_OUTPUT else SteadyConsole()
    print_report(result, shown_on)
    if result.verification is not None:
        print_verification(result.verification, shown_on)
    return result.exit_code


def _run(
    plans: list[SqliteToPostgresPlan], embedder: ModelSignature | None, console: Console, show_progress: bool
) -> MigrationReport | CombinedReport:
    if len(plans) == 1:
        return run_with_progress(plans[0], embedder, console, show_progress)
    with limits_refuse():
        from vestige_migrate.copy.coordinator import run_several_to_postgres

    with ProgressBars(console, show_progress) as bars:
        return run_several_to_postgres(plans, embedder, bars.update)


def run_with_progress(
    plan: SqliteToPostgresPlan, embedder: ModelSignature | None, console: Console, show_progress: bool
) -> MigrationReport:
    """Runs the plan with progress bars on `console`."""
    # Here and not above: what it loads would keep --help and a refused argument waiting.
    with limits_refuse():
        from vestige_migrate.copy.coordinator import run_sqlite_to_postgres

    with ProgressBars(console, show_progress) as bars:
        return run_sqlite_to_postgres(plan, embedder, bars.update)
