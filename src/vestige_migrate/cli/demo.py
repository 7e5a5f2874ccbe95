"""`vestige migrate demo`."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console
from rich.text import Text

from vestige_migrate.cli import options
from vestige_migrate.cli.copy import run_with_progress
from vestige_migrate.cli.output import console_sink, log_to, print_report
from vestige_migrate.cli.streams import SteadyConsole
from vestige_migrate.errors import PlanError, Refused
from vestige_migrate.paths import absolute, expanded, shown
from vestige_migrate.places import default_demo_directory, likely_database
from vestige_migrate.plan import SqliteToPostgresPlan
from vestige_migrate.process_life import usual_folder
from vestige_migrate.shared_folders import make_folders

if TYPE_CHECKING:
    from vestige_migrate.destination.embedded import EmbeddedServer

_SHOWN = 68
"""Fits behind a score on a line of 80 columns."""


def demo(
    directory: Annotated[
        Optional[Path],  # noqa: UP045  # typer reads the annotation at run time
        typer.Option(
            "--dir",
            metavar="DIR",
            help="Where the sample and its PostgreSQL live (default: migrate-demo/ in Vestige's data dir).",
            show_default=False,
        ),
    ] = None,
    memories: Annotated[int, typer.Option(min=10, help="Memories in the sample.")] = 1000,
    debug: options.Debug = False,
) -> int:
    """Copy a sample into the bundled PostgreSQL, and ask two questions.

    Your own Vestige data is neither read nor changed.
    """
    usual_folder()
    # Here and not above: what these load would keep --help waiting, and looks for that folder.
    from vestige_migrate.demo.sample import build_sample
    from vestige_migrate.destination import embedded

    where = absolute(expanded(directory) if directory else default_demo_directory(), "--dir")
    console, errors_to = SteadyConsole(), SteadyConsole(stderr=True)
    log_to(console_sink(errors_to), "INFO", debug)
    _make_folder(where)
    sample = build_sample(where / "sample.db", memories)
    console.print(Text(f"made a sample with {memories} memories: {sample}"), soft_wrap=True)
    server = embedded.start(where / "postgres")
    plan = SqliteToPostgresPlan(sample, server.url)
    try:
        report = run_with_progress(plan, None, errors_to, sys.stderr.isatty())
    except Refused:
        if server.started:
            embedded.stop_unused(server)
        raise
    print_report(report, console)
    _ask(server.url, console)
    _say_next(server, where, console)
    return report.exit_code


def _make_folder(where: Path) -> None:
    """Makes the folder of the sample and its server. Raises `Refused` before that where no server can be there."""
    from vestige_migrate.destination import embedded

    try:
        with suppress(FileNotFoundError):
            os.scandir(where).close()  # raises where a file is in the way
        if (where / "PG_VERSION").exists():
            raise PlanError(f"--dir {shown(where)} is the data directory of a server: give another folder")
        embedded.check(where / "postgres")
        make_folders(where)
    except OSError as error:
        raise PlanError(f"--dir {shown(where)} cannot be made: {error.strerror}") from None


def _ask(url: str, console: Console) -> None:
    from vestige_migrate.demo.queries import KEYWORDS, by_nearness, by_words
    from vestige_migrate.destination.connection.first_connection import open_first_session

    with open_first_session(url, "vestige-migrate demo") as connection:
        console.print(Text(f"\nby words ({KEYWORDS!r}):"))
        for rank, content in by_words(connection):
            console.print(Text(f"  {rank:.3f}  {_line(content)}"))
        asked, near = by_nearness(connection)
        console.print(Text(f"\nnearest to: {_line(asked)}"))
        for distance, content in near:
            console.print(Text(f"  {distance:.3f}  {_line(content)}"))


def _line(content: str) -> str:
    """The beginning of a memory; a sample's content may be shown, an operator's never is."""
    return shorten(content, _SHOWN, placeholder=" …")


def _program() -> str:
    """How this program is called from here: a newcomer's environment is seldom on the PATH."""
    name = "vestige-migrate"
    own = Path(sys.executable).with_name(name)
    return str(own) if own.exists() and shutil.which(name) != str(own) else name


def _say_next(server: EmbeddedServer, where: Path, console: Console) -> None:
    program = shlex.quote(_program())
    lines = (
        "",
        "look around with psql:",
        f"  {server.psql}",
        "copy your own memory into a bundled PostgreSQL of its own:",
        f"  {program} copy --sqlite-path {shlex.quote(shown(likely_database()))} --postgres-url embedded",
        "the demo's server keeps running; stop it with:",
        f"  {program} server stop {shlex.quote(shown(where / 'postgres'))}",
    )
    for line in lines:
        console.print(Text(line), soft_wrap=True)
