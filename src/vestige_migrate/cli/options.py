"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

from vestige_migrate.errors import PlanError, SourceUnusable
from vestige_migrate.places import default_database

POSTGRES_URL_VARIABLE = "VESTIGE_POSTGRES_URL"
_WHAT_TO_GIVE = (
    "a libpq URL such as postgresql://user@host:5432/database, a keyword string, or 'embedded' for the bundled "
    "PostgreSQL"
)

_DEFAULT_FILE = (
    "default: $VESTIGE_DATA_DIR/vestige.db, else the one that is found where Vestige keeps it or its pages said, in "
    "~/.vestige or ./.vestige"
)


def asked_url(given: str | None) -> str:
    """The destination of a command line: its --postgres-url, or what the variable has in its place.

    Raises `PlanError` where neither says one: nothing goes to a server that nobody named.
    """
    variable = os.environ.get(POSTGRES_URL_VARIABLE)
    if given is None and variable is None:
        raise PlanError(
            f"no destination was given: say where to with --postgres-url, or in {POSTGRES_URL_VARIABLE}: "
            f"{_WHAT_TO_GIVE}"
        )
    if not (given or "").strip() and given in (None, variable):
        raise PlanError(
            f"{POSTGRES_URL_VARIABLE} is set and empty: put the destination there, or give --postgres-url: "
            f"{_WHAT_TO_GIVE}"
        )
    return given or ""


def checked_url(given: str | None) -> str:
    """The same where it is not looked at by a plan. Raises `PlanError` also where libpq could not read it."""
    from vestige_migrate.destination.connection.connect import parse_url
    from vestige_migrate.destination.embedded import is_embedded

    url = asked_url(given).strip()
    if not url:
        raise PlanError(f"--postgres-url is empty: give {_WHAT_TO_GIVE}")
    if not is_embedded(url):
        parse_url(url)
    return url


def given_files(sqlite_path: list[Path] | None, postgres_url: str | None) -> list[Path]:
    """The files of a command line, or the default one.

    Raises what `default_database` does, but `PlanError` for a destination that cannot be read: bad arguments are told
    before a file that is not there.
    """
    if sqlite_path:
        return sqlite_path
    try:
        return [default_database()]
    except SourceUnusable:
        checked_url(postgres_url)
        raise


SqlitePaths = Annotated[
    Optional[list[Path]],  # noqa: UP045
    typer.Option(
        "--sqlite-path",
        metavar="PATH",
        help=f"Vestige's file, or a portable archive of it ({_DEFAULT_FILE}). Give it again for each "
        "further file: they are copied one after the other. An encrypted file's key is taken from "
        "$VESTIGE_ENCRYPTION_KEY.",
        show_default=False,
    ),
]
PostgresUrl = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--postgres-url",
        metavar="URL",
        envvar=POSTGRES_URL_VARIABLE,
        help="libpq URL or keyword string; 'embedded' or 'embedded:DIR' starts the bundled PostgreSQL. It has to be "
        "given, here or in the variable.",
        show_default=False,
    ),
]
MaxConnections = Annotated[
    int,
    typer.Option(
        "--max-connections",
        metavar="N",
        help="The coordinator's pool, for counts and index builds; one more holds the lock.",
    ),
]
AnswerTimeout = Annotated[
    float,
    typer.Option(
        "--answer-timeout",
        metavar="SECONDS",
        help="Silence after which a connection is given up, unless a second one finds the server at work for it; "
        "a worker process that stands still that long is ended, and its range tried again.",
    ),
]
Schema = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--schema",
        metavar="NAME",
        help="The schema of the destination that has the tables, without quotes; a copy makes it where it is missing.",
        show_default="the first on search_path",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and count; write nothing.")]
Report = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--report",
        metavar="FILE",
        help="Write the report as JSON to this file; '-' for standard output.",
        show_default=False,
    ),
]
ShowProgress = Annotated[
    Optional[bool],  # noqa: UP045
    typer.Option(
        "--progress/--no-progress",
        help="Progress bars (default: on where stderr is a terminal).",
        show_default=False,
    ),
]
LogFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--log-file", metavar="FILE", help="Log to this file instead of stderr.", show_default=False),
]
LogLevel = Annotated[str, typer.Option("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.")]
Debug = Annotated[bool, typer.Option("--debug", help="Add the traceback to an error, and log at DEBUG.")]
