"""A second run takes nothing away and replaces nothing that may be somebody else's: another file's, a trigger's, or a
row's to which others refer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CommandLine, Copier
from tests.support.databases import run
from tests.support.logged import log_lines
from tests.support.sources import SourceSpec, build_source, edit, node_id
from tests.support.triggers import add_trigger
from vestige_migrate import (
    DestinationUnusable,
    MigrationReport,
    SqliteToPostgresPlan,
    run_several_to_postgres,
)
from vestige_migrate.copy import deletions
from vestige_migrate.report.deletions import GoneRows

pytestmark = pytest.mark.in_process

SMALL = SourceSpec(memories=20, schedules=20, edges=6, events=8, dimension=8)


def gone(report: MigrationReport) -> dict[str, GoneRows]:
    assert report.deletions is not None
    return report.deletions.rows


def labels(database: str) -> set[str]:
    return {label for (label,) in run(database, "SELECT label FROM domains")}


def counts(database: str) -> dict[str, int]:
    names = ("domains", "edges", "review_events", "scheduling", "users", "groups", "group_memberships")
    return {name: run(database, f"SELECT count(*) FROM {name}")[0][0] for name in names}


# Another file.


def test_another_file_of_the_same_name_takes_nothing_away_and_replaces_nothing(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SMALL)
    copy(path)
    before, labelled = counts(copy.database), labels(copy.database)
    path.unlink()
    build_source(
        path, SourceSpec(memories=15, schedules=15, edges=3, events=2, groups=0, memberships=0, dimension=8, seed=9)
    )
    edit(path, ("UPDATE domains SET label = 'of another host'", ()), ("DELETE FROM domains WHERE rowid = 1", ()))
    with log_lines() as lines:
        report = copy(path, on_conflict="newer", deletions="apply")
    assert [line for line in lines if "taken for copies of another file of that name" in line]
    after = counts(copy.database)
    assert {name: rows for name, rows in before.items() if after[name] < rows} == {}
    assert labelled <= labels(copy.database)
    assert {row.table for row in report.kept} >= {"domains"}
    assert gone(report) == {}


def test_a_file_that_lost_most_of_its_memories_is_the_same_one(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SMALL)
    copy(path, batch_size=10)
    ids = [node_id(path, row) for row in range(1, 21)]
    [(last,)] = run(copy.database, "SELECT id::text FROM knowledge_nodes ORDER BY created_at DESC, id DESC LIMIT 1")
    for id_ in ids:
        if id_ != last:
            edit(path, *((f"DELETE FROM {table} WHERE {column} = ?", (id_,)) for table, column in OF_MEMORY))
    edit(path, ("UPDATE domains SET label = 'renamed'", ()), ("DELETE FROM domains WHERE rowid = 1", ()))
    report = copy(path, on_conflict="newer", deletions="apply")
    assert (report.tables["domains"].updated, len(gone(report)["domains"].deleted)) == (4, 1)


def test_a_row_that_another_files_copy_wrote_stays_and_is_named(tmp_path: Path, copy: Copier) -> None:
    one = build_source(tmp_path / "one.db", SMALL)
    other = build_source(tmp_path / "two%.db", SMALL)
    edit(other, ("UPDATE domains SET label = label || ' of the other'", ()))
    copy(one)
    before = labels(copy.database)
    for dry_run in (True, False):
        report = copy(other, on_conflict="newer", dry_run=dry_run)
        assert {(row.table, row.column) for row in report.kept} == {("domains", "label")}
        assert report.tables["domains"].updated == 0
    assert labels(copy.database) == before
    # What it wrote itself is its own.
    edit(one, ("UPDATE domains SET label = label || ' anew'", ()))
    assert copy(one, on_conflict="newer").tables["domains"].updated == len(before)


def test_what_another_file_may_have_stays_here_unless_all_are_given(
    tmp_path: Path, copy: Copier, command: CommandLine
) -> None:
    one, other = (build_source(tmp_path / name, SMALL) for name in ("one.db", "two.db"))
    copy(one)
    copy(other)
    before = counts(copy.database)
    edit(one, ("DELETE FROM domains", ()), ("DELETE FROM edges WHERE rowid = 1", ()))
    arguments = ("copy", "--sqlite-path", one, "--postgres-url", copy.database, "--indexes", "none")
    done = command(*arguments, "--on-conflict", "newer", "--deletions", "apply")
    assert f"other files were copied here that may have them ({other}; give all files in one command)" in done.stdout
    report = copy(one, on_conflict="newer", deletions="apply")
    assert {name: len(rows.to_delete) for name, rows in gone(report).items()} == {"domains": 5, "edges": 1}
    assert "held_back" in report.as_json()["deletions"]["rows"]["edges"]
    assert counts(copy.database) == before
    # Both files in one command: the other one has them. Then it has one edge less.
    plans = [
        SqliteToPostgresPlan(path, copy.database, on_conflict="newer", deletions="apply", indexes="none")  # type: ignore[arg-type]
        for path in (one, other)
    ]
    combined = run_several_to_postgres(plans)
    assert combined.deletions is not None
    assert combined.deletions.rows == {}
    edit(other, ("DELETE FROM edges WHERE rowid = 1", ()))
    combined = run_several_to_postgres(plans)
    assert combined.deletions is not None
    assert len(combined.deletions.rows["edges"].deleted) == 1
    assert counts(copy.database) == {**before, "edges": before["edges"] - 1}


def test_what_a_several_file_copy_gave_every_memory_one_file_takes_from_none(tmp_path: Path, copy: Copier) -> None:
    one, other = (
        build_source(tmp_path / f"{seed}.db", SourceSpec(memories=4, schedules=0, edges=0, events=0, seed=seed))
        for seed in (1, 2)
    )
    plan = SqliteToPostgresPlan(one, copy.database, codebase="mine", indexes="none")  # type: ignore[arg-type]
    run_several_to_postgres([plan, SqliteToPostgresPlan(other, copy.database, codebase="mine", indexes="none")])  # type: ignore[arg-type]
    with pytest.raises(DestinationUnusable, match=r"2\.db was made with --codebase mine, and --on-conflict newer"):
        copy(other, on_conflict="newer")
    with pytest.raises(DestinationUnusable, match="made with --codebase mine"):
        run_several_to_postgres(
            [
                SqliteToPostgresPlan(path, copy.database, on_conflict="newer", indexes="none")  # type: ignore[arg-type]
                for path in (one, other)
            ]
        )


def test_a_file_that_was_moved_is_the_same_one_to_a_record_that_was_told(tmp_path: Path, copy: Copier) -> None:
    before = build_source(tmp_path / "before.db", SMALL)
    copy(before)
    after = before.rename(tmp_path / "after.db")
    edit(after, ("UPDATE domains SET label = 'changed'", ()), ("DELETE FROM edges WHERE rowid = 1", ()))
    told = "UPDATE vestige_run SET sources = array_replace(sources, %s, %s)"  # docs/changed-rows.md
    run(copy.database, told, str(before), str(after))
    report = copy(after, on_conflict="newer", deletions="apply")
    assert (report.tables["domains"].updated, len(gone(report)["edges"].deleted)) == (5, 1)


# Rows to which others refer.


def test_a_group_that_somebody_joined_or_shares_a_memory_with_stays(
    source: Path, copy: Copier, command: CommandLine
) -> None:
    edit(
        source,
        ("INSERT INTO groups (id, handle, created_at) VALUES (?, 'joined', '2026-01-01')", (JOINED,)),
        ("INSERT INTO groups (id, handle, created_at) VALUES (?, 'shared', '2026-01-01')", (SHARED,)),
        ("INSERT INTO groups (id, handle, created_at) VALUES (?, 'noted', '2026-01-01')", (NOTED,)),
        ("INSERT INTO groups (id, handle, created_at) VALUES (?, 'free', '2026-01-01')", (FREE,)),
        ("INSERT INTO group_memberships (user_id, group_id, role, joined_at) SELECT min(id), ?, 'member', '2026-01-01'"
         " FROM users WHERE handle <> 'local'", (FREE,)),
    )  # fmt: skip
    copy(source)
    run(
        copy.database,
        "INSERT INTO group_memberships (user_id, group_id, role) SELECT min(id::text)::uuid, %s, 'member' FROM users",
        JOINED,
    )
    run(
        copy.database,
        "UPDATE knowledge_nodes SET shared_with_groups = ARRAY[%s::uuid] WHERE id = %s",
        SHARED,
        node_id(source, 1),
    )
    run(copy.database, 'CREATE SCHEMA "own%%"')
    run(copy.database, 'CREATE TABLE "own%%".notes ("of%%" uuid REFERENCES groups (id) ON DELETE CASCADE, note text)')
    run(copy.database, """INSERT INTO "own%%".notes VALUES (%s, 'a note')""", NOTED)
    edit(source, ("DELETE FROM group_memberships WHERE group_id = ?", (FREE,)),
         ("DELETE FROM groups WHERE id IN (?, ?, ?, ?)", (JOINED, SHARED, NOTED, FREE)))  # fmt: skip
    dry = copy(source, on_conflict="newer", dry_run=True)
    assert gone(dry)["groups"] == GoneRows(to_delete=[FREE], in_use=sorted([JOINED, SHARED, NOTED]))
    done = command(
        "copy", "--sqlite-path", source, "--postgres-url", copy.database, "--indexes", "none", "--on-conflict", "newer",
        "--deletions", "apply",
    )  # fmt: skip
    assert (
        "groups that the source has no more, but rows of other tables refer to them, so they stay: 3 rows"
        in done.stdout
    )
    assert "groups that the source has no more, and now are not here either: 1 row" in done.stdout
    left = {str(id_) for (id_,) in run(copy.database, "SELECT id FROM groups")}
    assert left >= {JOINED, SHARED, NOTED}
    assert FREE not in left
    assert run(copy.database, "SELECT count(*) FROM group_memberships WHERE group_id = %s", JOINED) == [(1,)]
    assert run(copy.database, 'SELECT note FROM "own%%".notes') == [("a note",)]


JOINED, SHARED, NOTED, FREE = (f"0d0d0d0d-0000-4000-8000-00000000000{at}" for at in range(4))


def test_a_row_whose_key_the_source_has_lost_stays(source: Path, copy: Copier) -> None:
    copy(source)
    before = counts(copy.database)
    edit(
        source,
        ("UPDATE groups SET id = 'garbage' WHERE rowid = (SELECT min(rowid) FROM groups)", ()),
        ("UPDATE edges SET source_id = x'ff00' WHERE rowid = 1", ()),
    )
    report = copy(source, on_conflict="newer", deletions="apply")
    assert counts(copy.database) == before
    assert "key cannot be read" in gone(report)["edges"].held_back
    assert len(gone(report)["edges"].to_delete) == 1


def test_events_of_a_memory_that_only_the_destination_has_stay_with_it(source: Path, copy: Copier) -> None:
    copy(source)
    [(memory, events)] = run(
        copy.database, "SELECT memory_id::text, count(*) FROM review_events GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1"
    )
    edit(source, *((f"DELETE FROM {table} WHERE {column} = ?", (memory,)) for table, column in OF_MEMORY))
    report = copy(source, on_conflict="newer", deletions="apply")
    assert report.deletions is not None
    assert report.deletions.not_in_source == [memory]
    assert run(copy.database, "SELECT count(*) FROM review_events WHERE memory_id = %s", memory) == [(events,)]
    assert run(copy.database, "SELECT count(*) FROM scheduling WHERE memory_id = %s", memory) == [(1,)]


def test_events_of_a_memory_that_goes_while_they_are_looked_for_stay_with_it(
    source: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is purged, without a tombstone, after the memories were looked at."""
    copy(source)
    [(memory, events)] = run(
        copy.database, "SELECT memory_id::text, count(*) FROM review_events GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1"
    )
    settled = deletions.settle_deletions

    def settle(*given: Any) -> None:
        settled(*given)
        edit(source, *((f"DELETE FROM {table} WHERE {column} = ?", (memory,)) for table, column in OF_MEMORY))

    monkeypatch.setattr(deletions, "settle_deletions", settle)
    report = copy(source, on_conflict="newer", deletions="apply")
    assert gone(report) == {}
    assert run(copy.database, "SELECT count(*) FROM review_events WHERE memory_id = %s", memory) == [(events,)]
    assert run(copy.database, "SELECT count(*) FROM scheduling WHERE memory_id = %s", memory) == [(1,)]


OF_MEMORY = (("review_events", "memory_id"), ("scheduling", "memory_id"), ("edges", "source_id"),
             ("edges", "target_id"), ("knowledge_nodes", "id"))  # fmt: skip


# Triggers.


@pytest.fixture(params=["INSERT", "UPDATE"])
def event(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_a_trigger_of_the_same_table_touched_is_none_that_a_copy_wrote(
    source: Path, copy: Copier, event: str
) -> None:
    copy(source)
    run(copy.database, "UPDATE domains SET label = 'here'")
    # Another row than the one that is written.
    add_trigger(
        copy.database,
        "IF pg_trigger_depth() = 1 THEN UPDATE domains SET memory_count = memory_count + 1 WHERE id <> NEW.id; END IF;"
        " RETURN NEW;",
        "domains",
        when=f"AFTER {event}",
    )
    edit(
        source,
        ("UPDATE domains SET memory_count = memory_count + 7 WHERE rowid = 1", ()),
        ("INSERT INTO domains (id, label, created_at) VALUES ('new', 'new', '2026-01-01')", ()),
    )
    copy(source)
    for _ in range(2):
        report = copy(source, on_conflict="newer")
        assert report.tables["domains"].updated == 0
    assert {row.table for row in report.kept} == {"domains"}
    assert labels(copy.database) == {"here", "new"}


def test_a_trigger_of_the_schedules_makes_no_memory_the_copys(source: Path, copy: Copier) -> None:
    """Both are written in one transaction."""
    copy(source)
    run(copy.database, "UPDATE knowledge_nodes SET node_type = 'here'")
    add_trigger(
        copy.database, "UPDATE knowledge_nodes SET codebase = 'touched' WHERE id <> NEW.memory_id; RETURN NEW;",
        "scheduling", when="AFTER UPDATE",
    )  # fmt: skip
    edit(source, ("UPDATE knowledge_nodes SET updated_at = '2031-01-01' WHERE rowid = 1", ()))
    for _ in range(2):
        report = copy(source, on_conflict="newer")
    assert {row.table for row in report.kept} == {"knowledge_nodes"}
    assert run(copy.database, "SELECT count(*) FROM knowledge_nodes WHERE node_type = 'here'") == [(39,)]


def test_an_entry_that_was_not_made_with_its_batch_is_not_believed(source: Path, copy: Copier) -> None:
    """In tables that came in a dump the numbers are those of another server."""
    copy(source)
    run(copy.database, "CREATE TABLE dumped AS TABLE vestige_run_batch")
    run(copy.database, "TRUNCATE vestige_run_batch")
    run(copy.database, "INSERT INTO vestige_run_batch SELECT * FROM dumped")
    edit(source, ("UPDATE domains SET label = 'other'", ()))
    for dry_run in (True, False):
        report = copy(source, on_conflict="newer", dry_run=dry_run)
        assert (report.tables["domains"].updated, {row.table for row in report.kept}) == (0, {"domains"})
    with pytest.raises(DestinationUnusable, match="not as a copy wrote them"):
        copy(source, on_conflict="source")
