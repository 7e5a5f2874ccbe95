"""`vestige migrate verify`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated, Optional

import typer

from vestige_migrate.cli import options
from vestige_migrate.cli.outputs import STANDARD_OUTPUT, Outputs, RunFacts
from vestige_migrate.cli.progress import ProgressBars
from vestige_migrate.cli.streams import SteadyConsole
from vestige_migrate.cli.verify_output import answered, print_verification
from vestige_migrate.host_limits import limits_refuse
from vestige_migrate.limits import DEFAULT_ANSWER_TIMEOUT_SECONDS, DEFAULT_RETRIES
from vestige_migrate.plan import SqliteToPostgresPlan, default_workers
from vestige_migrate.process_life import usual_folder


def verify(
    sqlite_path: options.SqlitePaths = None,
    postgres_url: options.PostgresUrl = None,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes, one connection each.")] = default_workers(),
    retries: Annotated[
        int, typer.Option(metavar="N", help="Tries of a range after a transient fault or a lost worker.")
    ] = DEFAULT_RETRIES,
    answer_timeout: options.AnswerTimeout = DEFAULT_ANSWER_TIMEOUT_SECONDS,
    snapshot: Annotated[
        bool,
        typer.Option("--snapshot", help="Compare a private snapshot; an older file is upgraded there."),
    ] = False,
    codebase: Annotated[
        Optional[str],  # noqa: UP045  # typer reads the annotation at run time
        typer.Option(help="What the copy was given as --codebase.", show_default=False),
    ] = None,
    owner: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="What the copy was given as --owner.", show_default=False),
    ] = None,
    scope: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help="What the copy was given as --scope.", show_default=False),
    ] = None,
    archive: Annotated[
        bool,
        typer.Option(
            "--archive", help="Demand that every row without a place in the destination is in vestige_archive."
        ),
    ] = False,
    schema: options.Schema = None,
    report: options.Report = None,
    progress: options.ShowProgress = None,
    log_file: options.LogFile = None,
    log_level: options.LogLevel = "INFO",
    debug: options.Debug = False,
) -> int:
    """Compare source and destination: every table, row and column, vectors bit for bit, and try out the search.

    Rows without a place in the destination are looked for in vestige_archive where it is there, else only named.

    Exit codes: 0 every row of the source is there as the copy brings it; 1 something differs or was not copied; 2 bad
    arguments; 3 refused, the two cannot be compared; 4 stopped in the middle; 130 interrupted. Nothing is changed on
    either side.
    """
    errors_to = SteadyConsole(stderr=True)
    facts = RunFacts.of("verify", False, sqlite_path, postgres_url or "", schema)
    outputs = Outputs(facts, report, log_file, errors_to)
    answers_to = errors_to if report == STANDARD_OUTPUT else SteadyConsole()
    shown = sys.stderr.isatty() if progress is None else progress
    with outputs.told_of_failure():
        outputs.begin(log_level, debug)
        paths = options.given_files(sqlite_path, postgres_url)
        plan = SqliteToPostgresPlan(
            sqlite_path=paths[0],
            postgres_url=options.asked_url(postgres_url),
            workers=workers,
            retries=retries,
            answer_timeout=answer_timeout,
            snapshot=snapshot,
            codebase=codebase,
            owner=owner,
            scope=scope,
            archive=archive,
            schema=schema,
        )
        usual_folder()  # what is imported next looks for it
        # Here and not above: what it loads would keep --help and a refused argument waiting.
        with limits_refuse():
            from vestige_migrate.verify.coordinator import verify_several_to_postgres

        with answered(answers_to), ProgressBars(errors_to, shown) as bars:
            result = verify_several_to_postgres([replace(plan, sqlite_path=path) for path in paths], bars.update)
    outputs.write(result)
    print_verification(result, answers_to)
    return result.exit_code
