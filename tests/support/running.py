"""A copy that is held in mid-range for as long as a test needs it to be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

WAIT_SECONDS = 30.0

_started: list[subprocess.Popen[str]] = []


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Polls until the condition holds; fails the test, naming `what`, where it never does."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {WAIT_SECONDS:.0f} s for {what}")
        time.sleep(0.02)


@dataclass(frozen=True)
class RunningCopy:
    """`vestige-migrate copy`, or another command, in a process group of its own."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, *arguments: str | Path, environment: dict[str, str], command: str = "copy") -> RunningCopy:
        """Starts the console script."""
        script = Path(sys.executable).parent / "vestige-migrate"
        process = subprocess.Popen(
            [script, command, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        _started.append(process)
        return cls(process)

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Like `wait_until`, and fails at once, with what it printed, where the run ends first."""

        def holds() -> bool:
            if condition():
                return True
            assert self.process.poll() is None, f"the run ended before {what}: {self.finish()}"
            return False

        wait_until(holds, what)

    def workers(self) -> list[psutil.Process]:
        """The writer processes: children of the fork server, which is the coordinator's child."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # one that only just ended
                found += child.children()
        return found

    def worker_pids(self) -> list[int]:
        """Their numbers; none where the run has ended."""
        with suppress(psutil.NoSuchProcess):
            return [worker.pid for worker in self.workers()]
        return []

    def descendants(self) -> list[psutil.Process]:
        """Every process under the coordinator."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to the whole terminal group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def finish(self) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        out, err = self.process.communicate(timeout=WAIT_SECONDS)
        return self.process.returncode, out, err


def end_all() -> None:
    """Kills every run that a test, which failed in between, left behind, and closes the sessions of `asked`."""
    while _started:
        process = _started.pop()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    end_asking()


@contextmanager
def held_row(url: str, memory: str) -> Iterator[psycopg.Connection[Any]]:
    """An uncommitted row with this id: whoever inserts the same id waits until the context ends."""
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO knowledge_nodes (id, content) VALUES (%s, 'held')", (memory,))
        yield connection
        connection.rollback()


def blocked_sessions(url: str) -> int:
    """How many of our workers wait for a lock."""
    return len(blocked_pids(url))


def blocked_pids(url: str) -> set[int]:
    """The server processes of those workers."""
    rows = asked(
        url,
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE 'vestige-migrate % worker' AND wait_event_type = 'Lock'",
    )
    return {pid for (pid,) in rows}


def our_sessions(url: str) -> int:
    """How many sessions of ours the server has."""
    return sessions_where(url, "application_name LIKE 'vestige-migrate %'")


def advisory_locks(url: str) -> int:
    """How many advisory locks are held in this database."""
    [(locks,)] = asked(
        url,
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    return int(locks)


def sessions_where(url: str, condition: str) -> int:
    """How many other sessions the database has for which this SQL condition on `pg_stat_activity` holds."""
    [(sessions,)] = asked(
        url,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        f" AND {condition}",
    )
    return int(sessions)


_asking = threading.Lock()
_sessions: dict[str, psycopg.Connection[Any]] = {}


def asked(url: str, query: str) -> list[tuple[Any, ...]]:
    """The rows that the server answers to a question that is asked again and again.

    The session is kept for the next one: what polls would otherwise start fifty of them a second, which takes half a
    processor from the run that is waited for.
    """
    with _asking:
        kept = _sessions.pop(url, None)
        if kept is not None:
            with suppress(psycopg.OperationalError):  # the server was restarted since
                rows = kept.execute(query).fetchall()
                _sessions[url] = kept
                return rows
            kept.close()
        fresh = _sessions[url] = psycopg.connect(url, autocommit=True)
        return fresh.execute(query).fetchall()


def end_asking() -> None:
    """Closes the sessions of `asked`."""
    with _asking:
        while _sessions:
            _sessions.popitem()[1].close()
