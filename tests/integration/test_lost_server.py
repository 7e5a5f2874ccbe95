"""The server goes away in mid-run, or its answers do: the same run goes on when it is back, and nothing is missing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.chaos.proxy import Harm, harmful_proxy
from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same, counts
from tests.support.own_server import OwnServer, own_server
from tests.support.running import RunningCopy, advisory_locks, blocked_sessions, our_sessions, sessions_where
from tests.support.server_folder import server_folder
from tests.support.sources import SourceSpec, build_source

MEMORIES = 300
SPEC = SourceSpec(memories=MEMORIES, schedules=MEMORIES, edges=60, events=60)


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    """Commits that are not flushed stay so for long: a crash loses what a crash can lose."""
    with (
        server_folder() as folder,
        own_server(folder) as own,
    ):
        own.set("wal_writer_delay", "10s")
        yield own


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_source(tmp_path_factory.mktemp("source") / "vestige.db", SPEC)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source of the same model without rows: a copy of it makes the tables."""
    nothing = SourceSpec(memories=0, schedules=0, edges=0, events=0)
    return build_source(tmp_path_factory.mktemp("empty") / "vestige.db", nothing)


@pytest.fixture
def url(server: OwnServer, empty: Path) -> Iterator[str]:
    """A database with our tables and without indexes."""
    made = server.database()
    Copier(made)(empty, indexes="none")
    yield made
    server.drop(made)


def start(command: CommandLine, source: Path, url: str, *more: str) -> RunningCopy:
    arguments: tuple[str | Path, ...] = ("--sqlite-path", source, "--postgres-url", url, "--workers", "2")
    return RunningCopy.start(*arguments, "--batch-size", "20", *more, environment=command.environment())


@contextmanager
def locked(url: str, table: str) -> Iterator[psycopg.Connection[Any]]:
    """Nobody else writes to the table, or indexes it, until the context ends or the server does."""
    with psycopg.connect(url) as connection:
        connection.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE".encode())
        yield connection


def waiting(url: str) -> int:
    """Sessions of ours that wait for a lock."""
    return sessions_where(url, "application_name LIKE 'vestige-migrate %' AND wait_event_type = 'Lock'")


@pytest.mark.parametrize(
    ("table", "mode", "indexed"),
    [("knowledge_nodes", "fast", False), ("scheduling", "immediate", False), ("knowledge_nodes", "immediate", True)],
    ids=["load, fast", "dependents, crash", "index build, crash"],
)
def test_a_restart_in_mid_run_is_survived(
    server: OwnServer, url: str, source: Path, command: CommandLine, table: str, mode: str, indexed: bool
) -> None:
    if indexed:
        Copier(url)(source, indexes="none")
    with suppress(psycopg.OperationalError), locked(url, table):
        run = start(command, source, url)
        run.wait_until(lambda: waiting(url), "the run to wait for a lock")
        server.stop(mode)
        server.start()
    code, _, err = run.finish()
    assert code == 0, err
    assert "Traceback" not in err
    assert "lost its session" in err
    assert_same(source, url)
    assert counts(url)["scheduling"] == MEMORIES
    assert our_sessions(url) == advisory_locks(url) == 0


def test_a_server_that_refuses_for_some_seconds_is_waited_for(
    server: OwnServer, url: str, source: Path, command: CommandLine
) -> None:
    with suppress(psycopg.OperationalError), locked(url, "edges"):
        run = start(command, source, url)
        run.wait_until(lambda: waiting(url), "the run to wait for a lock")
        server.stop("fast")
        time.sleep(3)  # how long it is away is the point
        server.start()
    code, _, err = run.finish()
    assert code == 0, err
    assert "trying again" in err
    assert_same(source, url)


def test_a_lost_session_of_the_coordinator_is_taken_again(
    server: OwnServer, url: str, source: Path, command: CommandLine
) -> None:
    with locked(url, "scheduling") as holder:
        run = start(command, source, url)
        run.wait_until(lambda: blocked_sessions(url), "a worker to wait for a lock")
        with psycopg.connect(url) as connection:
            found = connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name LIKE '% coordinator'"
            ).fetchall()
        assert found == [(True,)]
        run.wait_until(lambda: advisory_locks(url) and blocked_sessions(url), "the run to be there again")
        holder.rollback()
    code, _, err = run.finish()
    assert code == 0, err
    assert "lost its session" in err
    assert_same(source, url)


@pytest.mark.parametrize("harm", [Harm.HANG, Harm.COMMIT, Harm.RESET])
def test_a_connection_that_is_harmed_on_its_way(
    server: OwnServer, url: str, source: Path, command: CommandLine, harm: Harm
) -> None:
    with harmful_proxy(server.socket_path, 150_000, harm) as proxy:
        through = make_conninfo(url, host="127.0.0.1", port=proxy.port)
        code, _, err = start(command, source, through, "--answer-timeout", "1").finish()
        assert proxy.struck.is_set()
    assert code == 0, err
    assert ("no answer for" in err) is (harm is Harm.HANG)
    assert "Traceback" not in err
    assert_same(source, url)
    assert our_sessions(url) == advisory_locks(url) == 0


def test_a_lock_that_another_client_holds_is_named(url: str, source: Path, command: CommandLine) -> None:
    with locked(url, "scheduling") as holder:
        holder.execute("SET application_name = 'nightly vacuum'")
        run = start(command, source, url, "--answer-timeout", "1")
        run.wait_until(lambda: blocked_sessions(url), "a worker to wait for a lock")
        time.sleep(2.5)  # longer than a silent connection may be
        holder.rollback()
    code, _, err = run.finish()
    assert code == 0, err
    assert "waiting for a lock on scheduling that is held by process" in err
    assert "(nightly vacuum)" in err
    assert_same(source, url)
