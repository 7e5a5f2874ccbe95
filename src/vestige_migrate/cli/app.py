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
from vestige_migrate.cli import copy, demo, reembed, server, streams, verify
from vestige_migrate.cli.failures import (
    BAD_ARGUMENTS,
    DEBUG_FLAG,
    INTERRUPTED,
    INTERRUPTED_MESSAGE,
    STOPPED,
    describe_os_error,
    failure_of,
)
from vestige_migrate.cli.masking import without_passwords
from vestige_migrate.cli.refused_arguments import report_refused_arguments
from vestige_migrate.process_life import leave

_NO_COMMAND = "NoArgsIsHelpError"
"""typer's exception for a group without a command; it has no public name."""

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
    # A terminal that is closed; `nohup` has the signal ignored, and the run goes on.
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _on_terminate)
    streams.guard()
    code = answer(app)
    unwritten = streams.flush()
    if unwritten is not None:
        code = _fail(describe_os_error(unwritten), code or STOPPED, debug=False)
        streams.flush()
    leave(code)


def answer(app: typer.Typer) -> int:
    """Does what `sys.argv` asks for; returns the exit code. A failure is said on standard error."""
    debug = DEBUG_FLAG in sys.argv
    try:
        code = get_command(app).main(standalone_mode=False)
        if code == INTERRUPTED:  # typer turns Ctrl-C into this code, without a word
            return _fail(INTERRUPTED_MESSAGE, INTERRUPTED, debug)
        return code if isinstance(code, int) else 0
    except TyperException as error:
        message = error.format_message()
        if type(error).__name__ == _NO_COMMAND:  # the message is the help
            typer.echo(message)
            return BAD_ARGUMENTS
        message = f"{message.rstrip('.')} (see --help)"
        report_refused_arguments(sys.argv[1:], message)
        return _fail(message, BAD_ARGUMENTS, debug)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(INTERRUPTED_MESSAGE, INTERRUPTED, debug)
    except SystemExit:
        # typer's answer to a reader of its help that is gone (`| head`): there is nobody to tell.
        streams.silence(sys.stdout)
        return 0
    except Exception as error:
        failure = failure_of(error)
        return _fail(failure.message, failure.exit_code, debug)


def _fail(message: str, code: int, debug: bool) -> int:
    try:
        if debug:
            typer.echo(without_passwords(traceback.format_exc()), err=True, nl=False)
        typer.echo(f"error: {without_passwords(message)}", err=True)
    except OSError:
        streams.silence(sys.stderr)
    return code
