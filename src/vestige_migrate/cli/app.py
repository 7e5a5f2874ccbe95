"""The Typer app, and the one place where a failure becomes an `error:` line and an exit code."""

from __future__ import annotations

import signal
import sys
import traceback
from types import FrameType
from typing import NoReturn

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from vestige_migrate import __version__
from vestige_migrate.cli import copy, demo, ending, reembed, server, streams, verify
from vestige_migrate.cli.output import describe_os_error
from vestige_migrate.errors import MigrationError
from vestige_migrate.limits import describe_limit, suspected_limit

INTERRUPTED = 130
_BAD_ARGUMENTS = 2
_STOPPED = 4
_DEBUG_FLAG = "--debug"
_NO_COMMAND = "NoArgsIsHelpError"
"""typer's exception for a group without a command; it has no public name."""
_INTERRUPTED = "interrupted: what was committed stays, and running the same command again resumes"

_HELP = "Move a Vestige agent memory from its SQLite file into PostgreSQL with pgvector."

migrate = typer.Typer(
    help=_HELP, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None
)
migrate.command("copy")(copy.copy)
migrate.command("demo")(demo.demo)
migrate.command("reembed")(reembed.reembed)
migrate.command("verify")(verify.verify)
migrate.add_typer(server.app, name="server")

root = typer.Typer(
    help=_HELP, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None
)
root.add_typer(migrate, name="migrate")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vestige-migrate {__version__}")
        raise typer.Exit


@migrate.callback()
@root.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def _on_terminate(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def run(app: typer.Typer) -> NoReturn:
    """Runs the app and exits. Every failure prints one `error:` line and no traceback, unless --debug is given."""
    signal.signal(signal.SIGTERM, _on_terminate)
    streams.prepare()
    code = _exit_code(app)
    unwritten = streams.flush()
    if unwritten is not None:
        code = _fail(describe_os_error(unwritten), code or _STOPPED, debug=False)
        streams.flush()
    ending.leave(code)


def _exit_code(app: typer.Typer) -> int:
    debug = _DEBUG_FLAG in sys.argv
    try:
        code = get_command(app).main(standalone_mode=False)
        if code == INTERRUPTED:  # typer turns Ctrl-C into this code, without a word
            return _fail(_INTERRUPTED, INTERRUPTED, debug)
        return code if isinstance(code, int) else 0
    except MigrationError as error:
        return _fail(str(error), error.exit_code, debug)
    except TyperException as error:
        message = error.format_message()
        if type(error).__name__ == _NO_COMMAND:  # the message is the help
            typer.echo(message)
            return _BAD_ARGUMENTS
        return _fail(f"{message.rstrip('.')} (see --help)", _BAD_ARGUMENTS, debug)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(_INTERRUPTED, INTERRUPTED, debug)
    except SystemExit:
        # typer's answer to a reader of its help that is gone (`| head`): there is nobody to tell.
        streams.silence(sys.stdout)
        return 0
    except OSError as error:
        limit = describe_limit(error)
        return _fail(limit if limit is not None else describe_os_error(error), _STOPPED, debug)
    except Exception as error:
        limit = describe_limit(error) or suspected_limit(error)
        if limit is not None:
            return _fail(f"{limit}. Nothing that was committed is lost; then run again", _STOPPED, debug)
        return _fail(
            f"an unexpected {type(error).__name__} inside vestige-migrate: this is a defect. Nothing that was "
            f"committed is lost; run again with {_DEBUG_FLAG} and report the traceback",
            _STOPPED,
            debug,
        )


def _fail(message: str, code: int, debug: bool) -> int:
    try:
        if debug:
            traceback.print_exc()
        typer.echo(f"error: {message}", err=True)
    except OSError:
        streams.silence(sys.stderr)
    return code
