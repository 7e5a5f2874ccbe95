"""Hosts that lack something: a UTF-8 locale, a folder for temporary files, a reader to the end, a clock that stays."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.conftest import copy_of
from tests.conftest import CommandLine
from tests.support.compare import assert_same
from tests.support.sources import SourceSpec, build_source, edit

SCRIPT = Path(sys.executable).parent / "vestige-migrate"


def run_patched(
    command: CommandLine, patch: str, *arguments: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command in a process where `patch` ran first."""
    code = f"{patch}\nfrom vestige_migrate.cli import vestige_migrate\nvestige_migrate()\n"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False, cwd=command.home,
        env=command.environment(**environment),
    )  # fmt: skip


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that says what is wrong."""
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_without_a_locale_names_that_are_not_ascii_come_over(
    tmp_path: Path, database: str, command: CommandLine
) -> None:
    folder = tmp_path / "Größe 漢"
    folder.mkdir()
    source = build_source(folder / "gedächtnis.db", SourceSpec(memories=30, schedules=30, edges=0, events=0))
    edit(source, ("UPDATE users SET handle = 'Zoë-漢-' || rowid WHERE handle <> 'local'", ()))
    report, log = folder / "bericht-ß.json", folder / "verlauf-ß.log"
    bare = {"LANG": "C", "LC_ALL": "C"}
    done = command(*copy_of(source, database), "--owner", "Jürgen", "--report", report, "--log-file", log, **bare)
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text(encoding="utf-8"))["source"]["path"] == str(source)
    assert str(source) in log.read_text(encoding="utf-8")
    with psycopg.connect(database) as connection:
        handles = {handle for (handle,) in connection.execute("SELECT handle FROM users")}
    assert handles == {"local", "Jürgen", "Zoë-漢-2", "Zoë-漢-3", "Zoë-漢-4"}
    missing = command("copy", "--sqlite-path", folder / "keine-ß.db", "--postgres-url", database, **bare)
    assert missing.returncode == 3
    assert "does not exist" in error_line(missing)


def test_head_takes_one_line_and_the_copy_is_whole(source: Path, database: str, command: CommandLine) -> None:
    edit(source, ("UPDATE knowledge_nodes SET tags = 'x' WHERE rowid < 9", ()))
    done = subprocess.run(
        ["bash", "-c", '"$0" "$@" | head -1; exit "${PIPESTATUS[0]}"', SCRIPT, *map(str, copy_of(source, database))],
        capture_output=True, text=True, timeout=60, check=False, env=command.environment(), cwd=command.home,
    )  # fmt: skip
    assert done.returncode == 1, "the rows with errors decide, and not the pipe"
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert "roken" not in done.stderr
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM knowledge_nodes").fetchone() == (40,)


def test_a_folder_of_temporary_files_that_is_not_there_is_done_without(
    source: Path, database: str, command: CommandLine, tmp_path: Path
) -> None:
    done = command(*copy_of(source, database), "--snapshot", TMPDIR=str(tmp_path / "none"))
    assert done.returncode == 0, done.stderr
    assert_same(source, database)


@pytest.mark.parametrize("options", [("--workers", "1"), ("--dry-run", "--snapshot")])
def test_no_folder_for_temporary_files_at_all_is_refused(
    source: Path, database: str, command: CommandLine, options: tuple[str, ...]
) -> None:
    """Modes do not bind root, so `tempfile` is told that no candidate can be written to."""
    patch = (
        "import errno, tempfile\n"
        "def none():\n"
        "    raise FileNotFoundError(errno.ENOENT, 'No usable temporary directory found')\n"
        "tempfile._get_default_tempdir = none"
    )
    done = run_patched(command, patch, *copy_of(source, database), *options)
    assert done.returncode == 3, done.stderr
    assert "set TMPDIR to" in error_line(done)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('knowledge_nodes')").fetchone() == (None,)


def test_without_a_terminal_and_in_a_session_of_its_own(source: Path, database: str, command: CommandLine) -> None:
    done = subprocess.run(
        [SCRIPT, *map(str, copy_of(source, database))],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60,
        check=False, cwd="/", start_new_session=True,
        env={name: value for name, value in command.environment().items() if name not in {"TERM", "COLUMNS"}},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr
    assert_same(source, database)


_JUMPING = """
import datetime, itertools, time
started, calls = time.time(), itertools.count()
# An hour back with every look at it.
time.time = lambda: started - 3600 * next(calls)
class Clock:
    @staticmethod
    def now(zone):
        return datetime.datetime.fromtimestamp(time.time(), zone)
import vestige_migrate.copy.file_copy, vestige_migrate.source.file.upgrade, vestige_migrate.verify.coordinator
for module in (vestige_migrate.copy.file_copy, vestige_migrate.source.file.upgrade, vestige_migrate.verify.coordinator):
    module.datetime = Clock
"""


def test_a_clock_that_is_set_back_while_it_runs_changes_no_duration_and_no_row(
    tmp_path: Path, database: str, command: CommandLine
) -> None:
    source = build_source(tmp_path / "vestige.db", SourceSpec(version=13, memories=30, edges=9, dimension=8))
    arguments = (*copy_of(source, database), "--allow-source-upgrade", "--verify", "--report", "-", "--progress")
    done = run_patched(command, _JUMPING, *arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert 0 < report["duration_seconds"] < 60
    assert min(report["phases"].values()) >= 0
    assert 0 <= report["verification"]["duration_seconds"] < 60
    assert report["verification"]["same"] is True
    assert not re.search(r"(?<!\w)-\d", done.stderr.rpartition("done: ")[2])  # a folder's name may have one within
    assert len(list(tmp_path.glob("vestige.db.v13-backup-*"))) == 1


POISON = ("nt", "random", "pickle", "socket", "psycopg", "numpy", "dill", "multiprocess", "vestige_migrate", "loguru")


def test_files_of_the_current_folder_are_never_taken_for_modules(
    source: Path, database: str, command: CommandLine
) -> None:
    for name in POISON:
        (command.home / f"{name}.py").write_text("raise SystemExit('a file of the operator was imported')\n")
    done = command("copy", "--sqlite-path", source, "--postgres-url", database, "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert "imported" not in done.stderr
    assert "Traceback" not in done.stderr
