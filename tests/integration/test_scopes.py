"""Namespaces of memories: the scope, which stays in metadata and can be asked for, and the codebase of a tag."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same, stored
from tests.support.databases import LOST
from tests.support.in_process import called
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.untouched import files
from vestige_migrate import SourceUnusable
from vestige_migrate.destination.indexes.build import SCOPE_INDEX
from vestige_migrate.errors import PlanError

pytestmark = pytest.mark.in_process

SPEC = SourceSpec(line="released", version=39, memories=60, edges=20)
TAGGED = [
    ('["a", "codebase:shop"]', "shop"),
    ('["codebase:first", "codebase:second"]', "first"),
    ('[ "codebase:with \\"quotes\\" and ünïcode" ]', 'with "quotes" and ünïcode'),
    ('["codebase:", "codebase: blank before"]', " blank before"),
    ('["codebase", "Codebase:other", "my codebase:no", {"codebase:x": 1}]', None),
    ('{"codebase:key": "codebase:value"}', None),
    ("codebase:bare", None),
]


@pytest.mark.parametrize(
    "spec",
    [SourceSpec(memories=30, schedules=30, edges=4, events=4), SPEC],
    ids=["plan", "released"],
)
def test_the_tag_codebase_fills_a_codebase_that_nobody_set(tmp_path: Path, copy: Copier, spec: SourceSpec) -> None:
    path = build_source(tmp_path / "vestige.db", spec)
    is_plan = spec.line == "plan"
    blank = "UPDATE knowledge_nodes SET tags = '[]'" + (", codebase = NULL, metadata = '{}'" if is_plan else "")
    edit(path, (blank, ()))
    for rowid, (tags, _) in enumerate(TAGGED, 1):
        edit(path, ("UPDATE knowledge_nodes SET tags = ? WHERE rowid = ?", (tags, rowid)))
    if is_plan:
        edit(
            path,
            ("UPDATE knowledge_nodes SET tags = '[\"codebase:tag\"]', codebase = 'own' WHERE rowid = 20", ()),
            ("UPDATE knowledge_nodes SET tags = '[\"codebase:tag\"]', codebase = '' WHERE rowid = 21", ()),
            (
                'UPDATE knowledge_nodes SET tags = \'["codebase:tag"]\', metadata = \'{"codebase": "m"}\''
                " WHERE rowid = 22",
                (),
            ),
        )
    report = copy(path, codebase="given")
    malformed = {error.column for error in report.errors}
    assert malformed == {"tags"}
    with psycopg.connect(copy.database) as connection:
        found: dict[str, str] = dict(connection.execute("SELECT id::text, codebase FROM knowledge_nodes").fetchall())
    expected = {rowid: name or "given" for rowid, (_, name) in enumerate(TAGGED, 1)}
    expected |= {20: "own", 21: "", 22: "given"} if is_plan else {}
    assert {rowid: found[id_] for rowid, id_ in _ids(path).items() if rowid in expected} == expected
    assert set(found.values()) == {*expected.values(), "given"}
    done = called("verify", "--sqlite-path", path, "--postgres-url", copy.database, "--codebase", "given")
    assert done == 0


@pytest.mark.indexed
def test_a_scope_is_asked_for_by_an_index(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SPEC)
    edit(path, ("UPDATE knowledge_nodes SET scope = 'my project' WHERE rowid % 3 = 0", ()))
    copy(path)
    assert_same(path, copy.database)
    query = "SELECT count(*) FROM knowledge_nodes WHERE metadata #>> '{sqlite,scope}' = 'my project'"
    with psycopg.connect(copy.database) as connection:
        assert connection.execute(query).fetchone() == (20,)
        connection.execute("SET enable_seqscan = off")
        plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {query}"))
    assert SCOPE_INDEX in plan


@pytest.mark.indexed
def test_an_index_of_scopes_that_only_the_owner_can_make_is_no_reason_to_refuse(
    source: Path, copy: Copier, database: str
) -> None:
    """A destination of an earlier version, whose tables belong to another role than the one that copies."""
    copy(source)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP INDEX {SCOPE_INDEX}")
        connection.execute("CREATE ROLE scope_copier LOGIN")
        try:
            connection.execute("GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO scope_copier")
            edit(source, ("UPDATE knowledge_nodes SET id = '00000000-0000-4000-8000-00000000000f' WHERE rowid = 1", ()))
            as_copier = psycopg.conninfo.make_conninfo(database, user="scope_copier")
            assert called("copy", "--sqlite-path", source, "--postgres-url", as_copier, "--workers", "1") in (0, 1)
            assert len(stored(database)["knowledge_nodes"]) == 41
            assert called("copy", "--sqlite-path", source, "--postgres-url", database, "--workers", "1") in (0, 1)
            row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (SCOPE_INDEX,)).fetchone()
            assert row == (True,)
        finally:
            connection.execute("DROP OWNED BY scope_copier")
            connection.execute("DROP ROLE scope_copier")


def test_one_scope_is_copied_with_what_belongs_to_it_and_the_rest_is_counted(
    tmp_path: Path, copy: Copier, command: CommandLine
) -> None:
    path = build_source(tmp_path / "vestige.db", replace(SPEC, version=25))  # from V27 on Vestige writes no NULL
    scope = "CASE rowid % 4 WHEN 0 THEN 'Zoë''s' WHEN 1 THEN NULL WHEN 2 THEN '  ' ELSE 'zoë''s' END"
    edit(path, (f"UPDATE knowledge_nodes SET scope = {scope}", ()), ("UPDATE memory_connections SET source_id ="
         " upper(source_id), target_id = '{' || replace(target_id, '-', '') || '}'", ()))  # fmt: skip
    before = files(tmp_path)
    for name, condition in (("Zoë's", "scope = 'Zoë''s'"), ("user", "trim(coalesce(scope, '')) = ''")):
        ids = _chosen(path, condition)
        edges = [edge for edge in _edges(path) if set(edge) <= ids]
        report_file = tmp_path.parent / f"{tmp_path.name}.json"
        arguments = ("--sqlite-path", path, "--postgres-url", copy.database, "--scope", name)
        for dry in (("--dry-run",), ()):
            done = command("copy", *arguments, "--workers", "2", "--report", report_file, *dry)
            assert done.returncode == 0, done.stderr
            report = json.loads(report_file.read_text())
            said = report["source"]["scope"]
            assert said["name"] == name
            assert said["left_out"].items() >= {"knowledge_nodes": 60 - len(ids), "edges": 20 - len(edges)}.items()
            assert report["tables"]["knowledge_nodes"]["source_rows"] == len(ids)
            assert report["tables"]["scheduling"]["source_rows"] == len(ids)
            assert report["tables"]["edges"]["source_rows"] == len(edges)
            assert f"only the scope {name!r}; left out, of other scopes: knowledge_nodes {60 - len(ids)}" in done.stdout
        found = stored(copy.database)
        assert {str(id_) for (id_,) in found["knowledge_nodes"]} == ids
        assert len(found["edges"]) == len(edges)
        verified = command("verify", *arguments)
        assert verified.returncode == 0, verified.stdout
        assert "--archive" not in done.stdout + verified.stdout
        assert command("verify", *arguments[:-2]).returncode == 1
        assert files(tmp_path) == before
        with psycopg.connect(copy.database) as connection:
            connection.execute(LOST)
            connection.execute("DELETE FROM knowledge_nodes")


def test_a_scope_of_several_files_and_of_an_older_one(tmp_path: Path, copy: Copier, command: CommandLine) -> None:
    older = build_source(tmp_path / "older.db", SourceSpec(line="shared", version=12, memories=30, edges=9, seed=3))
    newer = build_source(tmp_path / "newer.db", SPEC)
    ids = _chosen(older, "scope = 'agent'") | _chosen(newer, "scope = 'agent'")
    before = files(tmp_path)
    arguments = ("--sqlite-path", older, "--sqlite-path", newer, "--postgres-url", copy.database, "--scope", "agent")
    done = command("copy", *arguments, "--snapshot", "--verify")
    assert done.returncode == 0, done.stderr
    assert {str(id_) for (id_,) in stored(copy.database)["knowledge_nodes"]} == ids
    assert command("verify", *arguments, "--snapshot").returncode == 0
    assert files(tmp_path) == before


def test_a_scope_of_a_file_that_is_read_from_a_private_copy_and_its_newer_rows(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SPEC)
    edit(
        path,
        ("CREATE TABLE rebuilt AS SELECT * FROM knowledge_nodes", ()),  # without its key, and spelt otherwise
        ("DROP TABLE knowledge_nodes", ()),
        ("ALTER TABLE rebuilt RENAME TO Knowledge_Nodes", ()),
        ("ALTER TABLE Knowledge_Nodes RENAME COLUMN scope TO Scope", ()),
    )
    ids = _chosen(path, "scope = 'session'")
    copy(path, scope="session")
    assert {str(id_) for (id_,) in stored(copy.database)["knowledge_nodes"]} == ids
    edit(path, ("UPDATE knowledge_nodes SET updated_at = '2031-01-01T00:00:00Z', content = 'changed'", ()))
    report = copy(path, scope="session", on_conflict="newer")
    assert report.tables["knowledge_nodes"].updated == len(ids)
    assert copy(path).tables["knowledge_nodes"].inserted == 60 - len(ids)


def test_domains_that_no_memory_of_the_scope_names_stay_behind(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SPEC)
    edit(
        path,
        ("UPDATE knowledge_nodes SET domains = '[]', scope = 'other'", ()),
        ("UPDATE knowledge_nodes SET scope = 'mine', domains = (SELECT json_array(min(id)) FROM domains)"
         " WHERE rowid <= 3", ()),
        ("UPDATE knowledge_nodes SET domains = 'no JSON' WHERE rowid = 9", ()),
    )  # fmt: skip
    report = copy(path, scope="mine")
    assert report.errors == []
    assert len(stored(copy.database)["domains"]) == 1
    assert report.source.scope is not None
    assert report.source.scope.left_out["domains"] == 4


def test_a_scope_that_cannot_be_copied_is_refused_before_anything_is_written(tmp_path: Path, copy: Copier) -> None:
    without = build_source(tmp_path / "plain.db", SourceSpec().sized(10))
    path = build_source(tmp_path / "vestige.db", SPEC)
    before = files(tmp_path)
    with pytest.raises(SourceUnusable, match="keeps no scope of its memories, which Vestige has done since V4"):
        copy(without, scope="user")
    with pytest.raises(SourceUnusable, match=r"none of the 60 memories of .* has the scope that --scope names"):
        copy(path, scope="User")
    for options in ({"scope": " "}, {"scope": "user", "archive": True}):
        with pytest.raises(PlanError, match="--scope"):
            copy(path, **options)
    assert files(tmp_path) == before
    with psycopg.connect(copy.database) as connection:
        assert connection.execute("SELECT to_regclass('knowledge_nodes')").fetchone() == (None,)


def _chosen(path: Path, condition: str) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {id_ for (id_,) in connection.execute(f"SELECT id FROM knowledge_nodes WHERE {condition}")}


def _edges(path: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT source_id, target_id FROM memory_connections").fetchall()
    return [tuple(str(UUID(id_)) for id_ in edge) for edge in found]


def _ids(path: Path) -> dict[int, str]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT rowid, id FROM knowledge_nodes").fetchall())
