"""A server that is silent for long: what it waits for is named, and a process of it that stands still is no riddle."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from loguru import logger

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same
from tests.support.own_server import OwnServer, fresh_server
from tests.support.running import RunningCopy, wait_until
from tests.support.sources import SourceSpec, build_source
from tests.support.verifying import Verifier
from vestige_migrate import DestinationBusy, Stopped
from vestige_migrate.destination.connection import watched_connection as watched
from vestige_migrate.destination.connection.server_waits import SessionState
from vestige_migrate.destination.schema import schema
from vestige_migrate.prepare import session
from vestige_migrate.prepare.session import MainSession

SPEC = SourceSpec(memories=40, schedules=40, edges=10, events=10)


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    with fresh_server() as own:
        yield own


@pytest.fixture
def url(server: OwnServer) -> Iterator[str]:
    made = server.database()
    yield made
    server.drop(made)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What is logged in this process."""
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}", level="WARNING")
    yield lines
    logger.remove(sink)


def test_a_trigger_that_sleeps_is_named_and_an_interrupt_ends_the_wait(
    server: OwnServer, url: str, tmp_path: Path, command: CommandLine
) -> None:
    """The coordinator waits for a standby's word, a worker for a trigger's sleep."""
    source = build_source(tmp_path / "vestige.db", SPEC)
    Copier(url)(build_source(tmp_path / "empty.db", SourceSpec(memories=0, schedules=0, edges=0, events=0)))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_sleep(3600); RETURN NEW; END';"
            " CREATE TRIGGER nap BEFORE INSERT ON knowledge_nodes FOR EACH ROW EXECUTE FUNCTION nap()"
        )
    log = tmp_path / "log"
    arguments = ("--sqlite-path", source, "--postgres-url", url, "--workers", "2", "--log-file", log)
    run = RunningCopy.start(*arguments, "--answer-timeout", "1", environment=command.environment())
    run.wait_until(lambda: log.exists() and "Timeout/PgSleep" in log.read_text(), "the sleep to be named")
    run.interrupt()
    code, _, _ = run.finish()
    assert code == 130
    assert "disable that trigger" in log.read_text()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TRIGGER nap ON knowledge_nodes")
    server.set("synchronous_standby_names", "nobody")
    try:
        log.unlink()
        # Tables that are missing: the commit that makes them waits.
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET synchronous_commit = local; DROP TABLE review_events")
        run = RunningCopy.start(*arguments, "--answer-timeout", "1", environment=command.environment())
        run.wait_until(lambda: log.exists() and "IPC/SyncRep" in log.read_text(), "the standby to be named")
        run.interrupt()
        code, _, _ = run.finish()
        assert code == 130
        assert "Start that standby, or change the setting" in log.read_text()
    finally:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("SET synchronous_commit = local")
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")
    assert Copier(url)(source).exit_code == 0
    assert_same(source, url)


@pytest.mark.parametrize(
    ("kind", "event", "words"),
    [
        ("IO", "DataFileRead", "its disk"),
        ("BufferPin", "BufferPin", "keep a cursor open"),
        ("Timeout", "VacuumDelay", "vacuum_cost_delay"),
        ("Extension", "Extension", "an extension"),
        ("NewKind", "NewEvent", "NewKind/NewEvent"),
    ],
)
def test_every_wait_has_words(kind: str, event: str, words: str) -> None:
    assert words in (SessionState("active", kind, event, None, None).describe_wait() or "")


def test_work_without_a_wait_is_said_too(url: str, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "WORK_SECONDS", 1.0)
    main = MainSession(url, "vestige-migrate 00000001", 0.5)
    try:
        # By the clock: no host is too fast for it.
        main.connection.execute(
            "DO $$ DECLARE the_end timestamptz := clock_timestamp() + '2500 ms';"
            " BEGIN WHILE clock_timestamp() < the_end LOOP END LOOP; END $$"
        )
    finally:
        main.close()
    (line, *_) = said
    assert "has been at work for" in line
    assert f"process {main.connection.server_pid}" in line
    assert "the_end" not in line


def test_an_answer_that_comes_while_the_server_is_asked_is_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that ends between the silence and the question left an idle session, which was given up."""
    asked = watched._state_of

    def asked_when_idle(connection: psycopg.Connection[Any], pid: int | None) -> SessionState | None:
        wait_until(
            lambda: (state := asked(connection, pid)) is not None and not state.is_at_work, "the statement's end"
        )
        return asked(connection, pid)

    monkeypatch.setattr(watched, "_state_of", asked_when_idle)
    main = MainSession(url, "vestige-migrate 00000001", 0.5)
    try:
        row = main.connection.execute("SELECT pg_sleep(1), 'here'").fetchone()
        assert row is not None
        assert row[1] == "here"
        assert main.connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        main.close()


def test_a_session_of_our_own_that_stands_still_is_not_another_run(
    url: str, said: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(session, "PATIENCE_SECONDS", 1.0)
    main = MainSession(url, "vestige-migrate 00000002", 1.0)
    schema.take_lock(main.connection)
    pid = main.connection.server_pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(psycopg.OperationalError, match="no answer for"):
            main.check()
        with pytest.raises(Stopped, match=rf"its own lost session, server process {pid} .*stands still") as stopped:
            main.recover()
        assert stopped.value.exit_code == 4
        assert "another run" not in str(stopped.value)
        assert any(f"server process {pid}" in line for line in said)
        # Anybody else is told who has the lock.
        source = build_source(tmp_path / "vestige.db", SPEC)
        with pytest.raises(DestinationBusy, match=rf'process {pid} \("vestige-migrate 00000002 coordinator", role'):
            Copier(url)(source)
    finally:
        os.kill(pid, signal.SIGCONT)
    main.recover()
    main.close()
    Copier(url)(source)


def test_who_has_the_lock_is_said_to_a_comparison_too(url: str, tmp_path: Path) -> None:
    source = build_source(tmp_path / "vestige.db", SPEC)
    Copier(url)(source)
    with psycopg.connect(url, autocommit=True, application_name="somebody's copy") as other:
        schema.take_lock(other)
        with pytest.raises(DestinationBusy, match=rf"process {other.info.backend_pid} \(\"somebody's copy\""):
            Verifier(url)(source)
