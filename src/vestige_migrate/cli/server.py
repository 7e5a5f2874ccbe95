"""`vestige migrate server start|stop|status`: the bundled PostgreSQL."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from vestige_migrate.cli.options import Debug
from vestige_migrate.cli.output import console_sink, log_to
from vestige_migrate.cli.streams import SteadyConsole
from vestige_migrate.paths import absolute, expanded, shown
from vestige_migrate.places import default_server_directory

if TYPE_CHECKING:
    from vestige_migrate.destination.embedded import EmbeddedServer

app = typer.Typer(help="Start, stop or look at the bundled PostgreSQL.", no_args_is_help=True, rich_markup_mode=None)

Directory = Annotated[
    Optional[Path],  # noqa: UP045  # typer reads the annotation at run time
    typer.Argument(
        metavar="DIR",
        help="Its data directory (default: postgres/ in Vestige's data dir).",
        show_default=False,
        readable=False,  # whose it is, is said in better words
    ),
]

_NOT_RUNNING = 1


def _resolve(directory: Path | None) -> Path:
    return absolute(expanded(directory), "DIR") if directory else default_server_directory()


def _embedded() -> ModuleType:
    """Loaded when it is needed: psycopg would keep --help waiting."""
    return import_module("vestige_migrate.destination.embedded")


def _describe(server: EmbeddedServer) -> None:
    typer.echo(f"running on {shown(server.data_directory)}")
    typer.echo(f"URL:  {server.url}")
    typer.echo(f"psql: {server.psql}")


@app.command()
def start(directory: Directory = None, debug: Debug = False) -> None:
    """Start it (it is made where it does not exist) and leave it running."""
    log_to(console_sink(SteadyConsole(stderr=True)), "INFO", debug)
    _describe(_embedded().start(_resolve(directory)))


@app.command()
def stop(directory: Directory = None, debug: Debug = False) -> None:
    """Stop it; its data stays."""
    log_to(console_sink(SteadyConsole(stderr=True)), "INFO", debug)
    where = _resolve(directory)
    stopped = _embedded().stop(where)
    typer.echo(f"stopped {shown(where)}" if stopped else f"no server runs on {shown(where)}")


@app.command()
def status(directory: Directory = None, debug: Debug = False) -> int:
    """Say whether it runs and how to connect. Exit code 1 where it does not run."""
    where = _resolve(directory)
    server = _embedded().status(where)
    if server is None:
        typer.echo(f"no server runs on {shown(where)}")
        return _NOT_RUNNING
    _describe(server)
    return 0
