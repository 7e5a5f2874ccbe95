"""`copy --follow`: whatever happens in the source arrives while it goes on, and its end is a usual one."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CommandLine
from tests.support.compare import assert_same
from tests.support.damage import damage, pages_of
from tests.support.databases import run
from tests.support.living_file import LivingFile
from tests.support.living_writer import live
from tests.support.own_server import OwnServer, fresh_server
from tests.support.running import RunningCopy, blocked_sessions, held_row, wait_until
from tests.support.sources import SourceSpec, build_source, edit, node_id
from tests.support.triggers import add_trigger
from tests.support.verifying import Verifier
from vestige_migrate import (
    Indexes,
    MigrationReport,
    SqliteToPostgresPlan,
    run_several_to_postgres,
    run_sqlite_to_postgres,
)
from vestige_migrate.copy.follow import follower
from vestige_migrate.errors import PlanError, SourceReplaced, SourceUnusable, Stopped
from vestige_migrate.report.rows import Outcome

FORMS = {
    "plain": SourceSpec(memories=60, schedules=60, edges=20, events=20, dimension=8),
    "vestige": SourceSpec(form="vestige", memories=60, edges=20, events=20, dimension=8),
    "released": SourceSpec(line="released", version=35, form="vestige", memories=60, edges=20, dimension=8),
}
PLAIN = FORMS["plain"]
INTO = (
    "INSERT INTO knowledge_nodes (id, content, node_type, created_at, updated_at)"
    " VALUES (?, 'new', 'fact', '2031-01-01', '2031-01-01')"
)


class Followed:
    """A library call that follows, in a thread."""

    def __init__(self, path: Path, url: str, **options: Any) -> None:
        usual: dict[str, Any] = {
            "workers": 1, "indexes": Indexes.NONE, "on_conflict": "newer", "deletions": "apply", "follow": True,
            "until_idle": 1.5,
        }  # fmt: skip
        self.plan = SqliteToPostgresPlan(path, url, **{**usual, **options})
        self.began = threading.Event()
        self._report: MigrationReport | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self._report = run_sqlite_to_postgres(self.plan, on_progress=self._look)
        except BaseException as error:  # the test raises it
            self._error = error

    def _look(self, progress: Any) -> None:
        if progress.table == "following":
            self.began.set()

    def __enter__(self) -> Followed:
        self._thread.start()
        wait_until(lambda: self.began.is_set() or not self._thread.is_alive(), "the first pass to end")
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(30)

    def end(self) -> MigrationReport:
        """Its report, when the source has been left alone for long enough. Raises what it raised."""
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
        assert self._report is not None
        return self._report


@pytest.mark.parametrize("form", FORMS)
def test_what_a_living_source_does_arrives(form: str, database: str, tmp_path: Path) -> None:
    file = LivingFile(tmp_path / "vestige.db", FORMS[form])
    with Followed(file.path, database) as followed:
        live(file, 200, 80, seed=3)
        report = followed.end()
    assert_same(file.path, database)
    assert Verifier(database)(file.path).same
    assert (report.errors, report.kept, report.still_open, report.source_changed) == ([], [], [], False)
    first, *between, last = report.passes
    assert (first.whole, last.whole, first.inserted > 60) == (True, True, True)
    assert between
    assert not any(done.whole for done in between)
    # The last one goes through every row, and finds nothing left to do.
    assert not last.did_anything
    assert sum(done.inserted for done in between) > 0 < sum(done.updated for done in between)
    assert report.deletions is not None
    assert sum(done.deleted for done in report.passes) == report.deletions.rows_deleted > 0
    entries = report.as_json()["passes"]
    assert len(entries) == len(report.passes)
    assert set(entries[0]) == {
        "started_at", "seconds", "behind_seconds", "whole", "changed", "inserted", "updated", "deleted", "kept",
        "failed",
    }  # fmt: skip


def test_only_what_changed_is_brought(database: str, tmp_path: Path) -> None:
    path = build_source(tmp_path / "vestige.db", PLAIN)
    with Followed(path, database) as followed:
        edit(path, ("UPDATE domains SET label = 'other' WHERE rowid = 1", ()))
        report = followed.end()
    _, one, _ = report.passes
    assert (one.changed, one.updated, one.inserted) == (1, 1, 0)


def test_a_file_is_known_though_its_memories_go_one_after_the_other(database: str, tmp_path: Path) -> None:
    file = LivingFile(tmp_path / "vestige.db", PLAIN)
    before = file.memories()
    with Followed(file.path, database) as followed:
        for some in (before[:25], before[25:50]):
            for id_ in some:
                file.remember(before[-1])
                file.take_away(id_, tombstone=True)
            wait_until(lambda: not run(database, "SELECT 1 FROM knowledge_nodes WHERE id = %s", some[-1]), "a pass")  # noqa: B023
        report = followed.end()
    assert_same(file.path, database)
    assert report.errors == []


def test_of_many_passes_the_oldest_are_added_up(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "MOST_PASSES", 3)
    monkeypatch.setattr(follower, "LEAST_PAUSE_SECONDS", 0.0)
    path = build_source(tmp_path / "vestige.db", PLAIN)
    with Followed(path, database) as followed:
        for number in range(4):
            edit(path, ("UPDATE domains SET label = ? WHERE rowid = 1", (str(number),)))
            wait_until(lambda: str(number) in labels(database), "a pass")  # noqa: B023
        report = followed.end()
    first, joined, last = report.passes
    assert (first.whole, joined.whole, last.whole) == (True, False, True)
    assert (joined.updated, joined.changed) == (4, 4)


def test_a_trigger_that_comes_meanwhile_makes_nothing_the_copys(database: str, tmp_path: Path) -> None:
    path = build_source(tmp_path / "vestige.db", PLAIN)
    with Followed(path, database) as followed:
        run(database, "UPDATE domains SET label = 'here'")
        add_trigger(
            database, "IF pg_trigger_depth() = 1 THEN UPDATE domains SET memory_count = 77 WHERE id <> NEW.id; END IF;"
            " RETURN NEW;", "domains", when="AFTER INSERT",
        )  # fmt: skip
        edit(path, ("INSERT INTO domains (id, label, created_at) VALUES ('new', 'new', '2026-01-01')", ()))
        wait_until(lambda: "new" in labels(database), "the pass")
        edit(path, ("UPDATE domains SET label = 'there' WHERE id <> 'new'", ()))
        report = followed.end()
    assert labels(database) == {"here", "new"}
    assert {row.table for row in report.kept} == {"domains"}


# Errors.


def test_an_error_stands_for_as_long_as_its_row_is_not_whole(database: str, tmp_path: Path) -> None:
    path = build_source(tmp_path / "vestige.db", PLAIN)
    mended, taken_away, later, stays = (node_id(path, row) for row in (3, 4, 5, 6))
    for id_ in (mended, taken_away, stays):
        edit(path, ("UPDATE knowledge_nodes SET tags = 'not JSON' WHERE id = ?", (id_,)))
    edit(path, ("UPDATE knowledge_nodes SET tags = '[\"whole\"]' WHERE id = ?", (later,)))
    with Followed(path, database) as followed:
        edit(path, ("UPDATE knowledge_nodes SET tags = '[\"mended\"]' WHERE id = ?", (mended,)))
        edit(path, *((f"DELETE FROM {table} WHERE {key} = ?", (taken_away,)) for table, key in OF_MEMORY))
        edit(path, ("UPDATE knowledge_nodes SET tags = 'no JSON either' WHERE id = ?", (later,)))
        report = followed.end()
    # The one that was copied whole first is not taken a value from: it is kept.
    assert {error.id for error in report.errors} == {stays}
    assert {row.id for row in report.kept} == {later}
    assert report.exit_code == 1
    assert run(database, "SELECT key FROM vestige_run_error") == [(stays,)]
    assert run(database, "SELECT tags FROM knowledge_nodes WHERE id = %s", mended) == [(["mended"],)]


OF_MEMORY = (("review_events", "memory_id"), ("scheduling", "memory_id"), ("edges", "source_id"),
             ("edges", "target_id"), ("knowledge_nodes", "id"))  # fmt: skip


def test_a_row_that_waited_for_its_memory_comes_with_it(database: str, tmp_path: Path) -> None:
    path = build_source(tmp_path / "vestige.db", PLAIN)
    nobody = "0b0b0b0b-0000-4000-8000-000000000000"
    edit(path, ("INSERT INTO scheduling (memory_id, stability) VALUES (?, 2.5)", (nobody,)))
    with Followed(path, database) as followed:
        assert run(database, "SELECT outcome FROM vestige_run_error") == [(str(Outcome.NOT_COPIED),)]
        edit(path, (INTO, (nobody,)))
        wait_until(lambda: run(database, "SELECT 1 FROM scheduling WHERE memory_id = %s", nobody), "the schedule")
        report = followed.end()
    assert (report.errors, run(database, "SELECT key FROM vestige_run_error")) == ([], [])


# Its end.


def test_ctrl_c_between_two_passes_is_a_usual_end(database: str, tmp_path: Path, process: CommandLine) -> None:
    path = build_source(tmp_path / "vestige.db", PLAIN)
    report = tmp_path / "report.json"
    with started(process, path, database, "--report", str(report)) as running:
        edit(path, ("UPDATE domains SET label = 'followed'", ()))
        running.wait_until(lambda: labels(database) == {"followed"}, "the change to come over")
        running.interrupt()
        code, out, err = running.finish()
    assert (code, "Traceback" in err) == (0, False)
    assert "To cut over, stop Vestige, run this once more with --until-idle 2, and then vestige migrate verify" in out
    found = json.loads(report.read_text())
    assert found["complete"] is True
    assert [entry["whole"] for entry in found["passes"]] == [True, *[False] * (len(found["passes"]) - 1)]
    assert_same(path, database)


@pytest.mark.parametrize("again", [False, True])
def test_ctrl_c_within_a_pass_lets_it_end(again: bool, database: str, tmp_path: Path, process: CommandLine) -> None:
    path = build_source(tmp_path / "vestige.db", PLAIN)
    new = "0e0e0e0e-0000-4000-8000-000000000000"
    with started(process, path, database) as running:
        with held_row(database, new):
            edit(path, (INTO, (new,)))
            running.wait_until(lambda: blocked_sessions(database), "the pass to wait")
            running.process.send_signal(signal.SIGINT)
            if again:
                time.sleep(0.2)
                running.process.send_signal(signal.SIGINT)
                code, _, err = running.finish()
                assert (code, "Traceback" in err, "interrupted" in err) == (130, False, True)
                return
        code, _, _ = running.finish()
    assert code == 0
    assert run(database, "SELECT content FROM knowledge_nodes WHERE id = %s", new) == [("new",)]


@contextmanager
def started(process: CommandLine, path: Path, url: str, *more: str) -> Iterator[RunningCopy]:
    """A command that follows, when it has ended its first pass."""
    log = path.with_name("follow.log")
    running = RunningCopy.start(
        "--sqlite-path", path, "--postgres-url", url, "--follow", "--workers", "1", "--indexes", "none",
        "--log-file", log, *more, environment=process.environment(),
    )  # fmt: skip
    running.wait_until(lambda: log.exists() and "every change is brought" in log.read_text(), "the first pass to end")
    yield running


def labels(database: str) -> set[str]:
    return {label for (label,) in run(database, "SELECT label FROM domains")}


# Faults.


@pytest.fixture(scope="module")
def own() -> Iterator[OwnServer]:
    with fresh_server() as server:
        yield server


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_is_started_again_costs_nothing(
    mode: str, own: OwnServer, tmp_path: Path, process: CommandLine
) -> None:
    url = own.database()
    file = LivingFile(tmp_path / "vestige.db", PLAIN)
    with started(process, file.path, url, "--until-idle", "2", "--deletions", "apply") as running:
        live(file, 60, 100, seed=5)
        own.stop(mode)
        live(file, 60, 100, seed=6)
        own.start()
        live(file, 60, 100, seed=7)
        code, _, err = running.finish()
    assert code == 0, err
    assert_same(file.path, url)


def test_a_worker_that_is_killed_in_a_pass_costs_nothing(database: str, tmp_path: Path, process: CommandLine) -> None:
    file = LivingFile(tmp_path / "vestige.db", PLAIN)
    with started(process, file.path, database, "--until-idle", "2", "--deletions", "apply") as running:
        id_, new = file.memories()[0], "0e0e0e0e-0000-4000-8000-000000000000"
        with held_row(database, new):
            edit(file.path, (INTO, (new,)))
            running.wait_until(lambda: blocked_sessions(database), "the pass to wait")
            for worker in running.worker_pids():
                os.kill(worker, signal.SIGKILL)
        file.recall(id_)
        code, _, err = running.finish()
    assert code == 0, err
    assert_same(file.path, database)


# What cannot be followed.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_conflict": "skip"}, "give --on-conflict newer"),
        ({"dry_run": True}, "--follow and --dry-run exclude each other"),
        ({"snapshot": True}, "--follow and --snapshot exclude"),
        ({"archive": True}, "--follow and --archive exclude"),
        ({"verify": True}, "--follow and --verify exclude"),
        ({"restore_forgotten": True}, "--follow and --restore-forgotten exclude"),
        ({"scope": "x", "deletions": None}, "--follow and --scope exclude"),
        ({"follow": False}, "--until-idle says when --follow ends"),
        ({"until_idle": 0.5}, "--until-idle is 0.5"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        Followed(Path("x.db"), "host=nowhere", **options)


def test_several_files_are_refused() -> None:
    plans = [Followed(Path(name), "host=nowhere").plan for name in ("a.db", "b.db")]
    with pytest.raises(PlanError, match="--follow takes one --sqlite-path"):
        run_several_to_postgres(plans)


CHANGES: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "moved": (lambda path: path.rename(path.with_name("moved.db")), SourceReplaced, "was moved, deleted or replaced"),
    "another model": (
        lambda path: edit(path, ("UPDATE embedding_model SET name = 'other'", ())),
        Stopped,
        "its embedding model changed",
    ),
    "another table": (
        lambda path: edit(path, ("ALTER TABLE domains RENAME COLUMN label TO name", ())),
        Stopped,
        "the tables of .* changed",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_source_that_is_not_what_it_was_ends_it(change: str, database: str, tmp_path: Path) -> None:
    path = build_source(tmp_path / "vestige.db", PLAIN)
    make, error, message = CHANGES[change]
    with Followed(path, database, until_idle=None) as followed:
        make(path)
        with pytest.raises(error, match=message):
            followed.end()


def test_a_file_that_is_read_from_a_private_copy_is_refused(database: str, tmp_path: Path) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(memories=400, schedules=400, edges=50, events=50))
    damage(path, pages_of(path, "knowledge_nodes")[1])
    with pytest.raises(SourceUnusable, match="its rows are read from a private copy"):
        run_sqlite_to_postgres(Followed(path, database).plan)
    assert run(database, "SELECT to_regclass('knowledge_nodes')") == [(None,)]
