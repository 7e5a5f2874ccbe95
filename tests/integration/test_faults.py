"""Faults that are really injected: killed workers, Ctrl-C, two runs at once, a server that goes away."""

from __future__ import annotations

import json
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same
from tests.support.running import (
    RunningCopy,
    advisory_locks,
    blocked_pids,
    blocked_sessions,
    held_row,
    our_sessions,
    wait_until,
)
from tests.support.sources import SourceSpec, build_source, edit, node_id
from tests.support.table_counts import table_counts
from vestige_migrate import (
    DestinationBusy,
    DestinationUnusable,
    MigrationReport,
    ModelMismatch,
    ModelSignature,
    RangeFailed,
    SqliteToPostgresPlan,
    TooManyErrors,
    run_sqlite_to_postgres,
)


@pytest.fixture
def prepared(tmp_path: Path, copy: Copier) -> Path:
    """A source of 300 memories, and the destination's tables without any of them."""
    empty = build_source(tmp_path / "empty.db", SourceSpec(memories=0, schedules=0, edges=0, events=0))
    copy(empty)
    return build_source(tmp_path / "vestige.db", SourceSpec(memories=300, schedules=300))


def start(command: CommandLine, source: Path, url: str, *more: str) -> RunningCopy:
    arguments: tuple[str | Path, ...] = ("--sqlite-path", source, "--postgres-url", url, "--workers", "2", *more)
    return RunningCopy.start(*arguments, environment=command.environment())


def test_killed_workers_are_replaced_and_their_ranges_copied(
    prepared: Path, copy: Copier, command: CommandLine, tmp_path: Path
) -> None:
    report_file = tmp_path / "report.json"
    with held_row(copy.database, node_id(prepared, 10)):
        run = start(command, prepared, copy.database, "--report", str(report_file), "--batch-size", "20")
        run.wait_until(lambda: blocked_sessions(copy.database), "a worker in mid-range")
        killed = run.workers()
        for worker in killed:
            worker.send_signal(signal.SIGKILL)
    code, _, err = run.finish()
    assert code == 0, err
    assert "was killed by signal 9" in err
    report = json.loads(report_file.read_text())
    assert report["memories_copied"] == 300
    nodes = report["tables"]["knowledge_nodes"]
    assert nodes["source_rows"] == nodes["inserted"] + nodes["skipped"] + nodes["failed"] == 300
    assert_same(prepared, copy.database)


def test_a_range_that_fails_on_every_try_stops_the_run(prepared: Path, copy: Copier, command: CommandLine) -> None:
    with held_row(copy.database, node_id(prepared, 10)):
        run = start(command, prepared, copy.database, "--retries", "1")
        run.wait_until(lambda: blocked_sessions(copy.database), "a worker in mid-range")
        for worker in run.workers():
            worker.kill()
        code, _, err = run.finish()
    assert code == 4
    assert "run again to resume" in err
    assert "Traceback" not in err
    assert copy(prepared).memories_copied == 300
    assert_same(prepared, copy.database)


@pytest.mark.indexed
def test_a_row_that_kills_its_worker_is_found_and_named(
    prepared: Path, copy: Copier, command: CommandLine, tmp_path: Path
) -> None:
    """A single worker, so that the one that waits for the held row is the one that is killed."""
    source = build_source(tmp_path / "forty.db", SourceSpec(memories=40, schedules=40, edges=0, events=0))
    edit(source, ("UPDATE knowledge_nodes SET tags = 'x' WHERE rowid = 3", ()))
    report_file, killer = tmp_path / "report.json", node_id(source, 10)
    killed: set[int] = set()
    with held_row(copy.database, killer):
        run = start(command, source, copy.database, "--workers", "1", "--batch-size", "7", "--report", str(report_file))

        def kill_who_waits() -> bool:
            blocked = blocked_pids(copy.database) - killed
            if blocked:
                killed.update(blocked)
                run.workers()[-1].kill()
            return run.process.poll() is not None

        wait_until(kill_who_waits, "the run to end")
        code, _, err = run.finish()
    assert code == 1, err
    assert "looking for the row that does it" in err
    report = json.loads(report_file.read_text())
    assert report["tables"]["knowledge_nodes"] == table_counts(source_rows=40, inserted=39, failed=1)
    assert report["tables"]["scheduling"]["failed"] == 1
    found = [(item["table"], item["id"], item["outcome"]) for item in report["errors"]]
    assert sorted(found) == sorted([
        ("knowledge_nodes", node_id(source, 3), "copied_without_value"),
        ("knowledge_nodes", killer, "not_copied"),
        ("scheduling", killer, "not_copied"),
    ])  # fmt: skip
    assert "was killed by signal 9 whenever it copied this row (rowid 10)" in err
    assert len(killed) == 3 + 6 + 2  # the range; its parts of 40, 20, 10, 5, 3 and 2 rows, once each but the first
    assert copy(source).memories_copied == 40


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_nothing_behind(
    prepared: Path, copy: Copier, command: CommandLine, how: signal.Signals
) -> None:
    with held_row(copy.database, node_id(prepared, 10)):
        run = start(command, prepared, copy.database)
        run.wait_until(lambda: blocked_sessions(copy.database), "a worker in mid-range")
        below = run.descendants()
        if how is signal.SIGINT:
            run.interrupt()
        else:
            run.process.send_signal(how)
        code, _, err = run.finish()
        assert code == 130, err
        assert our_sessions(copy.database) == 0
        assert advisory_locks(copy.database) == 0
    assert "running the same command again resumes" in err
    assert "Traceback" not in err
    wait_until(lambda: not any(process.is_running() for process in below), "our processes to end")
    assert copy(prepared).memories_copied == 300
    assert_same(prepared, copy.database)


def test_the_workers_of_a_killed_coordinator_end(prepared: Path, copy: Copier, command: CommandLine) -> None:
    with held_row(copy.database, node_id(prepared, 10)):
        run = start(command, prepared, copy.database)
        run.wait_until(lambda: blocked_sessions(copy.database), "a worker in mid-range")
        below = run.descendants()
        run.process.kill()
        run.finish()
    wait_until(lambda: not any(process.is_running() for process in below), "the workers to end")
    wait_until(lambda: our_sessions(copy.database) == 0, "their sessions to end")
    assert copy(prepared).memories_copied == 300
    assert_same(prepared, copy.database)


def test_a_second_run_at_once_is_told_so(prepared: Path, copy: Copier, command: CommandLine) -> None:
    with held_row(copy.database, node_id(prepared, 10)):
        first = start(command, prepared, copy.database)
        first.wait_until(lambda: blocked_sessions(copy.database), "the first run in mid-range")
        with pytest.raises(DestinationBusy, match="another run"):
            copy(prepared)
    code, _, err = first.finish()
    assert code == 0, err
    assert_same(prepared, copy.database)


@pytest.mark.parametrize("refused", [False, True])
def test_the_lock_is_free_when_a_run_returns(
    prepared: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    """A busy server sees that a connection is closed only a while later; here it never does."""
    left_open: list[psycopg.Connection[Any]] = []
    close = psycopg.Connection.close
    monkeypatch.setattr(psycopg.Connection, "close", lambda self: left_open.append(self))
    try:
        with pytest.raises(ModelMismatch) if refused else nullcontext():
            run_sqlite_to_postgres(
                SqliteToPostgresPlan(prepared, copy.database, workers=1),
                ModelSignature("another", 9) if refused else None,
            )
        assert left_open
        assert advisory_locks(copy.database) == 0
    finally:
        for connection in left_open:
            close(connection)


def test_ended_sessions_are_tried_again(prepared: Path, copy: Copier, command: CommandLine) -> None:
    with held_row(copy.database, node_id(prepared, 10)):
        run = start(command, prepared, copy.database, "--batch-size", "20")
        run.wait_until(lambda: blocked_sessions(copy.database), "a worker in mid-range")
        with psycopg.connect(copy.database, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name LIKE 'vestige-migrate % worker'"
            )
    code, _, err = run.finish()
    assert code == 0, err
    assert "try 2 of 5" in err
    assert_same(prepared, copy.database)


def test_too_many_errors_stop_the_run_with_a_report(
    prepared: Path, copy: Copier, command: CommandLine, tmp_path: Path
) -> None:
    edit(prepared, ("UPDATE knowledge_nodes SET tags = 'x' WHERE rowid <= 20", ()))
    with pytest.raises(TooManyErrors, match="--max-errors 5"):
        copy(prepared, max_errors=5)
    report_file = tmp_path / "report.json"
    arguments = ("copy", "--sqlite-path", prepared, "--postgres-url", copy.database, "--max-errors", "3")
    done = command(*arguments, "--report", report_file)
    # The first run already stored most of the bad rows; what is left of them decides between a stop and an end.
    assert done.returncode in (0, 1, 4)
    assert json.loads(report_file.read_text())["complete"] is (done.returncode != 4)
    assert copy(prepared, max_errors=20).memories_copied == 300


def test_a_permanent_fault_is_not_tried_again(prepared: Path, copy: Copier) -> None:
    with psycopg.connect(copy.database, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '42501'; END $$"
        )
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON knowledge_nodes FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    with pytest.raises(RangeFailed, match="insufficient privilege"):
        copy(prepared)


def test_a_destination_that_someone_altered_is_refused_with_the_difference(prepared: Path, copy: Copier) -> None:
    with psycopg.connect(copy.database, autocommit=True) as connection:
        connection.execute("ALTER TABLE edges DROP COLUMN weight")
        connection.execute("ALTER TABLE scheduling ALTER COLUMN reps TYPE bigint")
    with pytest.raises(
        DestinationUnusable, match=r"scheduling\.reps is int8 instead of int4; edges\.weight is missing"
    ):
        copy(prepared)


@pytest.mark.indexed
def test_an_index_left_invalid_is_built_again(plain_source: Path, copy: Copier) -> None:
    copy(plain_source)
    with psycopg.connect(copy.database, autocommit=True) as connection:
        connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_knowledge_nodes_tags'::regclass"
        )
        connection.execute("DROP INDEX idx_knowledge_nodes_embedding_hnsw")
    copy(plain_source)
    with psycopg.connect(copy.database) as connection:
        rows = connection.execute("SELECT indisvalid FROM pg_index WHERE NOT indisvalid").fetchall()
        hnsw = connection.execute("SELECT to_regclass('idx_knowledge_nodes_embedding_hnsw')").fetchone()
    assert rows == []
    assert hnsw != (None,)


def test_a_name_of_an_index_that_something_else_has_is_refused(plain_source: Path, copy: Copier) -> None:
    with psycopg.connect(copy.database, autocommit=True) as connection:
        connection.execute("CREATE TABLE idx_edges_target_id (x int)")
    with pytest.raises(DestinationUnusable, match="idx_edges_target_id"):
        copy(plain_source)
    with psycopg.connect(copy.database) as connection:
        assert connection.execute("SELECT to_regclass('knowledge_nodes')").fetchone() == (None,)


def test_more_workers_than_the_server_has_connections_for_are_refused(source: Path, copy: Copier) -> None:
    with pytest.raises(DestinationUnusable, match=r"--workers 256 .* lower them"):
        copy(source, workers=256)
    with psycopg.connect(copy.database) as connection:
        assert connection.execute("SELECT to_regclass('knowledge_nodes')").fetchone() == (None,)


def test_errors_said_before_a_stop_are_reported_though_the_run_stops(source: Path, copy: Copier) -> None:
    """Rows that were committed without a value are found there by the next run: only this one can name them."""
    edit(source, ("UPDATE knowledge_nodes SET tags = 'x'", ()))
    with pytest.raises(TooManyErrors) as stopped:
        copy(source, max_errors=3, batch_size=5)
    report = stopped.value.report
    assert isinstance(report, MigrationReport)
    named = {error.id for error in report.errors}
    with psycopg.connect(copy.database) as connection:
        stored = {str(id_) for (id_,) in connection.execute("SELECT id FROM knowledge_nodes").fetchall()}
    assert stored <= named
    assert len(named) > 3
