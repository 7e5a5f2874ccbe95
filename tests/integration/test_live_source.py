"""A source that another program writes to while it is copied, and what becomes of snapshots."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same
from tests.support.databases import run
from tests.support.live_writer import BUSY_TIMEOUT_SECONDS, live_writer, memory_id, write_one
from tests.support.running import RunningCopy, blocked_sessions, held_row, wait_until
from tests.support.sources import SourceSpec, build_source, edit, node_id
from vestige_migrate import (
    Indexes,
    MigrationReport,
    OnConflict,
    Progress,
    SourceUnusable,
    SqliteToPostgresPlan,
    run_sqlite_to_postgres,
)
from vestige_migrate.copy.late_memories import MOST_ROUNDS
from vestige_migrate.source.file import private_copies as private


@pytest.fixture
def alive(tmp_path: Path) -> Path:
    """A source in WAL mode of 2,000 memories, 2,000 schedules and no edges."""
    path = build_source(tmp_path / "vestige.db", SourceSpec(memories=2000, schedules=2000, edges=0, events=0))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    return path


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])


def test_a_source_that_is_written_to_is_copied_and_the_next_run_brings_the_rest(
    alive: Path, copy: Copier, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    with live_writer(alive, state):
        wait_until(lambda: count(alive, "edges") > 20, "the writer to write")
        report = copy(alive, batch_size=50)
    writer = json.loads(state.read_text())
    assert writer["failure"] == ""
    assert writer["longest_seconds"] < BUSY_TIMEOUT_SECONDS
    assert report.source_changed
    assert report.complete
    # Nothing but what was added during the last round can be missing.
    assert (report.errors, report.exit_code) == ([], 0)
    assert {row.table for row in report.still_open} <= {"edges", "scheduling"}
    assert sum(table.failed for table in report.tables.values()) == len(report.still_open)
    again = copy(alive, on_conflict=OnConflict.NEWER)
    assert again.errors == []
    assert not again.source_changed
    assert_same(alive, copy.database)


def write_when(path: Path, begins: str, most: int, plan: SqliteToPostgresPlan) -> MigrationReport:
    """A copy during which a memory with its schedule and an edge is written whenever all memories have been read."""
    written = 0
    memories_are_in = False

    def on_progress(progress: Progress) -> None:
        nonlocal written, memories_are_in
        if progress.table == begins and memories_are_in and written < most:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                write_one(connection, written)
            written += 1
        memories_are_in = progress.table == "knowledge_nodes" and progress.done >= progress.total

    return run_sqlite_to_postgres(plan, on_progress=on_progress)


@pytest.mark.parametrize("indexes", [Indexes.NONE, Indexes.NOW])
def test_what_refers_to_a_memory_that_came_late_comes_with_it_in_the_same_run(
    source: Path, copy: Copier, indexes: Indexes
) -> None:
    """And what refers to none is an error, as ever."""
    edit(
        source,
        ("INSERT INTO edges (source_id, target_id, weight, created_at) VALUES (?, ?, 0.5, '2026-01-01T00:00:00Z')",
         (node_id(source, 1), memory_id(99))),
    )  # fmt: skip
    plan = SqliteToPostgresPlan(source, copy.database, workers=1, indexes=indexes)
    report = write_when(source, "scheduling", 2, plan)
    assert report.source_changed
    assert [(error.table, error.column) for error in report.errors] == [("edges", "target_id")]
    assert (report.exit_code, report.still_open) == (1, [])
    assert report.tables["edges"].failed == 1
    edit(source, ("DELETE FROM edges WHERE target_id = ?", (memory_id(99),)))
    copy(source, on_conflict=OnConflict.NEWER)
    assert_same(source, copy.database)


def test_what_belongs_to_a_memory_that_is_refused_waits_for_nothing(source: Path, copy: Copier) -> None:
    """And costs no further round: none would bring it."""
    refused = node_id(source, 1)
    edit(
        source,
        ("UPDATE knowledge_nodes SET visibility = 'hidden' WHERE id = ?", (refused,)),
        ("DELETE FROM edges", ()),
        ("DELETE FROM review_events", ()),
    )
    begun = []

    def on_progress(progress: Progress) -> None:
        if progress.table == "scheduling" and progress.done == 0:
            begun.append(progress)
            edit(source, ("UPDATE knowledge_nodes SET content = content || '.' WHERE rowid = 9", ()))

    plan = SqliteToPostgresPlan(source, copy.database, workers=1, indexes=Indexes.NONE)
    report = run_sqlite_to_postgres(plan, on_progress=on_progress)
    assert report.source_changed
    assert report.still_open == []
    assert [(error.table, error.id) for error in report.errors] == [
        ("knowledge_nodes", refused), ("scheduling", refused),
    ]  # fmt: skip
    assert len(begun) == 1


@pytest.mark.parametrize("table", ["edges", "scheduling", "knowledge_nodes"])
def test_what_waits_is_named_once_where_the_destination_has_triggers(source: Path, copy: Copier, table: str) -> None:
    copy(build_source(source.parent / "empty.db", SourceSpec(memories=0, schedules=0, edges=0, events=0)))
    run(copy.database, "CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$")
    run(copy.database, f"CREATE TRIGGER pass BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION pass()")
    plan = SqliteToPostgresPlan(source, copy.database, workers=1, indexes=Indexes.NONE)
    report = write_when(source, "scheduling", 100, plan)
    # The memory itself is none that a trigger took out again.
    assert (report.errors, report.exit_code) == ([], 0)
    assert sorted(row.table for row in report.still_open) == ["edges", "knowledge_nodes", "scheduling"]
    assert [report.tables[name].failed for name in ("scheduling", "edges")] == [1, 1]


def test_what_came_during_the_last_round_waits_for_the_next_run_and_is_no_error(
    source: Path, tmp_path: Path, copy: Copier
) -> None:
    plan = SqliteToPostgresPlan(source, copy.database, workers=1, indexes=Indexes.NONE)
    report = write_when(source, "scheduling", 100, plan)
    number = MOST_ROUNDS
    assert (report.errors, report.exit_code, report.source_changed) == ([], 0, True)
    expected = [
        ("edges", f"{memory_id(number)} -> {memory_id(number - 1)}", "source_changed"),
        ("scheduling", memory_id(number), "source_changed"),
    ]
    assert sorted((row.table, row.id, str(row.outcome)) for row in report.still_open) == expected
    assert [entry["id"] for entry in report.as_json()["still_open"]] == [row.id for row in report.still_open]
    assert [report.tables[name].failed for name in ("scheduling", "edges", "knowledge_nodes")] == [1, 1, 0]
    again = copy(source, on_conflict=OnConflict.NEWER)
    assert (again.errors, again.still_open, again.source_changed) == ([], [], False)
    assert_same(source, copy.database)


def test_a_snapshot_of_a_source_that_is_written_to_is_one_moment(
    alive: Path, copy: Copier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "snapshots"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with live_writer(alive, tmp_path / "state.json"):
        wait_until(lambda: count(alive, "edges") > 20, "the writer to write")
        before = count(alive, "edges")
        report = copy(alive, snapshot=True, batch_size=50)
        after = count(alive, "edges")
    assert report.errors == []
    assert not report.source_changed
    tables = report.tables
    live = tables["edges"].source_rows
    assert before <= live <= after
    assert tables["knowledge_nodes"].source_rows == tables["scheduling"].source_rows == 2000 + live + 1
    with psycopg.connect(copy.database) as connection:
        last = connection.execute("SELECT count(*) FROM edges WHERE source_id = %s", (memory_id(live),)).fetchone()
    assert last == (1,)
    assert list(folder.iterdir()) == []


def start(command: CommandLine, source: Path, url: str, folder: Path) -> RunningCopy:
    arguments = ("--sqlite-path", str(source), "--postgres-url", url, "--workers", "2", "--snapshot", "--no-progress")
    return RunningCopy.start(*arguments, environment=command.environment(TMPDIR=str(folder)))


@pytest.fixture
def snapshots(tmp_path: Path) -> Path:
    folder = tmp_path / "snapshots"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_snapshot_goes_with_its_run_or_with_the_next(
    source: Path, copy: Copier, command: CommandLine, tmp_path: Path, snapshots: Path, how: signal.Signals
) -> None:
    copy(build_source(tmp_path / "empty.db", SourceSpec(memories=0, schedules=0, edges=0, events=0)))

    def kept() -> list[Path]:
        return list(snapshots.glob(f"{private.PREFIX}*"))

    with held_row(copy.database, node_id(source, 5)):
        run = start(command, source, copy.database, snapshots)
        run.wait_until(lambda: blocked_sessions(copy.database), "a worker in mid-range")
        assert len(kept()) == 1
        assert kept()[0].stat().st_mode & 0o777 == 0o700
        private_ones = kept()
        other = command(
            "copy", "--sqlite-path", source, "--postgres-url", copy.database, "--snapshot", TMPDIR=str(snapshots)
        )
        assert "another run" in other.stderr
        assert kept() == private_ones, "a run that is alive keeps its snapshot"
        run.process.send_signal(how)
        run.finish()
    assert len(kept()) == (1 if how is signal.SIGKILL else 0)
    # The workers of a killed run end with it; their sessions are seen off by the server.
    done = command(
        "copy", "--sqlite-path", source, "--postgres-url", copy.database, "--snapshot", TMPDIR=str(snapshots)
    )
    assert done.returncode == 0, done.stderr
    assert ("an earlier run left behind" in done.stderr) == (how is signal.SIGKILL)
    assert kept() == []
    assert_same(source, copy.database)


def test_a_folder_of_temporary_files_with_a_long_path_will_do(
    source: Path, copy: Copier, command: CommandLine, tmp_path: Path
) -> None:
    """The path of a socket is 107 bytes at most, and a worker needs one."""
    folder = tmp_path / ("long-" * 20)
    folder.mkdir()
    done = command("copy", "--sqlite-path", source, "--postgres-url", copy.database, TMPDIR=str(folder))
    assert done.returncode == 0, done.stderr
    assert_same(source, copy.database)
    assert list(folder.iterdir()) == []


def test_a_folder_of_somebody_else_and_a_link_stay(snapshots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(snapshots))
    theirs = snapshots / f"{private.PREFIX}theirs"
    theirs.mkdir()
    os.chown(theirs, os.geteuid() + 1, -1) if os.geteuid() == 0 else theirs.chmod(0o700)
    os.utime(theirs, (0, 0))
    link = snapshots / f"{private.PREFIX}link"
    link.symlink_to(snapshots)
    young = snapshots / f"{private.PREFIX}young"
    young.mkdir()
    private.remove_leftovers()
    expected = {link, young} | ({theirs} if os.geteuid() == 0 else set())
    assert set(snapshots.iterdir()) == expected


def test_a_snapshot_that_does_not_fit_is_refused_with_both_sizes(
    source: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 1024))
    with pytest.raises(SourceUnusable, match=r"needs 1 MiB in .*, and 0 MiB are free there.*TMPDIR"):
        copy(source, snapshot=True)
