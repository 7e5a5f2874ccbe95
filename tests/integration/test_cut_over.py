"""A second run after both sides were changed: what it brings, what stays here and is named, and what has gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same, stored
from tests.support.databases import run
from tests.support.running import RunningCopy, blocked_sessions
from tests.support.sources import SourceSpec, build_source, edit, node_id
from tests.support.triggers import add_trigger
from tests.support.verifying import Verifier
from vestige_migrate import (
    DestinationUnusable,
    MigrationReport,
    PlanError,
    SqliteToPostgresPlan,
    run_several_to_postgres,
)

pytestmark = pytest.mark.in_process

NO_TIME_OF_CHANGE = (
    "UPDATE knowledge_nodes SET domains = '[\"moved\"]', domain_scores = '{\"moved\": 0.5}' WHERE rowid <= 3",
    "UPDATE scheduling SET stability = stability * 0.9, retrievability = 0.25 WHERE rowid <= 4",
    "UPDATE edges SET edge_type = 'retyped' WHERE rowid <= 2",
    "UPDATE review_events SET metadata = '{\"note\": 1}' WHERE rowid <= 2",
    "UPDATE domains SET label = label || ' renamed', memory_count = memory_count + 1 WHERE rowid <= 2",
    "UPDATE users SET display_name = 'renamed' WHERE handle <> 'local'",
    "UPDATE groups SET metadata = '{\"renamed\": true}'",
    "UPDATE group_memberships SET role = CASE role WHEN 'admin' THEN 'member' ELSE 'admin' END WHERE rowid = 1",
)
"""What Vestige or its tools change without any trace of when."""


def changed(report: MigrationReport) -> dict[str, int]:
    return {name: table.updated for name, table in report.tables.items() if table.updated}


@pytest.mark.old_server
def test_newer_brings_whatever_only_the_source_changed(source: Path, copy: Copier) -> None:
    copy(source)
    edit(source, *((statement, ()) for statement in NO_TIME_OF_CHANGE))
    expected = {
        "knowledge_nodes": 3, "scheduling": 4, "edges": 2, "review_events": 2, "domains": 2,
        "users": run(copy.database, "SELECT count(*) FROM users WHERE handle <> 'local'")[0][0],
        "groups": run(copy.database, "SELECT count(*) FROM groups")[0][0], "group_memberships": 1,
    }  # fmt: skip
    dry = copy(source, on_conflict="newer", dry_run=True)
    report = copy(source, on_conflict="newer", workers=2)
    assert changed(dry) == changed(report) == expected
    assert (report.kept, report.errors) == ([], [])
    assert_same(source, copy.database)
    again = copy(source, on_conflict="newer")
    assert again.nothing_new
    assert (again.kept, Verifier(copy.database)(source).same) == ([], True)


def test_a_schedule_that_comes_with_its_memory_is_counted_once(source: Path, copy: Copier) -> None:
    copy(source)
    one, other = node_id(source, 1), node_id(source, 2)
    edit(
        source,
        ("UPDATE knowledge_nodes SET content = 'edited', updated_at = '2031-01-01' WHERE id IN (?, ?)", (one, other)),
        ("UPDATE scheduling SET retrievability = 0.125 WHERE memory_id IN (?, ?)", (one, other)),
    )
    run(copy.database, "UPDATE scheduling SET retrievability = 0.375 WHERE memory_id = %s", other)
    dry = copy(source, on_conflict="newer", dry_run=True)
    report = copy(source, on_conflict="newer")
    assert changed(dry) == changed(report) == {"knowledge_nodes": 2, "scheduling": 2}
    assert dry.kept == report.kept == []


def test_columns_under_metadata_arrive_and_upper_case_ids_make_no_difference(tmp_path: Path, copy: Copier) -> None:
    source = build_source(tmp_path / "vestige.db", SourceSpec(line="released", version=35, form="vestige").sized(30))
    edit(source, ("UPDATE knowledge_nodes SET id = upper(id) WHERE rowid = 2", ()))
    first = copy(source)
    edit(source, ("UPDATE knowledge_nodes SET suppression_count = 3, retention_strength = 0.125 WHERE rowid <= 2", ()))
    report = copy(source, on_conflict="newer")
    assert changed(report) == {"knowledge_nodes": 2, "scheduling": 2}
    assert run(
        copy.database, "SELECT count(*) FROM knowledge_nodes WHERE metadata->'sqlite'->>'suppression_count' = '3'"
    ) == [(2,)]
    assert len(report.errors) == len(first.errors)
    assert changed(copy(source, on_conflict="newer")) == {}


BOTH = (
    ("domains", "label", "UPDATE domains SET label = 'here' WHERE id = (SELECT min(id) FROM domains)"),
    ("edges", "edge_type", "UPDATE edges SET edge_type = 'here'"),
    ("scheduling", "stability", "UPDATE scheduling SET stability = 33"),
    ("knowledge_nodes", "domains", "UPDATE knowledge_nodes SET domains = '{here}'"),
)


def test_what_both_sides_changed_stays_here_and_is_named(
    source: Path, copy: Copier, command: CommandLine, tmp_path: Path
) -> None:
    copy(source)
    edit(source, *((statement, ()) for statement in NO_TIME_OF_CHANGE))
    for _, _, statement in BOTH:
        run(copy.database, statement)
    here = stored(copy.database)
    dry = copy(source, on_conflict="newer", dry_run=True)
    report = copy(source, on_conflict="newer")
    kept = {(row.table, row.id): row.column or "" for row in report.kept}
    assert {(row.table, row.id): row.column for row in dry.kept} == kept
    assert changed(dry) == changed(report)
    assert {table for table, _ in kept} == {table for table, _, _ in BOTH}
    for table, column, _ in BOTH:
        assert all(column in columns for (name, _), columns in kept.items() if name == table)
    after = stored(copy.database)
    for table in ("edges", "scheduling", "knowledge_nodes"):
        assert after[table] == here[table]
    assert run(copy.database, "SELECT count(*) FROM domains WHERE label = 'here'") == [(1,)]
    assert report.exit_code == 0
    entry = report.as_json()["kept"][0]
    assert set(entry) == {"table", "id", "columns", "reason"}
    # What `verify` names is what was named.
    found = Verifier(copy.database)(source)
    assert {(item.table, item.id) for item in found.differences} == set(kept)
    # The source's, where the operator says so.
    with pytest.raises(DestinationUnusable, match=r"rows that are not as a copy wrote them \(.*1 of domains.*--yes"):
        copy(source, on_conflict="source")
    with pytest.raises(DestinationUnusable, match="--yes"):
        copy(source, on_conflict="source", dry_run=True)
    assert stored(copy.database) == after
    done = command(
        "copy", "--sqlite-path", source, "--postgres-url", copy.database, "--on-conflict", "source", "--yes",
        "--indexes", "none",
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("error:")) == (0, 0)
    assert "differ from the source's" not in done.stdout
    assert_same(source, copy.database)
    # All rows are as a copy wrote them now.
    assert copy(source, on_conflict="source").nothing_new


def test_a_vector_that_the_source_has_no_more_stays(source: Path, copy: Copier) -> None:
    copy(source)
    memory = node_id(source, 2)
    edit(source, ("UPDATE knowledge_nodes SET embedding = NULL WHERE rowid = 2", ()))
    report = copy(source, on_conflict="newer")
    assert (changed(report), report.kept) == ({}, [])
    edit(source, ("UPDATE knowledge_nodes SET codebase = 'moved' WHERE rowid = 2", ()))
    assert changed(copy(source, on_conflict="newer")) == {"knowledge_nodes": 1}
    assert run(copy.database, "SELECT codebase, embedding IS NULL FROM knowledge_nodes WHERE id = %s", memory) == [
        ("moved", False)
    ]
    assert changed(copy(source, on_conflict="newer")) == {}
    copy(source, on_conflict="source")
    assert run(copy.database, "SELECT embedding IS NULL FROM knowledge_nodes WHERE id = %s", memory) == [(True,)]


def test_a_row_that_took_the_vector_alone_is_still_one_that_was_changed_here(source: Path, copy: Copier) -> None:
    copy(source)
    memory = node_id(source, 2)
    run(copy.database, "UPDATE knowledge_nodes SET node_type = 'note' WHERE id = %s", memory)
    another = "(SELECT embedding FROM knowledge_nodes WHERE rowid = 9)"
    edit(source, (f"UPDATE knowledge_nodes SET embedding = {another} WHERE rowid = 2", ()))
    dry = copy(source, on_conflict="newer", dry_run=True)
    reports = [copy(source, on_conflict="newer"), copy(source, on_conflict="newer")]
    for report in reports:
        assert [(row.id, row.column) for row in report.kept] == [(memory, "node_type")]
        assert run(copy.database, "SELECT node_type FROM knowledge_nodes WHERE id = %s", memory) == [("note",)]
    assert (changed(dry), [row.column for row in dry.kept]) == ({"knowledge_nodes": 1}, ["node_type"])
    assert [len(report.replaced_vectors) for report in (dry, *reports)] == [1, 1, 0]


def test_a_vector_of_this_side_that_gives_way_is_named(source: Path, copy: Copier, command: CommandLine) -> None:
    copy(source)
    here, there = node_id(source, 2), node_id(source, 3)
    another = "embedding = (SELECT embedding FROM knowledge_nodes WHERE id = %s)"
    run(copy.database, f"UPDATE knowledge_nodes SET {another} WHERE id = %s", node_id(source, 9), here)
    edit(source, ("UPDATE knowledge_nodes SET embedding = (SELECT embedding FROM knowledge_nodes WHERE rowid = 9)"
                  " WHERE rowid = 3", ()))  # fmt: skip
    arguments = ("copy", "--sqlite-path", source, "--postgres-url", copy.database, "--on-conflict", "newer")
    said = command(*arguments, "--dry-run").stdout
    dry = copy(source, on_conflict="newer", dry_run=True)
    report = copy(source, on_conflict="newer")
    assert (changed(report), report.kept, report.exit_code) == ({"knowledge_nodes": 2}, [], 0)
    assert report.as_json()["replaced_vectors"] == dry.as_json()["replaced_vectors"]
    [named] = report.as_json()["replaced_vectors"]
    assert (named["table"], named["id"], named["columns"]) == ("knowledge_nodes", here, ["embedding"])
    assert there not in str(report.replaced_vectors)  # that one is as a copy wrote it
    assert "1 memory that was changed here would take the source's vector" in said
    assert here in said
    assert_same(source, copy.database)
    again = copy(source, on_conflict="newer")
    assert "replaced_vectors" not in again.as_json()


def test_a_kept_vector_is_no_change_of_a_trigger(source: Path, copy: Copier) -> None:
    copy(source)
    # A trigger's own change is looked for on every UPDATE; that the vector stays is none.
    edit(source, ("UPDATE knowledge_nodes SET embedding = NULL, codebase = 'moved' WHERE rowid = 2", ()))
    report = copy(source, on_conflict="newer")
    assert (changed(report), report.errors, report.exit_code) == ({"knowledge_nodes": 1}, [], 0)


@pytest.mark.parametrize("yes", [False, True])
def test_what_cannot_be_read_in_the_source_replaces_nothing(source: Path, copy: Copier, yes: bool) -> None:
    copy(source)
    memory = node_id(source, 2)
    columns = "SELECT tags, embedding::text, codebase FROM knowledge_nodes WHERE id = %s"
    before = run(copy.database, columns, memory)
    edit(
        source,
        ("UPDATE knowledge_nodes SET tags = 'not JSON', codebase = 'moved' WHERE rowid = 2", ()),
        ("UPDATE knowledge_nodes SET codebase = 'moved' WHERE rowid = 3", ()),
    )
    dry = copy(source, on_conflict="source", yes=yes, dry_run=True)
    report = copy(source, on_conflict="source", yes=yes)
    assert run(copy.database, columns, memory) == before
    assert changed(dry) == changed(report) == {"knowledge_nodes": 1}
    assert dry.kept == report.kept
    [kept] = report.kept
    assert kept.id == memory
    assert "cannot be read in the source" in kept.message


def copy_while_waiting(
    copy: Copier, command: CommandLine, source: Path, report: Path, statement: str, id_: str, *options: str
) -> dict[str, Any]:
    """The report of a copy that compares rows as they were before the statement, and replaces them after it."""
    with psycopg.connect(copy.database) as other:
        other.execute(statement, (id_,))
        running = RunningCopy.start(
            "--sqlite-path", source, "--postgres-url", copy.database, "--indexes", "none", "--workers", "1",
            "--report", report, *options, environment=command.environment(),
        )  # fmt: skip
        running.wait_until(lambda: blocked_sessions(copy.database), "a worker that waits for the row")
        other.commit()
    code, _, err = running.finish()
    assert code == 0, err
    found: dict[str, Any] = json.loads(report.read_text())
    return found


@pytest.mark.parametrize("more", [(), ("--yes",)])
def test_source_loses_nothing_that_is_written_meanwhile_without_yes(
    source: Path, copy: Copier, command: CommandLine, tmp_path: Path, more: tuple[str, ...]
) -> None:
    copy(source)
    memory, stays = node_id(source, 2), not more
    edit(source, ("UPDATE knowledge_nodes SET codebase = 'moved', embedding = NULL WHERE rowid <= 3", ()))
    report = copy_while_waiting(
        copy, command, source, tmp_path / "report.json",
        "UPDATE knowledge_nodes SET node_type = 'meanwhile' WHERE id = %s", memory, "--on-conflict", "source", *more,
    )  # fmt: skip
    found = run(copy.database, "SELECT node_type = 'meanwhile' FROM knowledge_nodes WHERE id = %s", memory)
    assert found == [(stays,)]
    assert report["memories_updated"] == 3 - stays
    assert [row["id"] for row in report["kept"]] == [memory] * stays
    moved = "SELECT count(*) FROM knowledge_nodes WHERE codebase = 'moved' AND embedding IS NULL"
    assert run(copy.database, moved) == [(3 - stays,)]


@pytest.mark.parametrize("options", [("newer",), ("source",), ("source", "--yes")])
def test_what_is_deleted_here_meanwhile_stays_away(
    source: Path, copy: Copier, command: CommandLine, tmp_path: Path, options: tuple[str, ...]
) -> None:
    memory = node_id(source, 2)
    edit(
        source,
        ("DELETE FROM scheduling WHERE memory_id = ?", (memory,)),
        ("DELETE FROM edges WHERE ? IN (source_id, target_id)", (memory,)),
        ("DELETE FROM review_events WHERE memory_id = ?", (memory,)),
    )
    copy(source)
    edit(source, ("UPDATE knowledge_nodes SET codebase = 'moved' WHERE rowid <= 3", ()))
    report = copy_while_waiting(
        copy, command, source, tmp_path / "report.json",
        "DELETE FROM knowledge_nodes WHERE id = %s", memory, "--on-conflict", *options,
    )  # fmt: skip
    assert run(copy.database, "SELECT FROM knowledge_nodes WHERE id = %s", memory) == []
    table = report["tables"]["knowledge_nodes"]
    assert (table["inserted"], table["updated"], table["failed"], table["kept"]) == (0, 2, 0, 0)
    for each in report["tables"].values():
        assert each["source_rows"] == sum(
            each[name] for name in ("inserted", "updated", "skipped", "forgotten", "failed")
        )
    again = copy(source, on_conflict="newer")
    assert (again.forgotten, again.errors) == ([memory], [])


def test_a_later_memory_that_is_deleted_here_meanwhile_stays_away(
    source: Path, copy: Copier, command: CommandLine, tmp_path: Path
) -> None:
    memory = node_id(source, 2)
    edit(
        source,
        ("DELETE FROM scheduling WHERE memory_id = ?", (memory,)),
        ("DELETE FROM edges WHERE ? IN (source_id, target_id)", (memory,)),
        ("DELETE FROM review_events WHERE memory_id = ?", (memory,)),
    )
    copy(source)
    edit(source, ("UPDATE knowledge_nodes SET content = 'later', updated_at = '2031-01-01' WHERE rowid <= 3", ()))
    report = copy_while_waiting(
        copy, command, source, tmp_path / "report.json",
        "DELETE FROM knowledge_nodes WHERE id = %s", memory, "--on-conflict", "newer",
    )  # fmt: skip
    assert run(copy.database, "SELECT FROM knowledge_nodes WHERE id = %s", memory) == []
    assert (report["tables"]["knowledge_nodes"]["inserted"], report["memories_updated"]) == (0, 2)


def test_a_row_that_a_trigger_of_another_table_changed_is_none_that_a_copy_wrote(source: Path, copy: Copier) -> None:
    copy(source)
    run(copy.database, "UPDATE domains SET label = 'here'")
    add_trigger(
        copy.database, "UPDATE domains SET memory_count = 99; RETURN NEW;", "knowledge_nodes", when="AFTER UPDATE"
    )
    edit(source, ("UPDATE knowledge_nodes SET updated_at = '2031-01-01' WHERE rowid = 1", ()))
    for _ in range(2):
        report = copy(source, on_conflict="newer")
        assert {row.table for row in report.kept} == {"domains"}
    assert run(copy.database, "SELECT DISTINCT label, memory_count FROM domains") == [("here", 99)]


def edges_of(database: str) -> set[str]:
    return {f"{one} -> {other}" for one, other in run(database, "SELECT source_id, target_id FROM edges")}


def test_what_the_source_took_away_is_named_and_deleted_where_that_is_asked_for(
    source: Path, tmp_path: Path, copy: Copier, command: CommandLine
) -> None:
    copy(source)
    before = edges_of(copy.database)
    here, there = node_id(source, 1), node_id(source, 2)
    run(copy.database, "DELETE FROM edges WHERE source_id = %s AND target_id = %s", here, there)
    run(copy.database, "INSERT INTO edges (source_id, target_id) VALUES (%s, %s)", here, there)
    edit(
        source,
        ("DELETE FROM edges WHERE rowid <= 4", ()),
        ("DELETE FROM scheduling WHERE rowid = 5", ()),
        ("DELETE FROM review_events WHERE rowid = 6", ()),
        ("DELETE FROM domains WHERE rowid = 1", ()),
    )
    arguments = ("copy", "--sqlite-path", source, "--postgres-url", copy.database, "--on-conflict", "newer")
    done = command(*arguments, "--dry-run")
    assert (
        "edges that the source has no more, and still are here (--deletions apply deletes them): 4 rows" in done.stdout
    )
    report = copy(source, on_conflict="newer")
    assert report.deletions is not None
    named = {name: len(gone.to_delete) for name, gone in report.deletions.rows.items()}
    assert named == {"edges": 4, "scheduling": 1, "review_events": 1, "domains": 1}
    taken, changed_here = report.deletions.rows["edges"].to_delete[:-1], report.deletions.rows["edges"].to_delete[-1]
    run(
        copy.database, "UPDATE edges SET weight = 0.5 WHERE source_id = %s AND target_id = %s",
        *changed_here.split(" -> "),
    )  # fmt: skip
    report = copy(source, on_conflict="newer", deletions="apply")
    assert report.deletions is not None
    assert report.deletions.rows["edges"].deleted == taken
    assert report.deletions.as_json()["rows"]["domains"]["to_delete"] == []
    assert edges_of(copy.database) == (before | {f"{here} -> {there}"}) - set(taken)
    assert copy(source, on_conflict="newer", deletions="apply").nothing_new
    # Another file's run takes nothing of this one's away.
    other = build_source(tmp_path / "other.db", SourceSpec(memories=10, schedules=10, edges=4, events=0, seed=9))
    report = copy(other, on_conflict="newer", deletions="apply")
    assert report.deletions is not None
    assert (report.deletions.rows, report.deletions.deleted) == ({}, [])


def test_a_second_run_without_the_codebase_of_the_first_is_refused(source: Path, copy: Copier) -> None:
    copy(source, codebase="mine", owner="me")
    given = "SELECT count(*) FROM knowledge_nodes WHERE codebase = 'mine'"
    before = run(copy.database, given)
    with pytest.raises(DestinationUnusable, match="made with --codebase mine and --owner me, and --on-conflict newer"):
        copy(source, on_conflict="newer")
    with pytest.raises(DestinationUnusable, match="made with --owner me, and"):
        copy(source, on_conflict="newer", codebase="mine", dry_run=True)
    again = copy(source, on_conflict="newer", codebase="mine", owner="me", deletions="apply")
    assert again.nothing_new  # nor is the user deleted whom the first one made
    assert again.deletions is not None
    assert again.deletions.rows == {}
    assert copy(source).nothing_new
    assert run(copy.database, given) == before
    with pytest.raises(DestinationUnusable, match="give it again, or --yes"):  # that one wrote no memory
        copy(source, on_conflict="newer")
    copy(source, on_conflict="newer", yes=True)
    assert run(copy.database, given) == [(0,)]


def test_source_takes_one_file(source: Path, tmp_path: Path, copy: Copier) -> None:
    other = build_source(tmp_path / "other.db", SourceSpec(memories=1, schedules=0, edges=0, events=0))
    plans = [SqliteToPostgresPlan(path, copy.database, on_conflict="source") for path in (source, other)]  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="takes one --sqlite-path"):
        run_several_to_postgres(plans)
