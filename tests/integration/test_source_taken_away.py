"""A source that is replaced, overwritten, cut short, deleted or locked while it is copied."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.running import RunningCopy, asked, blocked_sessions, held_row
from tests.support.sources import SourceSpec, build_source, node_id
from vestige_migrate import SourceUnusable
from vestige_migrate.copy.job import CopyJob
from vestige_migrate.copy.worker import RangeCopier
from vestige_migrate.limits import BATCH_BYTES
from vestige_migrate.source.layout.inspect import inspect_source
from vestige_migrate.source.read.ranges import KeySpan
from vestige_migrate.source.sqlite import connect
from vestige_migrate.source.sqlite.connect import SourceFile, open_source
from vestige_migrate.workers.job import WorkerConfig
from vestige_migrate.workers.messages import Message, RangeDone, RangeFault, Sign, Task

SPEC = SourceSpec(memories=600, schedules=600, dimension=8)
OTHER = replace(SPEC, memories=400, schedules=400, seed=11)


@pytest.fixture
def prepared(tmp_path: Path, copy: Copier) -> Path:
    """A source with a rollback journal, where a lock keeps readers out, and the destination's empty tables."""
    copy(build_source(tmp_path / "empty.db", SourceSpec(memories=0, schedules=0, edges=0, events=0, dimension=8)))
    path = build_source(tmp_path / "vestige.db", SPEC)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    return path


def start(command: CommandLine, source: Path, url: str, report: Path) -> RunningCopy:
    arguments = ("--sqlite-path", source, "--postgres-url", url, "--workers", "2", "--batch-size", "20")
    return RunningCopy.start(*arguments, "--report", report, environment=command.environment())


def other(path: Path) -> Path:
    return build_source(path.with_name("other.db"), OTHER)


def replaced(path: Path, _: RunningCopy) -> None:
    other(path).replace(path)


def replaced_and_a_worker_killed(path: Path, run: RunningCopy) -> None:
    """The next worker has to open the file again."""
    other(path).replace(path)
    for worker in run.workers():
        worker.send_signal(signal.SIGKILL)


def overwritten(path: Path, _: RunningCopy) -> None:
    """As `cp` does: the file stays the same to the system. Not emptied first, so that a reader may see no error."""
    content = other(path).read_bytes()
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


def cut_short(path: Path, _: RunningCopy) -> None:
    os.truncate(path, path.stat().st_size // 2)


def deleted(path: Path, _: RunningCopy) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("happens", "code", "words"),
    [
        (replaced, 0, "was replaced by another file: every row came from the file that was there"),
        (replaced_and_a_worker_killed, 4, "was replaced by another file while it was being read"),
        (overwritten, 4, "was overwritten with another database while it was being copied, so that rows of both"),
        (cut_short, 4, "bytes while it was being read (put the whole file back)"),
        (deleted, 0, "was deleted or moved away (No such file or directory): every row came from the file that was"),
    ],
)
def test_a_source_that_changes_its_identity_is_noticed_and_the_next_run_is_whole(
    prepared: Path,
    copy: Copier,
    command: CommandLine,
    tmp_path: Path,
    happens: Callable[[Path, RunningCopy], None],
    code: int,
    words: str,
) -> None:
    whole, report_file = prepared.read_bytes(), tmp_path / "report.json"
    with held_row(copy.database, node_id(prepared, 10)):
        run = start(command, prepared, copy.database, report_file)
        run.wait_until(lambda: blocked_sessions(copy.database), "a worker in mid-range")
        happens(prepared, run)
    found, _, err = run.finish()
    assert found == code, err
    [line] = [line for line in err.splitlines() if words in line]
    assert str(prepared) in line
    assert "Traceback" not in err
    report: dict[str, Any] = json.loads(report_file.read_text())
    assert report["complete"] is (code == 0)
    if code == 0:
        assert report["source_changed"] is True
        assert report["memories_copied"] == 600
    else:
        assert line.startswith("error: ")
        assert "un again to" in line
    # Whatever the path leads to next comes over whole; the other database's users have handles that are taken by now.
    if happens is not overwritten:
        prepared.write_bytes(whole)
    again = copy(prepared, verify=happens is not overwritten)
    rows = 400 if happens is overwritten else 600
    assert (again.complete, again.tables["knowledge_nodes"].source_rows) == (True, rows)
    assert happens is overwritten or again.exit_code == 0


def test_a_locked_source_is_waited_for(prepared: Path, copy: Copier, command: CommandLine, tmp_path: Path) -> None:
    report_file = tmp_path / "report.json"
    with closing(sqlite3.connect(prepared, isolation_level=None)) as locker:
        with held_row(copy.database, node_id(prepared, 10)):
            run = start(command, prepared, copy.database, report_file)
            run.wait_until(lambda: blocked_sessions(copy.database), "a worker in mid-range")
            locker.execute("PRAGMA busy_timeout = 30000")
            locker.execute("BEGIN EXCLUSIVE")
        run.wait_until(lambda: _idle_workers(copy.database), "the workers to wait for the source")
        stored = _memories(copy.database)
        locker.execute("COMMIT")
    code, _, err = run.finish()
    assert code == 0, err
    assert stored < 600
    report = json.loads(report_file.read_text())
    assert (report["memories_copied"], report["source_changed"], report["errors"]) == (600, False, [])


def test_a_source_that_stays_locked_is_given_up_with_a_word(
    prepared: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "BUSY_TIMEOUT_SECONDS", 0.1)
    file = SourceFile(prepared).pinned()
    with closing(open_source(file)) as connection:
        layout = inspect_source(connection, prepared)
    sent: list[Message | Sign] = []
    job = CopyJob(layout, 20, BATCH_BYTES, datetime.now(UTC))
    worker = RangeCopier(WorkerConfig(file, copy.database, "test worker", 9.0, job), job, sent.append)
    with closing(sqlite3.connect(prepared, isolation_level=None)) as locker:
        locker.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SourceUnusable, match=r"vestige\.db is locked by another program: stop that program"):
            copy(prepared)
        worker.run(Task(KeySpan("knowledge_nodes", 0), ask_first=False))
    worker.close()
    [fault] = [message for message in sent if isinstance(message, RangeFault)]
    assert not any(isinstance(message, RangeDone) for message in sent)
    assert fault.transient
    assert fault.reason == f"{prepared} is locked by another program, which was waited for for 0 s (stop it)"
    assert copy(prepared).memories_copied == 600


_LIMITED = (
    "import os, resource, sys; n = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (n, n));"
    " os.execv(sys.argv[2], sys.argv[2:])"
)
"""No file of the program that this runs gets larger: a full disk for whoever may not mount one."""


@pytest.mark.parametrize("what", ["the snapshot", "its upgrade"])
def test_a_snapshot_that_the_disk_has_no_room_for_is_refused(
    copy: Copier, command: CommandLine, tmp_path: Path, what: str
) -> None:
    """The room there is was looked at first; here it goes in the meantime."""
    path = build_source(tmp_path / "vestige.db", SourceSpec(version=13, memories=300, edges=0, dimension=8))
    room = path.stat().st_size // (2 if what == "the snapshot" else 1)
    snapshots = tmp_path / "snapshots"
    snapshots.mkdir()
    script = Path(sys.executable).parent / "vestige-migrate"
    arguments = ("copy", "--sqlite-path", path, "--postgres-url", copy.database, "--snapshot", "--workers", "1")
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(room), script, *arguments],
        capture_output=True, text=True, timeout=60, check=False, env=command.environment(TMPDIR=str(snapshots)),
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert str(path) in line
    assert "or set TMPDIR to a folder with room" in line
    assert "Traceback" not in done.stderr
    assert list(snapshots.iterdir()) == []
    assert path.read_bytes() == before
    with psycopg.connect(copy.database) as connection:
        assert connection.execute("SELECT to_regclass('knowledge_nodes')").fetchone() == (None,)


def _memories(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM knowledge_nodes").fetchone()
    assert row is not None
    return int(row[0])


def _idle_workers(url: str) -> bool:
    """Whether every worker is done with its batch and has asked the server nothing for a while."""
    [(idle,)] = asked(
        url,
        "SELECT count(*) > 0 AND bool_and(state = 'idle' AND now() - state_change > interval '300 ms')"
        " FROM pg_stat_activity WHERE application_name LIKE 'vestige-migrate % worker'",
    )
    return bool(idle)
