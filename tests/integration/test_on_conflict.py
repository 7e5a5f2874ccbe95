"""`--on-conflict`: what becomes of rows that the destination has already."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same, stored
from tests.support.databases import lose, run
from tests.support.running import RunningCopy, blocked_sessions
from tests.support.sources import SourceSpec, build_source, edit, node_id
from tests.support.table_counts import table_counts
from vestige_migrate import MigrationReport, OnConflict, PlanError, SqliteToPostgresPlan, run_several_to_postgres

pytestmark = pytest.mark.in_process

LATER = "2030-01-01T00:00:00.123456789+00:00"
BETWEEN = "2035-01-01T00:00:00Z"
LATEST = "2040-01-01T00:00:00Z"


def change_memories(path: Path, rows: str = "rowid <= 5", at: str = LATER) -> None:
    """New content, tags, vector and schedule, and a later `updated_at`."""
    edit(
        path,
        (
            "UPDATE knowledge_nodes SET content = 'changed ' || id, tags = '[\"changed\"]', updated_at = ?,"
            f" embedding = (SELECT embedding FROM knowledge_nodes WHERE rowid = 9) WHERE {rows}",
            (at,),
        ),
        (
            "UPDATE scheduling SET stability = 77.5, reps = 99, next_review = ? WHERE memory_id IN"
            f" (SELECT id FROM knowledge_nodes WHERE {rows})",
            (at,),
        ),
    )


def counts(report: MigrationReport, table: str) -> tuple[int, int, int, int]:
    """(inserted, updated, skipped, failed), which add up."""
    found = report.tables[table]
    assert found.source_rows == found.inserted + found.updated + found.skipped + found.failed
    return found.inserted, found.updated, found.skipped, found.failed


def test_skip_is_the_default_and_leaves_what_is_there(source: Path, copy: Copier) -> None:
    copy(source)
    before = stored(copy.database)
    change_memories(source)
    edit(source, ("UPDATE edges SET weight = weight / 2", ()))
    report = copy(source)
    assert counts(report, "knowledge_nodes") == (0, 0, 40, 0)
    assert stored(copy.database) == before
    assert report.as_json()["memories_updated"] == 0


@pytest.mark.old_server
def test_newer_replaces_memories_with_their_schedules_and_takes_the_weights(source: Path, copy: Copier) -> None:
    copy(source)
    change_memories(source)
    edit(source, ("UPDATE edges SET weight = weight / 2 WHERE rowid <= 3", ()))
    edit(source, ("DELETE FROM review_events WHERE rowid > 6", ()))
    report = copy(source, on_conflict="newer", workers=2)
    assert counts(report, "knowledge_nodes") == (0, 5, 35, 0)
    assert counts(report, "scheduling") == (0, 5, 35, 0)
    assert counts(report, "edges") == (0, 3, 7, 0)
    assert counts(report, "review_events") == (0, 0, 6, 0)
    assert report.errors == []
    assert (report.memories_copied, report.memories_updated, report.scheduling_rows, report.edges_copied) == (
        40, 5, 40, 10,
    )  # fmt: skip
    assert len(stored(copy.database)["review_events"]) == 10
    run(copy.database, "DELETE FROM review_events WHERE id <> ALL(%s::uuid[])", ids(source, "review_events"))
    assert_same(source, copy.database)


def ids(path: Path, table: str) -> list[str]:
    return [node_id(path, rowid, table) for rowid in range(1, 7)]


def test_new_rows_come_beside_the_changed_ones_and_a_second_run_updates_nothing(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(memories=700, schedules=700, edges=200, events=20))
    copy(path)
    lose(copy.database, "DELETE FROM knowledge_nodes WHERE id = ANY(%s::uuid[])", [node_id(path, n) for n in (8, 600)])
    change_memories(path, "rowid % 3 = 0")
    edit(path, ("UPDATE edges SET weight = 0.125 WHERE rowid % 2 = 0", ()))
    report = copy(path, on_conflict="newer", batch_size=40, workers=2)
    inserted, updated, skipped, failed = counts(report, "knowledge_nodes")
    assert (inserted + updated, skipped, failed) == (234, 466, 0)
    assert inserted == 2
    assert counts(report, "scheduling")[:2] == (inserted, updated)
    assert report.errors == []
    assert_same(path, copy.database)
    before = row_versions(copy.database)
    second = copy(path, on_conflict="newer")
    assert [counts(second, table)[:2] for table in second.tables] == [(0, 0)] * 8
    assert second.memories_updated == 0
    assert row_versions(copy.database) == before


def row_versions(url: str) -> list[Any]:
    """Where each row is stored: an UPDATE that changes no value moves its row all the same."""
    return [
        run(url, f"SELECT ctid::text, xmin::text FROM {table} ORDER BY 1")
        for table in ("knowledge_nodes", "scheduling", "edges")
    ]


def test_a_second_run_reads_and_sends_no_rows(source: Path, copy: Copier) -> None:
    """Cheap: nothing but keys and times is asked, so nothing is staged and no statement can write."""
    copy(source)
    run(
        copy.database,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'written' USING ERRCODE = '57014'; END $$",
    )
    for table in ("knowledge_nodes", "scheduling", "edges", "review_events", "users", "domains"):
        run(
            copy.database,
            f"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse()",
        )
    report = copy(source, on_conflict="newer")
    assert counts(report, "knowledge_nodes") == (0, 0, 40, 0)


def test_a_memory_that_is_newer_in_the_destination_stays_with_its_schedule(source: Path, copy: Copier) -> None:
    copy(source)
    change_memories(source, "rowid <= 4", BETWEEN)
    theirs = node_id(source, 2)
    run(copy.database, "UPDATE knowledge_nodes SET content = 'theirs', updated_at = %s WHERE id = %s", LATEST, theirs)
    run(copy.database, "UPDATE scheduling SET reps = 12345 WHERE memory_id = %s", theirs)
    # A review in the destination leaves the memory's time alone: its schedule stays, because the memory does.
    reviewed = node_id(source, 20)
    run(copy.database, "UPDATE scheduling SET reps = 54321 WHERE memory_id = %s", reviewed)
    edit(source, ("UPDATE scheduling SET reps = 1 WHERE memory_id = ?", (reviewed,)))
    report = copy(source, on_conflict="newer")
    assert counts(report, "knowledge_nodes") == (0, 3, 37, 0)
    assert counts(report, "scheduling") == (0, 3, 37, 0)
    assert run(copy.database, "SELECT content FROM knowledge_nodes WHERE id = %s", theirs) == [("theirs",)]
    assert run(copy.database, "SELECT reps FROM scheduling WHERE memory_id = %s", theirs) == [(12345,)]
    assert run(copy.database, "SELECT reps FROM scheduling WHERE memory_id = %s", reviewed) == [(54321,)]


def test_times_are_compared_as_they_are_stored(source: Path, copy: Copier) -> None:
    """Digits past microseconds are cut, so that they make no memory newer; another zone is no other time."""
    edit(source, ("UPDATE knowledge_nodes SET updated_at = '2026-05-27T09:35:58.123456+00:00'", ()))
    copy(source)
    edit(
        source,
        ("UPDATE knowledge_nodes SET updated_at = '2026-05-27T09:35:58.123456789+00:00' WHERE rowid <= 10", ()),
        ("UPDATE knowledge_nodes SET updated_at = '2026-05-27T10:35:58.123456+01:00' WHERE rowid = 11", ()),
        ("UPDATE knowledge_nodes SET updated_at = '2026-05-27T09:35:58.123457+00:00' WHERE rowid = 12", ()),
    )
    assert counts(copy(source, on_conflict="newer"), "knowledge_nodes") == (0, 1, 39, 0)


@pytest.mark.parametrize("bad", [None, "soon", b"\xff"])
def test_an_unreadable_time_makes_no_memory_newer(source: Path, copy: Copier, bad: object) -> None:
    """Its stand-in may be this run's start, which is later every time."""
    copy(source)
    edit(
        source, ("UPDATE knowledge_nodes SET content = 'x', created_at = ?, updated_at = ? WHERE rowid = 3", (bad, bad))
    )
    report = copy(source, on_conflict="newer")
    assert counts(report, "knowledge_nodes") == (0, 0, 40, 0)


def test_an_unreadable_weight_replaces_none(source: Path, copy: Copier) -> None:
    copy(source)
    before = stored(copy.database)["edges"]
    edit(source, ("UPDATE edges SET weight = 'heavy' WHERE rowid = 3", ()))
    report = copy(source, on_conflict="newer")
    assert counts(report, "edges") == (0, 0, 10, 0)
    assert stored(copy.database)["edges"] == before
    [kept] = report.as_json()["kept"]
    assert (kept["table"], kept["columns"]) == ("edges", ["weight"])
    assert "cannot be read in the source" in kept["reason"]


def test_vestiges_own_storage_keeps_schedules_and_edges_elsewhere(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(line="released", version=18, memories=60, edges=20))
    copy(path)
    edit(
        path,
        ("UPDATE knowledge_nodes SET content = 'new', reps = reps + 7, updated_at = ? WHERE rowid < 9", (LATER,)),
        ("UPDATE memory_connections SET strength = 0.75 WHERE rowid < 6", ()),
    )  # fmt: skip
    report = copy(path, on_conflict="newer")
    assert [counts(report, name)[:2] for name in ("knowledge_nodes", "scheduling", "edges")] == [(0, 8), (0, 8), (0, 5)]
    assert_same(path, copy.database)


def test_a_bad_value_in_a_changed_schedule_is_an_error_of_that_schedule(source: Path, copy: Copier) -> None:
    copy(source)
    change_memories(source, "rowid <= 3")
    memory = node_id(source, 2)
    edit(source, ("UPDATE scheduling SET reps = 'many' WHERE memory_id = ?", (memory,)))
    report = copy(source, on_conflict="newer")
    assert counts(report, "scheduling") == (0, 3, 37, 0)
    assert [(error.table, error.id, error.column) for error in report.errors] == [("scheduling", memory, "reps")]
    assert run(copy.database, "SELECT stability, reps FROM scheduling WHERE memory_id = %s", memory) == [(77.5, 0)]


def test_a_changed_memory_that_is_refused_leaves_the_one_that_is_there(source: Path, copy: Copier) -> None:
    copy(source)
    change_memories(source, "rowid <= 9")
    hidden, orphan = node_id(source, 2), node_id(source, 4)
    edit(
        source,
        ("UPDATE knowledge_nodes SET visibility = 'hidden' WHERE id = ?", (hidden,)),
        ("UPDATE knowledge_nodes SET owner_user_id = '11111111-1111-4111-8111-111111111111' WHERE id = ?", (orphan,)),
    )
    before = stored(copy.database)
    for _ in range(2):
        report = copy(source, on_conflict="newer")
        assert counts(report, "knowledge_nodes")[3] == 2
        assert sorted((error.id, str(error.outcome)) for error in report.errors) == sorted(
            [(hidden, "not_copied"), (orphan, "not_copied")]
        )
    after = stored(copy.database)
    for memory in (hidden, orphan):
        key = next(key for key in before["knowledge_nodes"] if str(key[0]) == memory)
        assert after["knowledge_nodes"][key] == before["knowledge_nodes"][key]
        assert after["scheduling"][key]["reps"] == 99  # its schedule is a row of its own, and was reviewed later


def test_two_spellings_of_one_id_do_not_take_turns(source: Path, copy: Copier) -> None:
    first, second = node_id(source, 1), node_id(source, 2)
    edit(
        source,
        ("INSERT INTO edges (source_id, target_id, weight, created_at) VALUES (?, ?, 0.25, ?)", (first, first, LATER)),
        ("INSERT INTO edges (source_id, target_id, weight, created_at) VALUES (?, ?, 0.5, ?)",
         (first.upper(), first, LATER)),
        ("INSERT INTO knowledge_nodes (id, content, created_at, updated_at) VALUES (?, 'again', ?, ?)",
         (second.upper(), LATER, LATER)),
    )  # fmt: skip
    copy(source)
    before = row_versions(copy.database)
    for _ in range(2):
        report = copy(source, on_conflict="newer")
        assert counts(report, "edges") == (0, 0, 11, 1)
        assert counts(report, "knowledge_nodes") == (0, 0, 40, 1)
    assert row_versions(copy.database) == before


def test_a_schedule_whose_id_is_spelled_otherwise_is_found(source: Path, copy: Copier) -> None:
    copy(source)
    change_memories(source, "rowid = 1")
    edit(source, ("UPDATE scheduling SET memory_id = upper(memory_id) WHERE reps = 99", ()))
    assert counts(copy(source, on_conflict="newer"), "scheduling") == (0, 1, 39, 0)


def test_dry_run_counts_what_would_be_updated_and_changes_nothing(source: Path, copy: Copier) -> None:
    assert counts(copy(source, on_conflict="newer", dry_run=True), "knowledge_nodes") == (40, 0, 0, 0)
    copy(source)
    change_memories(source)
    edit(source, ("UPDATE edges SET weight = 0.125 WHERE rowid <= 3", ()))
    run(copy.database, "DELETE FROM scheduling WHERE memory_id = %s", node_id(source, 1))
    lose(copy.database, "DELETE FROM knowledge_nodes WHERE id = %s", node_id(source, 30))
    before = stored(copy.database)
    dry = copy(source, on_conflict="newer", dry_run=True)
    assert stored(copy.database) == before
    real = copy(source, on_conflict="newer")
    for table in ("knowledge_nodes", "scheduling"):
        assert counts(dry, table) == counts(real, table)
    assert counts(real, "knowledge_nodes") == (1, 5, 34, 0)
    assert counts(real, "scheduling") == (2, 4, 34, 0)
    assert counts(dry, "edges")[1] == counts(real, "edges")[1] == 3


def recall(path: Path, table: str, columns: str, rows: str = "rowid <= 9") -> None:
    """What a recall changes in Vestige: everything of the schedule, and nothing of the memory's `updated_at`."""
    edit(
        path,
        (f"UPDATE {table} SET stability = 77.5, reps = reps + 4, {columns} = '2029-11-20T10:00:00Z' WHERE {rows}", ()),
    )


@pytest.mark.parametrize(
    ("spec", "table", "column"),
    [
        (SourceSpec(memories=60, schedules=60), "scheduling", "last_review"),
        (SourceSpec(line="released", version=18, memories=60), "knowledge_nodes", "last_accessed"),
        (SourceSpec(line="released", version=35, memories=60), "knowledge_nodes", "last_accessed"),
    ],
    ids=["plan", "V18", "V35"],
)
def test_a_schedule_that_a_recall_changed_arrives_alone(
    tmp_path: Path, copy: Copier, spec: SourceSpec, table: str, column: str
) -> None:
    path = build_source(tmp_path / "vestige.db", spec)
    copy(path)
    recall(path, table, column)
    dry = copy(path, on_conflict="newer", dry_run=True)
    report = copy(path, on_conflict="newer")
    assert counts(report, "scheduling")[1] == counts(dry, "scheduling")[1] == 9
    assert counts(report, "knowledge_nodes")[1] == counts(dry, "knowledge_nodes")[1] == 0
    assert run(copy.database, "SELECT count(*) FROM scheduling WHERE stability = 77.5") == [(9,)]
    before = row_versions(copy.database)
    assert counts(copy(path, on_conflict="newer"), "scheduling")[1] == 0
    assert row_versions(copy.database) == before


EARLY, LATE = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


@pytest.mark.parametrize("memory_is_newer", [False, True])
def test_which_of_two_schedules_is_the_later_one(source: Path, copy: Copier, memory_is_newer: bool) -> None:
    """The later review, then the greater number of them; a newer memory takes along what is not earlier."""
    pairs = [
        # (review, reps, lapses) in the source and in the destination; whose is the later one
        ((LATE, 1, 0), (EARLY, 9, 9), "source"),
        ((EARLY, 9, 9), (LATE, 1, 0), "destination"),
        ((LATE, 1, 0), (None, 9, 9), "source"),
        ((None, 9, 9), (LATE, 1, 0), "destination"),
        ((LATE, 3, 2), (LATE, 4, 0), "source"),
        ((LATE, 4, 0), (LATE, 3, 2), "destination"),
        ((None, 2, 0), (None, 1, 0), "source"),
        ((None, 1, 0), (None, 1, 1), "destination"),
        ((LATE, 3, 2), (LATE, 2, 3), "neither"),
        ((None, 0, 0), (None, 0, 0), "neither"),
        ((LATE, 2147483647, 2147483647), (LATE, 2147483647, 2147483646), "source"),
    ]
    copy(source)
    memories = [node_id(source, row) for row in range(1, len(pairs) + 1)]
    for memory, (ours, theirs, _) in zip(memories, pairs, strict=True):
        edit(
            source,
            (
                "UPDATE scheduling SET stability = 0.5, last_review = ?, reps = ?, lapses = ? WHERE memory_id = ?",
                (*ours, memory),
            ),
        )
        run(
            copy.database,
            "UPDATE scheduling SET stability = 0.25, last_review = %s, reps = %s, lapses = %s WHERE memory_id = %s",
            *theirs,
            memory,
        )
    if memory_is_newer:
        edit(source, ("UPDATE knowledge_nodes SET updated_at = ?", (LATER,)))
    dry = copy(source, on_conflict="newer", dry_run=True)
    report = copy(source, on_conflict="newer")
    assert counts(report, "scheduling") == counts(dry, "scheduling")
    found = [run(copy.database, "SELECT stability FROM scheduling WHERE memory_id = %s", memory) for memory in memories]
    from_source = {"source", "neither"} if memory_is_newer else {"source"}
    assert found == [[(0.5 if whose in from_source else 0.25,)] for _, _, whose in pairs]


@pytest.mark.parametrize(("column", "bad"), [("reps", "many"), ("last_review", "yesterday"), ("lapses", "none")])
def test_reviews_that_cannot_be_read_make_no_schedule_later(
    source: Path, copy: Copier, column: str, bad: object
) -> None:
    edit(source, ("UPDATE scheduling SET last_review = NULL", ()))
    copy(source)
    memory = node_id(source, 3)
    edit(source, (f"UPDATE scheduling SET stability = 77.5, {column} = ? WHERE memory_id = ?", (bad, memory)))
    assert counts(copy(source, on_conflict="newer"), "scheduling")[1] == 0


@pytest.mark.parametrize(("column", "bad"), [("reps", "many"), ("last_review", "yesterday")])
def test_a_schedule_that_was_reviewed_later_here_gives_way_to_none_that_cannot_be_read(
    source: Path, copy: Copier, column: str, bad: object
) -> None:
    copy(source)
    memory = node_id(source, 3)
    run(copy.database, "UPDATE scheduling SET stability = 0.25, last_review = %s WHERE memory_id = %s", LATER, memory)
    edit(
        source,
        ("UPDATE scheduling SET stability = 77.5, last_review = '2029-01-01T00:00:00Z' WHERE memory_id = ?", (memory,)),
        (f"UPDATE scheduling SET {column} = ? WHERE memory_id = ?", (bad, memory)),
        ("UPDATE knowledge_nodes SET updated_at = ? WHERE id = ?", (LATER, memory)),
    )
    copy(source, on_conflict="newer")
    assert run(copy.database, "SELECT stability FROM scheduling WHERE memory_id = %s", memory) == [(0.25,)]


def test_a_later_review_with_an_unreadable_number_of_them_replaces_nothing(source: Path, copy: Copier) -> None:
    copy(source)
    memory = node_id(source, 3)
    run(copy.database, "UPDATE scheduling SET reps = 7 WHERE memory_id = %s", memory)
    edit(source, ("UPDATE scheduling SET reps = 'many', last_review = ? WHERE memory_id = ?", (LATER, memory)))
    copy(source, on_conflict="newer")
    assert run(copy.database, "SELECT reps FROM scheduling WHERE memory_id = %s", memory) == [(7,)]


def test_a_vector_that_was_made_anew_arrives_though_the_memory_has_its_old_time(source: Path, copy: Copier) -> None:
    copy(source)
    theirs, emptied = node_id(source, 3), node_id(source, 4)
    edit(
        source,
        ("UPDATE knowledge_nodes SET embedding = (SELECT embedding FROM knowledge_nodes WHERE rowid = 9)"
         " WHERE rowid BETWEEN 1 AND 3", ()),
        ("UPDATE knowledge_nodes SET embedding = NULL WHERE rowid = 4", ()),
    )  # fmt: skip
    run(copy.database, "UPDATE knowledge_nodes SET updated_at = %s WHERE id = %s", LATEST, theirs)
    run(copy.database, "UPDATE knowledge_nodes SET embedding = NULL WHERE id = %s", node_id(source, 5))
    kept = run(copy.database, "SELECT id, embedding::text FROM knowledge_nodes WHERE id IN (%s, %s)", theirs, emptied)
    dry = copy(source, on_conflict="newer", dry_run=True)
    report = copy(source, on_conflict="newer")
    assert counts(report, "knowledge_nodes") == counts(dry, "knowledge_nodes") == (0, 3, 37, 0)
    assert report.errors == []
    after = run(copy.database, "SELECT id, embedding::text FROM knowledge_nodes WHERE id IN (%s, %s)", theirs, emptied)
    assert sorted(after) == sorted(kept)
    vectors = [
        run(copy.database, "SELECT embedding::text FROM knowledge_nodes WHERE id = %s", node_id(source, row))
        for row in (1, 2, 9)
    ]
    assert vectors[0] == vectors[1] == vectors[2]
    assert run(copy.database, "SELECT count(*) FROM knowledge_nodes WHERE embedding IS NULL AND id = %s",
               node_id(source, 5)) == [(0,)]  # fmt: skip
    before = row_versions(copy.database)
    assert counts(copy(source, on_conflict="newer"), "knowledge_nodes") == (0, 0, 40, 0)
    assert row_versions(copy.database) == before


def test_two_files_with_two_vectors_of_one_memory_do_not_take_turns(source: Path, tmp_path: Path, copy: Copier) -> None:
    other = tmp_path / "other.db"
    shutil.copy(source, other)
    edit(
        other,
        ("UPDATE knowledge_nodes SET embedding = (SELECT embedding FROM knowledge_nodes WHERE rowid = 9)"
         " WHERE rowid = 1", ()),
    )  # fmt: skip
    plans = [
        SqliteToPostgresPlan(path, copy.database, workers=1, on_conflict=OnConflict.NEWER) for path in (source, other)
    ]
    run_several_to_postgres(plans)
    before = row_versions(copy.database)
    run_several_to_postgres(plans)
    assert row_versions(copy.database) == before


@contextmanager
def locked_row(url: str, memory: str) -> Iterator[None]:
    """A memory that another program is changing: whoever updates it waits until the context ends."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE knowledge_nodes SET content = content WHERE id = %s", (memory,))
        yield
        connection.rollback()


@pytest.mark.indexed
def test_killed_workers_lose_and_repeat_nothing(tmp_path: Path, copy: Copier, command: CommandLine) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(memories=300, schedules=300, edges=50, events=20))
    copy(path)
    change_memories(path, "rowid <= 200")
    report_file = tmp_path / "report.json"
    with locked_row(copy.database, node_id(path, 150)):
        running = RunningCopy.start(
            "--sqlite-path", path, "--postgres-url", copy.database, "--workers", "2", "--batch-size", "20",
            "--on-conflict", "newer", "--report", report_file, environment=command.environment(),
        )  # fmt: skip
        running.wait_until(lambda: blocked_sessions(copy.database), "a worker in mid-range")
        for worker in running.workers():
            worker.send_signal(signal.SIGKILL)
    code, _, err = running.finish()
    assert code == 0, err
    report = json.loads(report_file.read_text())
    assert report["memories_updated"] == 200
    assert report["tables"]["knowledge_nodes"] == table_counts(source_rows=300, skipped=100, updated=200)
    assert report["tables"]["scheduling"]["updated"] == 200
    assert_same(path, copy.database)


@pytest.mark.indexed
def test_a_row_that_becomes_newer_while_the_copy_waits_for_it_stays(
    source: Path, copy: Copier, command: CommandLine
) -> None:
    copy(source)
    change_memories(source, "rowid <= 6")
    memory = node_id(source, 3)
    with psycopg.connect(copy.database) as other:
        other.execute("UPDATE knowledge_nodes SET content = 'theirs', updated_at = %s WHERE id = %s", (LATEST, memory))
        running = RunningCopy.start(
            "--sqlite-path", source, "--postgres-url", copy.database, "--on-conflict", "newer",
            environment=command.environment(),
        )  # fmt: skip
        running.wait_until(lambda: blocked_sessions(copy.database), "a worker that waits for the row")
        other.commit()
    code, out, err = running.finish()
    assert code == 0, err
    assert run(copy.database, "SELECT content FROM knowledge_nodes WHERE id = %s", memory) == [("theirs",)]
    # The reviews of its schedule are judged by themselves, and are later in the source.
    assert run(copy.database, "SELECT count(*) FROM scheduling WHERE reps = 99") == [(6,)]
    line = next(line for line in out.splitlines() if "knowledge_nodes" in line)
    assert [word for word in line.split() if word.isdigit()] == ["40", "0", "5", "35", "0"]


@pytest.mark.indexed
def test_an_interrupted_run_leaves_no_memory_without_its_schedule(
    tmp_path: Path, copy: Copier, command: CommandLine
) -> None:
    """A memory and its schedule change in one transaction: the next run could not tell that a schedule is left."""
    path = build_source(tmp_path / "vestige.db", SourceSpec(memories=300, schedules=300, edges=0, events=0))
    copy(path)
    change_memories(path, "rowid <= 200")
    with locked_row(copy.database, node_id(path, 150)):
        running = RunningCopy.start(
            "--sqlite-path", path, "--postgres-url", copy.database, "--workers", "1", "--batch-size", "5",
            "--on-conflict", "newer", environment=command.environment(),
        )  # fmt: skip
        running.wait_until(lambda: blocked_sessions(copy.database), "a worker in mid-range")
        running.interrupt()
        assert running.finish()[0] == 130
    changed = run(
        copy.database,
        "SELECT count(*), count(*) FILTER (WHERE reps = 99) FROM knowledge_nodes JOIN scheduling ON memory_id = id"
        " WHERE content LIKE 'changed %%'",
    )
    assert changed[0][0] == changed[0][1] < 200
    copy(path, on_conflict="newer")
    assert_same(path, copy.database)


def test_the_command_line_takes_the_two_words_only(source: Path, copy: Copier, command: CommandLine) -> None:
    refused = command("copy", "--sqlite-path", source, "--postgres-url", copy.database, "--on-conflict", "older")
    assert refused.returncode == 2
    assert "--on-conflict" in refused.stderr
    assert "'skip', 'newer'" in refused.stderr
    with pytest.raises(PlanError, match="--on-conflict is older: it must be skip or newer"):
        SqliteToPostgresPlan(source, copy.database, on_conflict="older")  # type: ignore[arg-type]


def test_the_command_line_reports_updates_and_dry_updates(source: Path, copy: Copier, command: CommandLine) -> None:
    arguments = ("copy", "--sqlite-path", source, "--postgres-url", copy.database, "--on-conflict", "newer")
    copy(source)
    change_memories(source)
    dry = command(*arguments, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "to update" in dry.stdout
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    for text in (dry.stdout, done.stdout):
        line = next(line for line in text.splitlines() if "knowledge_nodes" in line)
        assert [word for word in line.split() if word.isdigit()] == ["40", "0", "5", "35", "0"]
    assert_same(source, copy.database)
