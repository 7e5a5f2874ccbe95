"""`--deletions`: memories that the source has deleted since a copy brought them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same
from tests.support.damage import damage, pages_of
from tests.support.databases import run
from tests.support.guest import Guest
from tests.support.sources import SourceSpec, build_source, edit, node_id
from vestige_migrate import (
    DeletionReport,
    DestinationUnusable,
    MigrationReport,
    OnConflict,
    PlanError,
    SqliteToPostgresPlan,
    run_several_to_postgres,
)
from vestige_migrate.source.read.tombstones import opaque_names

pytestmark = pytest.mark.in_process

AFTER = "2031-05-27T09:35:58.123456789+00:00"
LATER_STILL = "2032-01-01T00:00:00Z"
FORMS = {
    "plan": SourceSpec(memories=40, schedules=40, edges=10, events=10),
    "V18": SourceSpec(line="released", version=18, memories=40, edges=10),
    "V35": SourceSpec(line="released", version=35, memories=40, edges=10),
}
TABLES = (
    (
        "CREATE TABLE IF NOT EXISTS deletion_tombstones"
        " (memory_id TEXT PRIMARY KEY, deleted_at TEXT NOT NULL, node_type TEXT NOT NULL)",
        (),
    ),
    (
        "CREATE TABLE IF NOT EXISTS sync_tombstones"
        " (table_name TEXT NOT NULL, row_id TEXT NOT NULL, deleted_at TEXT NOT NULL, PRIMARY KEY (table_name, row_id))",
        (),
    ),
)
KINDS = ["deletion", "sync", "opaque", "opaque NUL"]


def bury(path: Path, memory: str, kind: str = "deletion", at: object = AFTER) -> None:
    """Deletes the memory as Vestige does: with what hangs on it, and with a tombstone."""
    with_vectors = (
        [("DELETE FROM node_embeddings WHERE node_id = ?", (memory,))] if has(path, "node_embeddings") else []
    )
    edges = "edges" if has(path, "edges") else "memory_connections"
    edit(
        path,
        *TABLES,
        *with_vectors,
        (f"DELETE FROM {edges} WHERE ? IN (source_id, target_id)", (memory,)),
        *[(f"DELETE FROM {table} WHERE memory_id = ?", (memory,))
          for table in ("scheduling", "review_events") if has(path, table)],
        ("DELETE FROM knowledge_nodes WHERE id = ?", (memory,)),
    )  # fmt: skip
    if kind == "deletion":
        columns, values = "deletion_tombstones (memory_id, deleted_at, node_type)", (memory, at, "fact")
    else:
        name = {"sync": memory, "opaque": opaque_names(memory)[0], "opaque NUL": opaque_names(memory)[1]}[kind]
        columns, values = "sync_tombstones (row_id, deleted_at, table_name)", (name, at, "knowledge_nodes")
    edit(path, (f"INSERT OR REPLACE INTO {columns} VALUES (?, ?, ?)", values))


def has(path: Path, table: str) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is not None


def found(report: MigrationReport) -> DeletionReport:
    assert report.deletions is not None
    return report.deletions


def there(url: str, memory: str) -> bool:
    return run(url, "SELECT id FROM knowledge_nodes WHERE id = %s", memory) != []


@pytest.mark.old_server
@pytest.mark.parametrize("form", FORMS)
def test_what_a_tombstone_names_is_named_and_then_goes_with_all_that_hangs_on_it(
    tmp_path: Path, copy: Copier, form: str
) -> None:
    path = build_source(tmp_path / "vestige.db", FORMS[form])
    copy(path)
    memories = dict(zip(KINDS, (node_id(path, row) for row in (1, 2, 3, 4)), strict=True))
    for kind, memory in memories.items():
        bury(path, memory, kind)
    for dry in (True, False):
        named = copy(path, on_conflict="newer", dry_run=dry)
        assert found(named) == DeletionReport(applied=False, to_delete=sorted(memories.values()))
        assert named.exit_code == 0
        assert all(there(copy.database, memory) for memory in memories.values())
    assert found(copy(path, deletions="apply", dry_run=True)).to_delete == sorted(memories.values())
    applied = copy(path, deletions="apply")
    assert found(applied) == DeletionReport(applied=True, deleted=sorted(memories.values()))
    assert (applied.exit_code, applied.nothing_new) == (0, False)
    assert_same(path, copy.database)
    again = copy(path, deletions="apply")
    assert found(again) == DeletionReport(applied=True)
    assert again.nothing_new


def test_what_is_not_looked_for_is_not_said(source: Path, copy: Copier) -> None:
    copy(source)
    bury(source, node_id(source, 1))
    for options in ({}, {"on_conflict": "newer", "deletions": "ignore"}):
        report = copy(source, **options)
        assert report.deletions is None
        assert "deletions" not in report.as_json()


def test_what_was_changed_here_since_or_written_here_stays_and_is_named(source: Path, copy: Copier) -> None:
    copy(source)
    changed, timeless, at_once, gone = (node_id(source, row) for row in (1, 2, 3, 4))
    bury(source, changed)
    bury(source, timeless, at="yesterday")
    bury(source, at_once)
    bury(source, gone, at="2001-01-01T00:00:00Z")
    bury(source, gone, "sync")  # the later one of two counts
    run(copy.database, "UPDATE knowledge_nodes SET updated_at = %s WHERE id = %s", LATER_STILL, changed)
    run(copy.database, "UPDATE knowledge_nodes SET updated_at = %s WHERE id = %s", AFTER[:26] + "Z", at_once)
    [(written,)] = run(
        copy.database,
        "INSERT INTO knowledge_nodes (id, content) VALUES (gen_random_uuid(), 'written here') RETURNING id::text",
    )
    report = copy(source, on_conflict="newer", deletions="apply")
    assert found(report) == DeletionReport(
        applied=True,
        deleted=sorted([at_once, gone]),
        changed_since=sorted([changed, timeless]),
        not_in_source=[written],
    )
    assert [there(copy.database, memory) for memory in (changed, timeless, written)] == [True] * 3
    assert report.exit_code == 0


def test_what_was_recalled_or_linked_here_since_stays_with_all_that_hangs_on_it(source: Path, copy: Copier) -> None:
    copy(source)
    recalled, linked, target, reviewed, gone = (node_id(source, row) for row in range(1, 6))
    run(copy.database, "UPDATE scheduling SET last_review = %s WHERE memory_id = %s", LATER_STILL, recalled)
    run(copy.database, "DELETE FROM edges WHERE source_id = %s AND target_id = %s", linked, target)
    run(copy.database, "INSERT INTO edges VALUES (%s, %s, 'semantic', 0.5, %s)", linked, target, LATER_STILL)
    run(
        copy.database,
        "INSERT INTO review_events (id, memory_id, occurred_at, rating, kind)"
        " VALUES (gen_random_uuid(), %s, %s, 3, 'review')",
        reviewed,
        LATER_STILL,
    )
    for memory in (recalled, linked, target, reviewed, gone):
        bury(source, memory)
    report = copy(source, deletions="apply")
    assert found(report) == DeletionReport(
        applied=True, deleted=[gone], changed_since=sorted([recalled, linked, target, reviewed])
    )


def test_a_memory_that_came_back_is_none_that_was_deleted(source: Path, copy: Copier) -> None:
    copy(source)
    memory = node_id(source, 1)
    edit(
        source,
        *TABLES,
        (
            "INSERT OR REPLACE INTO deletion_tombstones (memory_id, deleted_at, node_type) VALUES (?, ?, 'fact')",
            (memory, AFTER),
        ),
        ("UPDATE knowledge_nodes SET id = upper(id) WHERE rowid = 1", ()),
    )
    assert found(copy(source, deletions="apply")) == DeletionReport(applied=True)
    assert there(copy.database, memory)


def test_a_memory_that_another_file_has_stays(source: Path, tmp_path: Path, copy: Copier) -> None:
    other = tmp_path / "other.db"
    shutil.copy(source, other)
    kept, gone = node_id(source, 1), node_id(source, 2)
    plans = [
        SqliteToPostgresPlan(path, copy.database, workers=1, on_conflict=OnConflict.NEWER) for path in (source, other)
    ]
    run_several_to_postgres(plans)
    bury(source, kept)
    for path in (source, other):
        bury(path, gone)
    report = run_several_to_postgres(plans).as_json()
    assert report["deletions"]["to_delete"] == [gone]
    assert ["deletions" in section for section in report["sources"]] == [False, False]


def test_what_postgresql_does_not_let_go_is_an_error_and_the_others_go(source: Path, copy: Copier) -> None:
    copy(source)
    held, kept, *others = (node_id(source, row) for row in range(1, 8))
    run(copy.database, "CREATE TABLE theirs (memory uuid REFERENCES knowledge_nodes)")
    run(copy.database, "INSERT INTO theirs VALUES (%s)", held)
    run(
        copy.database,
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" RETURN CASE WHEN OLD.id = '{kept}' THEN NULL ELSE OLD END; END $$",
    )
    run(copy.database, "CREATE TRIGGER keep BEFORE DELETE ON knowledge_nodes FOR EACH ROW EXECUTE FUNCTION keep()")
    for memory in (held, kept, *others):
        bury(source, memory)
    report = copy(source, deletions="apply")
    deletions = found(report)
    assert (report.exit_code, deletions.deleted, deletions.to_delete) == (1, sorted(others), sorted([held, kept]))
    assert {(error.id, str(error.outcome), error.sqlstate) for error in deletions.errors} == {
        (held, "not_deleted", "23503"), (kept, "not_deleted", None),
    }  # fmt: skip
    assert not report.nothing_new


@pytest.mark.parametrize("ids_are_known", [True, False])
def test_memories_that_a_damaged_source_has_lost_are_none_that_were_deleted(
    tmp_path: Path, copy: Copier, command: CommandLine, ids_are_known: bool
) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(memories=90, schedules=90, edges=0, events=0))
    copy(path)
    memory = node_id(path, 1)
    bury(path, memory)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")
    damage(path, pages_of(path, "knowledge_nodes")[-2])
    if not ids_are_known:
        for page in pages_of(path, "sqlite_autoindex_knowledge_nodes_1"):
            damage(path, page)
    report = copy(path, deletions="apply")
    assert len([error for error in report.errors if error.table == "knowledge_nodes"]) > 1
    deletions = found(report)
    if ids_are_known:
        assert deletions == DeletionReport(applied=True, deleted=[memory])
    else:
        assert (deletions.applied, deletions.deleted, deletions.to_delete) == (False, [], [memory])
        assert "ids cannot be read" in deletions.held_back
        done = command("copy", "--sqlite-path", path, "--postgres-url", copy.database, "--deletions", "apply")
        assert f"still here, because {deletions.held_back}: 1 memory" in done.stdout
        assert "--deletions apply" not in done.stdout
    assert there(copy.database, memory) is not ids_are_known


def test_a_role_that_may_not_delete_is_told_before_anything_is_written(
    source: Path, copy: Copier, guest: Guest
) -> None:
    copy(source)
    run(copy.database, f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {guest.role}")
    bury(source, node_id(source, 1))
    plan = SqliteToPostgresPlan(source, guest.url, workers=1, indexes="none", deletions="apply")  # type: ignore[arg-type]
    with pytest.raises(DestinationUnusable, match=r"GRANT .*DELETE ON .*knowledge_nodes"):
        run_several_to_postgres([plan])


def test_a_scope_and_deletions_exclude_each_other(source: Path, copy: Copier) -> None:
    with pytest.raises(PlanError, match="--scope and --deletions exclude each other"):
        copy(source, scope="user", deletions="report")
    with pytest.raises(PlanError, match="--deletions is some: it must be ignore or report or apply"):
        copy(source, deletions="some")


def test_the_command_line_says_what_is_to_be_done(
    source: Path, tmp_path: Path, copy: Copier, command: CommandLine
) -> None:
    copy(source)
    memory = node_id(source, 1)
    bury(source, memory)
    report = tmp_path / "report.json"
    arguments = ("copy", "--sqlite-path", source, "--postgres-url", copy.database, "--indexes", "none")
    named = command(*arguments, "--on-conflict", "newer", "--report", report)
    assert named.returncode == 0, named.stderr
    expected = "deleted in the source, and still here (--deletions apply deletes them): 1 memory"
    assert f"{expected}\n  {memory}\n" in named.stdout
    assert json.loads(report.read_text())["deletions"] == {
        "applied": False, "deleted": [], "to_delete": [memory], "changed_since": [], "not_in_source": [], "errors": [],
    }  # fmt: skip
    done = command(*arguments, "--deletions", "apply")
    assert done.returncode == 0, done.stderr
    assert f"deleted in the source, and now here too with all that hung on them: 1 memory\n  {memory}\n" in done.stdout
    assert "nothing new" not in done.stdout
    assert not there(copy.database, memory)
