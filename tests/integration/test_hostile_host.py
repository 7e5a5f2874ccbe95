"""A machine that kills workers, stops them, or has no room for them: it is named, and no row is blamed for it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import multiprocess
import psycopg
import pytest
from multiprocess import forkserver

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same
from tests.support.killer import killing_own_workers
from tests.support.running import RunningCopy, blocked_pids, blocked_sessions, held_row, wait_until
from tests.support.sources import SourceSpec, build_source, node_id
from tests.support.table_counts import table_counts
from vestige_migrate import SqliteToPostgresPlan, run_sqlite_to_postgres, verify_sqlite_to_postgres
from vestige_migrate.errors import HostKillsWorkers
from vestige_migrate.report.migration import MigrationReport

pytestmark = pytest.mark.indexed


@pytest.fixture
def prepared(tmp_path: Path, copy: Copier) -> Path:
    """A source of 300 memories, and the destination's tables without any of them."""
    copy(build_source(tmp_path / "empty.db", SourceSpec(memories=0, schedules=0, edges=0, events=0)))
    return build_source(tmp_path / "vestige.db", SourceSpec(memories=300, schedules=300))


def start(command: CommandLine, source: Path, url: str, *more: str, name: str = "copy") -> RunningCopy:
    arguments: tuple[str | Path, ...] = ("--sqlite-path", source, "--postgres-url", url, "--workers", "2", *more)
    return RunningCopy.start(*arguments, environment=command.environment(), command=name)


@contextmanager
def waited_for(run: RunningCopy) -> Iterator[list[str]]:
    """Reads what the run prints meanwhile; standard error afterwards."""
    printed: list[str] = []
    reader = threading.Thread(target=lambda: printed.extend(run.process.communicate()[1:]))
    reader.start()
    yield printed
    reader.join()


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run does not wait 15 seconds for the host to change its mind."""
    monkeypatch.setattr("vestige_migrate.workers.pool.CONTROL_PAUSES_SECONDS", (0.1, 0.1, 0.1, 0.1))


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(("name", "delay"), [("copy", 0.03), ("verify", 0.02)])
def test_a_host_that_kills_every_worker_is_named_and_no_row_is(
    prepared: Path, copy: Copier, name: str, delay: float
) -> None:
    if name == "verify":
        copy(prepared)
    run = run_sqlite_to_postgres if name == "copy" else verify_sqlite_to_postgres
    with killing_own_workers(lambda: delay) as killer, pytest.raises(HostKillsWorkers) as caught:
        run(SqliteToPostgresPlan(prepared, copy.database, workers=2))
    assert killer.killed >= 5
    assert caught.value.exit_code == 4
    assert "something on this machine ends the worker processes" in str(caught.value)
    assert "memory killer" in str(caught.value)
    if name == "copy":
        assert isinstance(caught.value.report, MigrationReport)
        assert not caught.value.report.errors
    assert copy(prepared).memories_copied == 300
    assert_same(prepared, copy.database)


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(("probability", "seconds"), [(0.4, 60.0), (1.0, 2.0)])
def test_a_host_that_kills_some_workers_or_for_a_while_costs_no_row(
    prepared: Path, copy: Copier, probability: float, seconds: float
) -> None:
    chance = random.Random(7)
    report: Any = None
    with killing_own_workers(lambda: chance.uniform(0.0, 0.1), probability, seconds, 7), suppress(HostKillsWorkers):
        report = copy(prepared, batch_size=10)
    assert report is None or (report.memories_copied == 300 and not report.errors)
    assert copy(prepared).memories_copied == 300
    assert_same(prepared, copy.database)


def test_rows_of_several_ranges_that_kill_their_workers_are_named_and_the_others_come(
    prepared: Path, copy: Copier, command: CommandLine, tmp_path: Path
) -> None:
    """A single worker, so that the one that waits for a held row is the one that is killed."""
    report_file = tmp_path / "report.json"
    killers = [node_id(prepared, row) for row in (20, 160, 290)]
    struck: set[int] = set()
    with held_row(copy.database, killers[0]) as holder:
        for killer in killers[1:]:
            holder.execute("INSERT INTO knowledge_nodes (id, content) VALUES (%s, 'held')", (killer,))
        run = start(command, prepared, copy.database, "--workers", "1", "--report", str(report_file))
        with waited_for(run) as printed:
            deadline = time.monotonic() + 90
            while run.process.poll() is None:
                assert time.monotonic() < deadline, "the run did not end"
                fresh = blocked_pids(copy.database) - struck
                if fresh:
                    struck |= fresh
                    run.workers()[-1].kill()
                time.sleep(0.01)
    [err] = printed
    assert run.process.returncode == 1, err
    report = json.loads(report_file.read_text())
    assert report["tables"]["knowledge_nodes"] == table_counts(source_rows=300, inserted=297, failed=3)
    assert {item["id"] for item in report["errors"] if item["table"] == "knowledge_nodes"} == set(killers)
    assert copy(prepared).memories_copied == 300


def test_a_worker_that_stands_still_is_said_ended_and_its_range_copied(
    prepared: Path, copy: Copier, command: CommandLine
) -> None:
    with held_row(copy.database, node_id(prepared, 10)):
        run = start(command, prepared, copy.database, "--answer-timeout", "1")
        run.wait_until(lambda: blocked_sessions(copy.database), "a worker in mid-range")
        stopped = run.workers()
        for worker in stopped:
            worker.send_signal(signal.SIGSTOP)
        run.wait_until(lambda: not any(worker.is_running() for worker in stopped), "the stopped workers to be ended")
    code, _, err = run.finish()
    assert code == 0, err
    assert "gives no sign of life (it is stopped: SIGSTOP)" in err
    assert "in 3 s it is ended" in err
    assert_same(prepared, copy.database)


def test_a_worker_that_waits_for_a_lock_is_left_alone(prepared: Path, copy: Copier, command: CommandLine) -> None:
    with held_row(copy.database, node_id(prepared, 10)):
        run = start(command, prepared, copy.database, "--answer-timeout", "1")
        run.wait_until(lambda: blocked_sessions(copy.database), "a worker in mid-range")
        before, began = {worker.pid for worker in run.workers()}, time.monotonic()
        run.wait_until(lambda: time.monotonic() - began > 8, "longer than a still worker would have")
        assert {worker.pid for worker in run.workers()} == before
    code, _, err = run.finish()
    assert code == 0, err
    assert "no sign of life" not in err
    assert_same(prepared, copy.database)


@pytest.mark.parametrize("everything", [False, True])
def test_a_run_that_was_suspended_goes_on_with_its_workers(
    prepared: Path, copy: Copier, command: CommandLine, everything: bool
) -> None:
    """Ctrl-Z and fg: the whole group, or the coordinator alone."""
    with held_row(copy.database, node_id(prepared, 10)):
        run = start(command, prepared, copy.database, "--answer-timeout", "1")
        run.wait_until(lambda: blocked_sessions(copy.database), "a worker in mid-range")
        before, began = {worker.pid for worker in run.workers()}, time.monotonic()
        send: Callable[[int, int], None] = os.killpg if everything else os.kill
        send(run.process.pid, signal.SIGSTOP)
        wait_until(lambda: time.monotonic() - began > 8, "a stop longer than the limit")
        send(run.process.pid, signal.SIGCONT)
        began = time.monotonic()
        run.wait_until(lambda: time.monotonic() - began > 2, "the coordinator to look at its workers")
        assert {worker.pid for worker in run.workers()} == before
    code, _, err = run.finish()
    assert code == 0, err
    assert_same(prepared, copy.database)


def test_a_process_that_does_not_even_die_of_sigkill_holds_nobody_up(
    prepared: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that hangs in the kernel: here SIGKILL is not sent to a stopped one."""
    unkilled: list[Any] = []
    monkeypatch.setattr(multiprocess.process.BaseProcess, "kill", lambda process: unkilled.append(process))
    monkeypatch.setattr("vestige_migrate.workers.pool.STOP_SECONDS", 0.5)

    def stop_workers(holder: psycopg.Connection[Any]) -> None:
        wait_until(lambda: blocked_sessions(copy.database), "a worker in mid-range")
        [process] = multiprocess.active_children()
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: unkilled and blocked_sessions(copy.database), "another worker to have its range")
        holder.rollback()

    with held_row(copy.database, node_id(prepared, 10)) as holder:
        stopper = threading.Thread(target=stop_workers, args=(holder,))
        stopper.start()
        report = copy(prepared, answer_timeout=1, workers=1)
    stopper.join()
    assert report.memories_copied == 300
    assert unkilled
    assert not set(unkilled) & set(multiprocess.active_children())  # nobody waits for them at the end either
    for process in unkilled:
        os.kill(process.pid, signal.SIGKILL)
    assert_same(prepared, copy.database)


def test_a_fork_server_that_stands_still_is_replaced(
    prepared: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vestige_migrate.workers.processes.START_SECONDS", 6.0)
    monkeypatch.setattr("vestige_migrate.workers.pool.STOP_SECONDS", 0.5)

    def stop(holder: psycopg.Connection[Any]) -> None:
        wait_until(lambda: blocked_sessions(copy.database), "a worker in mid-range")
        [worker] = multiprocess.active_children()
        first = blocked_pids(copy.database)
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGSTOP)
        os.kill(worker.pid, signal.SIGKILL)
        wait_until(lambda: blocked_pids(copy.database) - first, "another worker to have its range")
        holder.rollback()

    with held_row(copy.database, node_id(prepared, 10)) as holder:
        stopper = threading.Thread(target=stop, args=(holder,))
        stopper.start()
        report = copy(prepared, workers=1)
        stopper.join()
    assert report.memories_copied == 300
    assert_same(prepared, copy.database)


@pytest.mark.parametrize("limit", ["-v 60000", "-v 150000", "-n 7", "-n 13"])
def test_a_limit_of_the_machine_is_named_and_called_no_defect(
    prepared: Path, copy: Copier, command: CommandLine, limit: str
) -> None:
    script = Path(sys.executable).parent / "vestige-migrate"
    arguments = f"copy --sqlite-path '{prepared}' --postgres-url '{copy.database}' --workers 2"
    done = subprocess.run(
        ["bash", "-c", f"ulimit {limit}; exec '{script}' {arguments}"],
        capture_output=True, text=True, timeout=120, check=False, env=command.environment(),
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr
    if done.returncode != 0:  # where the limit lies depends on the libraries
        assert done.returncode in (3, 4), done.stderr
        [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert f"ulimit {limit[:2]} allows" in line, done.stderr
    assert copy(prepared).memories_copied == 300
