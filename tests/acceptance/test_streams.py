"""Streams that are closed, full, gone or know only ASCII, and a missing home: the copy and its exit code stand."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import copy_of
from tests.conftest import CommandLine
from tests.support.compare import assert_same, counts
from tests.support.running import RunningCopy
from tests.support.sources import edit

SCRIPT = Path(sys.executable).parent / "vestige-migrate"
NOBODY = 54321
"""A user id that the system's list of users does not have."""


def shell(command: CommandLine, redirection: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The console script with its streams redirected by a shell."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {redirection}', SCRIPT, *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False, env=command.environment(), cwd=command.home,
    )  # fmt: skip


def with_reader_gone(command: CommandLine, streams: tuple[str, ...], *arguments: str | Path) -> tuple[int, str]:
    """Exit code, and what is on the other stream, where the readers of these streams went before the first word."""
    process = subprocess.Popen(
        [SCRIPT, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=command.environment(), cwd=command.home,
    )  # fmt: skip
    assert process.stdout
    assert process.stderr
    for name in streams:
        {"stdout": process.stdout, "stderr": process.stderr}[name].close()
    text = "".join(pipe.read() for pipe in (process.stdout, process.stderr) if not pipe.closed)
    code = process.wait(60)
    process.stdout.close()
    process.stderr.close()
    return code, text


@pytest.mark.parametrize("streams", [("stdout",), ("stdout", "stderr")], ids="+".join)
def test_a_reader_that_is_gone_does_not_end_the_copy(
    streams: tuple[str, ...], source: Path, database: str, command: CommandLine
) -> None:
    code, text = with_reader_gone(command, streams, *copy_of(source, database))
    assert code == 0
    assert "Traceback" not in text
    assert "error: " not in text
    assert_same(source, database)


def test_errors_of_rows_keep_their_exit_code_where_the_reader_is_gone(
    source: Path, database: str, command: CommandLine
) -> None:
    edit(source, ("UPDATE knowledge_nodes SET tags = 'x' WHERE rowid = 1", ()))
    arguments = (*copy_of(source, database), "--report", "-")
    code, text = with_reader_gone(command, ("stdout",), *arguments)
    assert code == 1
    assert "Traceback" not in text
    assert "already there" in text  # the table, on standard error


@pytest.mark.parametrize("arguments", [("copy", "--help"), ("--version",), ("server", "status", "nowhere")], ids=str)
def test_help_into_a_closed_pipe(arguments: tuple[str, ...], command: CommandLine) -> None:
    assert with_reader_gone(command, ("stdout",), *arguments) == (0, "")


@pytest.mark.parametrize("redirection", [">&-", "<&- >&- 2>&-"])
def test_closed_streams(redirection: str, source: Path, database: str, command: CommandLine) -> None:
    done = shell(command, redirection, *copy_of(source, database))
    assert done.returncode == 0, done.stderr
    assert "error: " not in done.stderr
    assert_same(source, database)


def test_closed_streams_and_a_failure(command: CommandLine) -> None:
    assert (
        shell(command, ">&- 2>&-", "copy", "--sqlite-path", "none.db", "--postgres-url", "postgresql://h/d").returncode
        == 3
    )


FULL = [device for device in ("/dev/full",) if Path(device).exists()]


@pytest.mark.parametrize("device", FULL)
@pytest.mark.parametrize("report", ["-", None])
def test_an_output_that_cannot_be_written_is_said_in_one_line(
    device: str, report: str | None, source: Path, database: str, command: CommandLine
) -> None:
    more = () if report is None else ("--report", report)
    done = shell(command, f"> {device}", *copy_of(source, database), *more)
    assert done.returncode == 4
    (line,) = [line for line in done.stderr.splitlines() if "error: " in line]
    assert "No space left on device" in line
    assert "run again" in line
    assert "Traceback" not in done.stderr
    assert counts(database)["knowledge_nodes"] == 40


@pytest.mark.parametrize("more", [(), ("--progress",), ("--log-file", "/dev/full", "--debug")], ids=str)
@pytest.mark.parametrize("device", FULL)
def test_a_log_that_cannot_be_written_does_not_end_the_copy(
    device: str, more: tuple[str, ...], source: Path, database: str, command: CommandLine
) -> None:
    done = shell(command, f"2> {device}", *copy_of(source, database), *more)
    assert done.returncode == 0
    assert "done: " in done.stdout


@pytest.mark.parametrize("environment", [{"LANG": "C", "LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_an_encoding_that_lacks_a_character_ends_nothing(
    environment: dict[str, str], source: Path, database: str, command: CommandLine
) -> None:
    edit(source, ("UPDATE knowledge_nodes SET id = 'Größe→漢' WHERE rowid = 1", ()))
    file = command.home / "bericht-ß.json"
    arguments = (*copy_of(source, database), "--report", file)
    done = command(*arguments, **environment)
    assert done.returncode == 1, done.stderr
    report = json.loads(file.read_text(encoding="utf-8"))
    assert any("Größe→漢" in error["message"] for error in report["errors"])
    assert "00000000-0000-0000-0000-000000000000" in done.stdout
    assert "Traceback" not in done.stderr


def test_without_a_home(source: Path, database: str, command: CommandLine) -> None:
    environment = {name: value for name, value in command.environment().items() if name != "HOME"}
    run: list[str | Path] = [SCRIPT, *copy_of(source, database, "--dry-run")]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def test_without_a_home_to_find_the_data_in(tmp_path: Path, command: CommandLine) -> None:
    # Python asks the system's list of users where HOME is missing, so that is emptied too, in this one process.
    program = (
        "import pathlib, sys\n"
        "def no_home(cls=None): raise RuntimeError('Could not determine home directory.')\n"
        "pathlib.Path.home = classmethod(no_home)\n"
        "from vestige_migrate.cli import vestige_migrate\n"
        "sys.argv = ['vestige-migrate', 'copy', '--postgres-url', 'host=127.0.0.1 port=1']\n"
        "vestige_migrate()\n"
    )
    environment = {name: value for name, value in command.environment().items() if "HOME" not in name}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no home directory to find Vestige's data in: set HOME")


@pytest.mark.in_process
def test_a_device_keeps_its_mode(source: Path, database: str, command: CommandLine) -> None:
    before = stat.S_IMODE(Path(os.devnull).stat().st_mode)
    for option in ("--report", "--log-file"):
        done = command(*copy_of(source, database), "--dry-run", option, os.devnull)
        assert done.returncode == 0, done.stderr
        assert stat.S_IMODE(Path(os.devnull).stat().st_mode) == before


@pytest.mark.parametrize("stop", [RunningCopy.interrupt, lambda run: run.process.send_signal(signal.SIGTERM)])
def test_an_interrupt_before_anything_was_copied(
    stop: Callable[[RunningCopy], None], source: Path, command: CommandLine
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and says nothing
        url = f"host=127.0.0.1 port={silent.getsockname()[1]} connect_timeout=60"
        run = RunningCopy.start("--sqlite-path", source, "--postgres-url", url, environment=command.environment())
        silent.settimeout(30)
        connection, _ = silent.accept()
        with connection:
            stop(run)
            code, out, err = run.finish()
    assert (code, out) == (130, "")
    assert err.splitlines() == [
        "error: interrupted: what was committed stays, and running the same command again resumes"
    ]


@pytest.mark.in_process
def test_too_many_errors_stop_the_run_with_its_report(source: Path, database: str, command: CommandLine) -> None:
    edit(source, ("UPDATE knowledge_nodes SET tags = 'x' WHERE rowid <= 5", ()))
    arguments = (*copy_of(source, database), "--report", "-")
    stopped = command(*arguments, "--max-errors", "2")
    assert stopped.returncode == 4
    assert json.loads(stopped.stdout)["complete"] is False
    (line,) = [line for line in stopped.stderr.splitlines() if line.startswith("error: ")]
    assert "--max-errors 2" in line
    assert "run again" in line
    assert len(json.loads(stopped.stdout)["errors"]) > 2
    resumed = command(*arguments)
    # A row that the first run committed is there already, and its error is in the first report.
    assert resumed.returncode in (0, 1), resumed.stderr
    assert json.loads(resumed.stdout)["memories_copied"] == 40
