"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

POSTGRES_URL_VARIABLE = "VESTIGE_POSTGRES_URL"
DEFAULT_URL = "embedded"


def given_url() -> str:
    """The URL of a command line that has none."""
    return os.environ.get(POSTGRES_URL_VARIABLE) or DEFAULT_URL


SqlitePath = Annotated[
    Optional[Path],  # noqa: UP045  # typer reads the annotation at run time
    typer.Option(
        "--sqlite-path",
        metavar="PATH",
        help="Vestige's file (default: $VESTIGE_DATA_DIR/vestige.db, else the platform's).",
        show_default=False,
    ),
]
SqlitePaths = Annotated[
    Optional[list[Path]],  # noqa: UP045
    typer.Option(
        "--sqlite-path",
        metavar="PATH",
        help="Vestige's file (default: $VESTIGE_DATA_DIR/vestige.db, else the platform's). Give it again for each "
        "further file: they are copied one after the other. An encrypted file's key is taken from "
        "$VESTIGE_ENCRYPTION_KEY.",
        show_default=False,
    ),
]
PostgresUrl = Annotated[
    str,
    typer.Option(
        "--postgres-url",
        metavar="URL",
        envvar=POSTGRES_URL_VARIABLE,
        help="libpq URL or keyword string; 'embedded' or 'embedded:DIR' starts the bundled PostgreSQL.",
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
