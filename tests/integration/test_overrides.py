"""`--codebase` and `--owner`: for memories that have only the default, and for no others."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import BOOTSTRAP, expected, stored
from tests.support.databases import run
from tests.support.sources import SourceSpec, build_source, edit, node_id
from tests.support.verifying import Verifier
from vestige_migrate import PlanError, SqliteToPostgresPlan, run_several_to_postgres

pytestmark = pytest.mark.in_process

ANA = "22222222-2222-4222-8222-222222222222"


def user_id(url: str, handle: str) -> UUID:
    ((found,),) = run(url, "SELECT id FROM users WHERE handle = %s", handle)
    assert isinstance(found, UUID)
    return found


def assert_overridden(path: Path, url: str, codebase: str | None, owner: UUID | None) -> None:
    """Every memory is as in the file, but for the two columns where they had the default."""
    found = stored(url)["knowledge_nodes"]
    changed = 0
    for key, row in expected(path)["knowledge_nodes"].items():
        wanted = dict(row)
        if codebase is not None and row["codebase"] is None:
            wanted["codebase"] = codebase
        if owner is not None and row["owner_user_id"] == BOOTSTRAP:
            wanted["owner_user_id"] = owner
        changed += wanted != row
        assert found[key] == wanted
    assert changed > 0
    assert found.keys() == expected(path)["knowledge_nodes"].keys()


def test_both_are_set_where_there_is_only_the_default(plain_source: Path, copy: Copier) -> None:
    report = copy(plain_source, codebase="web/shop", owner="zoë")
    assert report.errors == []
    assert_overridden(plain_source, copy.database, "web/shop", user_id(copy.database, "zoë"))
    owners = {row["owner_user_id"] for row in stored(copy.database)["knowledge_nodes"].values()}
    assert len(owners) == 4
    assert BOOTSTRAP not in owners
    before = stored(copy.database)
    again = copy(plain_source, codebase="web/shop", owner="zoë", on_conflict="newer")
    assert [table.inserted + table.updated for table in again.tables.values()] == [0] * 8
    assert stored(copy.database) == before


@pytest.mark.parametrize(("codebase", "owner"), [("only", None), (None, "only")])
def test_each_works_without_the_other(plain_source: Path, copy: Copier, codebase: str, owner: str) -> None:
    copy(plain_source, codebase=codebase, owner=owner)
    made = user_id(copy.database, "only") if owner else None
    assert_overridden(plain_source, copy.database, codebase, made)


@pytest.mark.parametrize(("line", "version"), [("shared", 9), ("released", 14), ("released", 39)])
def test_files_without_these_columns_get_them_for_every_memory(
    tmp_path: Path, copy: Copier, line: str, version: int
) -> None:
    spec = SourceSpec(line=line, version=version, memories=20, edges=0, events=0)  # type: ignore[arg-type]
    path = build_source(tmp_path / "vestige.db", spec)
    copy(path, codebase="c", owner="me", snapshot=True)
    assert run(copy.database, "SELECT DISTINCT codebase, handle FROM knowledge_nodes JOIN users u ON u.id ="
                 " owner_user_id") == [("c", "me")]  # fmt: skip


def test_a_codebase_in_the_metadata_is_no_default(tmp_path: Path, copy: Copier) -> None:
    path = build_source(
        tmp_path / "vestige.db", SourceSpec(line="released", version=18, memories=10, edges=0, events=0)
    )
    edit(
        path,
        ("ALTER TABLE knowledge_nodes ADD COLUMN metadata TEXT", ()),
        ('UPDATE knowledge_nodes SET metadata = \'{"codebase": "own"}\' WHERE rowid <= 4', ()),
    )
    copy(path, codebase="given")
    assert run(copy.database, "SELECT codebase, count(*) FROM knowledge_nodes GROUP BY 1 ORDER BY 1") == [
        ("given", 6),
        ("own", 4),
    ]


def test_null_and_empty_are_told_apart(source: Path, copy: Copier) -> None:
    edit(
        source,
        ("UPDATE knowledge_nodes SET codebase = '', owner_user_id = NULL", ()),
        ("UPDATE knowledge_nodes SET codebase = NULL WHERE rowid <= 3", ()),
    )
    copy(source, codebase="x", owner="me")
    assert run(copy.database, "SELECT codebase, count(*) FROM knowledge_nodes GROUP BY 1 ORDER BY 1") == [
        ("", 37), ("x", 3),
    ]  # fmt: skip
    assert run(copy.database, "SELECT DISTINCT owner_user_id FROM knowledge_nodes") == [(user_id(copy.database, "me"),)]


def test_an_owner_in_the_destination_is_used(source: Path, copy: Copier) -> None:
    empty = source.with_name("empty.db")
    copy(build_source(empty, SourceSpec(memories=0, schedules=0, edges=0, events=0, extra_users=0, memberships=0)))
    with psycopg.connect(copy.database) as connection:
        connection.execute("INSERT INTO users (id, handle, display_name) VALUES (%s, 'ana', 'Ana')", (ANA,))
    copy(source, owner="ana")
    assert_overridden(source, copy.database, None, UUID(ANA))
    assert run(copy.database, "SELECT display_name FROM users WHERE handle = 'ana'") == [("Ana",)]


def test_an_owner_in_the_source_comes_as_it_is_there(source: Path, copy: Copier) -> None:
    edit(source, ("INSERT INTO users VALUES (?, 'ana', 'Ana A.', '2026-05-27 09:35:58', '{\"a\": 1}')", (ANA,)))
    report = copy(source, owner="ana")
    assert report.errors == []
    assert report.tables["users"].inserted == 4
    assert_overridden(source, copy.database, None, UUID(ANA))
    assert run(copy.database, "SELECT display_name, metadata FROM users WHERE handle = 'ana'") == [("Ana A.", {"a": 1})]


@pytest.mark.parametrize("id_", ["no uuid", None, b"\xff\xfe", str(BOOTSTRAP)])
def test_a_user_of_the_source_that_cannot_be_the_owner_is_passed_over(source: Path, copy: Copier, id_: object) -> None:
    edit(source, ("INSERT OR REPLACE INTO users (id, handle, created_at) VALUES (?, 'ana', '2026-05-27')", (id_,)))
    report = copy(source, owner="ana")
    assert report.tables["knowledge_nodes"].failed == 0
    assert user_id(copy.database, "ana") != BOOTSTRAP
    assert run(copy.database, "SELECT count(*) FROM knowledge_nodes WHERE owner_user_id = %s", BOOTSTRAP) == [(0,)]


def test_the_local_user_is_the_default_itself(source: Path, copy: Copier) -> None:
    assert copy(source, owner="local").errors == []
    assert stored(copy.database)["knowledge_nodes"] == expected(source)["knowledge_nodes"]


def test_an_owner_of_a_later_file_is_one_user(tmp_path: Path, source: Path, copy: Copier) -> None:
    other = build_source(
        tmp_path / "other.db",
        SourceSpec(
            memories=10, schedules=10, edges=0, events=0, seed=8, extra_users=0, groups=0, memberships=0, domains=0
        ),
    )
    edit(other, ("INSERT INTO users VALUES (?, 'ana', 'Ana A.', '2026-05-27 09:35:58', '{}')", (ANA,)))
    plans = [SqliteToPostgresPlan(path, copy.database, workers=2, owner="ana") for path in (source, other)]
    report = run_several_to_postgres(plans)
    assert report.errors == []
    assert run(copy.database, "SELECT id::text, display_name FROM users WHERE handle = 'ana'") == [(ANA, "Ana A.")]
    assert run(copy.database, "SELECT count(*) FROM knowledge_nodes WHERE owner_user_id = %s", BOOTSTRAP) == [(0,)]


def test_replaced_memories_get_them_too(source: Path, copy: Copier) -> None:
    """And all others that have none and were not changed here: they differ from what a copy brings now."""
    copy(source)
    edit(source, ("UPDATE knowledge_nodes SET codebase = NULL, owner_user_id = NULL, updated_at = '2031-01-01'"
                  " WHERE rowid <= 2", ()))  # fmt: skip
    copy(source, codebase="new", owner="me", on_conflict="newer")
    assert run(copy.database, "SELECT count(*) FROM knowledge_nodes WHERE codebase = 'new' AND owner_user_id = %s",
                 user_id(copy.database, "me")) == [(6,)]  # fmt: skip
    assert Verifier(copy.database)(source, codebase="new", owner="me").same


@pytest.mark.holds("a copy")
def test_memories_that_are_there_already_stay(source: Path, copy: Copier) -> None:
    before = stored(copy.database)["knowledge_nodes"]
    copy(source, codebase="new", owner="me")
    assert stored(copy.database)["knowledge_nodes"] == before


def test_an_owner_that_is_not_there_is_an_error_still(source: Path, copy: Copier) -> None:
    edit(source, ("UPDATE knowledge_nodes SET owner_user_id = ? WHERE rowid = 1", (ANA,)))
    report = copy(source, owner="me")
    assert [(error.id, error.column) for error in report.errors if error.table == "knowledge_nodes"] == [
        (node_id(source, 1), "owner_user_id")
    ]


@pytest.mark.holds("a copy")
def test_a_dry_run_makes_no_user(source: Path, copy: Copier) -> None:
    copy(source, owner="me", dry_run=True)
    assert run(copy.database, "SELECT 1 FROM users WHERE handle = 'me'") == []


@pytest.mark.parametrize("value", ["", "  ", "a\0b", "x" * 256, "\udcff"])
@pytest.mark.parametrize("name", ["codebase", "owner"])
def test_a_value_that_cannot_be_stored_is_refused(plain_source: Path, name: str, value: str) -> None:
    with pytest.raises(PlanError, match=f"--{name} must be a text of 1 to 255 characters"):
        SqliteToPostgresPlan(plain_source, "postgresql://", **{name: value})  # type: ignore[arg-type]


def test_the_command_line_takes_both(source: Path, copy: Copier, command: CommandLine, tmp_path: Path) -> None:
    report_file = tmp_path / "report.json"
    arguments = ("copy", "--sqlite-path", source, "--postgres-url", copy.database)
    done = command(*arguments, "--codebase", "web/shop", "--owner", "ana", "--report", report_file)
    assert done.returncode == 0, done.stderr
    assert json.loads(report_file.read_text())["errors"] == []
    assert_overridden(source, copy.database, "web/shop", user_id(copy.database, "ana"))
    refused = command(*arguments, "--owner", "")
    assert refused.returncode == 2
    assert "--owner must be" in refused.stderr
