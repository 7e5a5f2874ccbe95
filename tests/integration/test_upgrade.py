"""Older sources: refused, upgraded in place after a backup, or upgraded in a private snapshot."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same
from tests.support.sources import SourceSpec, build_source
from tests.support.untouched import database_objects, files
from tests.support.vestige_schemas import BOOTSTRAP_USER_ID, Line, create_schema
from vestige_migrate import ModelMismatch, ModelSignature, SourceTooOld, SourceUnusable, SqliteToPostgresPlan
from vestige_migrate.copy.coordinator import run_sqlite_to_postgres
from vestige_migrate.source.file.upgrade import upgrade

pytestmark = pytest.mark.in_process

OLDER: list[tuple[Line, int]] = [("shared", 11), ("shared", 12), ("plan", 12), ("shared", 13), ("plan", 14)]
OLDEST: list[tuple[Line, int]] = [("shared", 1), ("shared", 5), ("shared", 9), ("shared", 10)]

older = pytest.mark.parametrize(("line", "version"), OLDER)
oldest = pytest.mark.parametrize(("line", "version"), OLDEST)


def built(path: Path, line: Line, version: int, memories: int = 40) -> Path:
    return build_source(path, SourceSpec(line=line, version=version).sized(memories))


def contents(path: Path) -> dict[str, tuple[list[str], list[tuple[object, ...]]]]:
    """Every table's columns and rows, in the order of the rows' ids."""
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'knowledge_fts%' ORDER BY name"
        ).fetchall()
        found = {}
        for (table,) in tables:
            cursor = connection.execute(f"SELECT * FROM {table} ORDER BY rowid")
            found[table] = ([column[0] for column in cursor.description], cursor.fetchall())
    return found


def versions(path: Path) -> tuple[list[tuple[int]], int]:
    with closing(sqlite3.connect(path)) as connection:
        (stamped,) = connection.execute("PRAGMA user_version").fetchone()
        return connection.execute("SELECT version FROM schema_version").fetchall(), stamped


def objects(path: Path) -> dict[tuple[str, str], set[tuple[object, ...]]]:
    """Tables with their columns (name, type, whether NULL is refused, default), indexes and triggers."""
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'").fetchall()
        return {
            (kind, name): set(connection.execute("SELECT name, type, dflt_value FROM pragma_table_info(?)", (name,)))
            for kind, name in names
        }


def backups(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.v*-backup-*"))


@older
def test_an_older_source_is_refused_with_its_version_and_both_ways_forward(
    tmp_path: Path, copy: Copier, line: Line, version: int
) -> None:
    path = built(tmp_path / "vestige.db", line, version)
    before = database_objects(copy.database), files(tmp_path)
    for dry_run in (False, True):
        with pytest.raises(SourceTooOld) as caught:
            copy(path, dry_run=dry_run)
        assert f"is at V{version}, " in str(caught.value)
        assert "--snapshot" in str(caught.value)
        assert "--allow-source-upgrade" in str(caught.value)
        assert caught.value.exit_code == 3
    assert (database_objects(copy.database), files(tmp_path)) == before


@oldest
def test_below_v11_only_a_snapshot_helps_and_the_message_says_why(
    tmp_path: Path, copy: Copier, line: Line, version: int
) -> None:
    path = built(tmp_path / "vestige.db", line, version)
    before = database_objects(copy.database), files(tmp_path)
    for options in ({}, {"allow_source_upgrade": True}, {"allow_source_upgrade": True, "dry_run": True}):
        with pytest.raises(SourceTooOld) as caught:
            copy(path, **options)
        assert f"is at V{version}, " in str(caught.value)
        assert "again with --snapshot" in str(caught.value)
        assert "does not work below V11: it would skip steps that Vestige itself must take" in str(caught.value)
    assert (database_objects(copy.database), files(tmp_path)) == before


@older
def test_upgraded_in_place_after_a_backup(tmp_path: Path, copy: Copier, line: Line, version: int) -> None:
    path = built(tmp_path / "vestige.db", line, version)
    before = contents(path)
    report = copy(path, allow_source_upgrade=True)
    assert report.errors == []
    assert (report.source.schema_version, report.source.lineage) == (15, "plan")
    assert versions(path) == ([(15,)], 15)
    assert_same(path, copy.database)

    [backup] = backups(path)
    assert re.fullmatch(rf"vestige\.db\.v{version}-backup-\d{{8}}T\d{{12}}Z", backup.name)
    assert backup.stat().st_mode & 0o777 == 0o600
    assert contents(backup) == before
    assert versions(backup) == ([(version,)], 0)

    after = contents(path)
    for table, (columns, rows) in before.items():
        if table != "schema_version":
            kept = len(columns)
            assert after[table][0][:kept] == columns
            assert [row[:kept] for row in after[table][1]] == rows

    # Again: nothing to upgrade, no backup, no byte changed, nothing inserted.
    copied = files(tmp_path)
    again = copy(path, allow_source_upgrade=True)
    assert [table.inserted for table in again.tables.values()] == [0] * 8
    assert again.memories_copied == report.memories_copied == 40
    assert files(tmp_path) == copied
    upgrade(path)
    assert files(tmp_path) == copied


@older
def test_an_upgraded_file_has_all_that_a_v15_file_has(tmp_path: Path, line: Line, version: int) -> None:
    path = built(tmp_path / "vestige.db", line, version)
    upgrade(path)
    with closing(sqlite3.connect(tmp_path / "v15.db")) as connection:
        create_schema(connection, "plan", 15)
    wanted, found = objects(tmp_path / "v15.db"), objects(path)
    for key, columns in wanted.items():
        assert key in found
        assert columns <= found[key], key
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id, handle FROM users").fetchall() == [(BOOTSTRAP_USER_ID, "local")]
        assert connection.execute(
            "SELECT DISTINCT owner_user_id, visibility, shared_with_groups, codebase FROM knowledge_nodes"
        ).fetchall() == [(BOOTSTRAP_USER_ID, "private", "[]", None)]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


@older
def test_full_text_search_works_after_an_upgrade(tmp_path: Path, line: Line, version: int) -> None:
    path = built(tmp_path / "vestige.db", line, version)
    upgrade(path)
    with closing(sqlite3.connect(path)) as connection:
        find = "SELECT COUNT(*) FROM knowledge_fts WHERE knowledge_fts MATCH ?"
        assert connection.execute(find, ("note",)).fetchone() == (40,)
        connection.execute("UPDATE knowledge_nodes SET content = 'a walrus' WHERE rowid = 1")
        connection.execute("DELETE FROM knowledge_nodes WHERE rowid = 2")
        assert connection.execute(find, ("walrus",)).fetchone() == (1,)
        assert connection.execute(find, ("note",)).fetchone() == (38,)
        connection.execute("INSERT INTO knowledge_fts(knowledge_fts) VALUES ('integrity-check')")


def test_a_writer_keeps_its_lock_and_the_file_its_version(
    tmp_path: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vestige_migrate.source.file.upgrade._LOCK_SECONDS", 0.2)
    path = built(tmp_path / "vestige.db", "shared", 13)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(SourceUnusable, match=r"database is locked.*it is unchanged.*--snapshot"):
            copy(path, allow_source_upgrade=True)
        writer.execute("ROLLBACK")
    assert versions(path) == ([(13,)], 0)
    assert backups(path) == []


def test_rows_that_are_only_in_the_wal_are_in_the_backup_and_in_the_copy(tmp_path: Path, copy: Copier) -> None:
    path = built(tmp_path / "vestige.db", "shared", 13)
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("UPDATE knowledge_nodes SET content = 'only in the WAL' WHERE rowid = 1")
        writer.commit()
        assert b"only in the WAL" not in path.read_bytes()
        copy(path, allow_source_upgrade=True)
        assert_same(path, copy.database)
    [backup] = backups(path)
    with closing(sqlite3.connect(backup)) as connection:
        query = "SELECT content FROM knowledge_nodes WHERE rowid = 1"
        assert connection.execute(query).fetchone() == ("only in the WAL",)


def test_a_dry_run_counts_an_older_file_and_upgrades_nothing(tmp_path: Path, copy: Copier) -> None:
    path = built(tmp_path / "vestige.db", "plan", 14)
    before = database_objects(copy.database), files(tmp_path)
    report = copy(path, allow_source_upgrade=True, dry_run=True)
    assert (report.memories_copied, report.scheduling_rows, report.edges_copied) == (40, 40, 8)
    assert (report.source.schema_version, report.source.lineage) == (14, "plan")
    assert (database_objects(copy.database), files(tmp_path)) == before


def test_a_refusal_by_the_destination_comes_before_the_upgrade(tmp_path: Path, database: str) -> None:
    path = built(tmp_path / "vestige.db", "plan", 14)
    before = files(tmp_path)
    plan = SqliteToPostgresPlan(path, database, allow_source_upgrade=True)
    with pytest.raises(ModelMismatch):
        run_sqlite_to_postgres(plan, ModelSignature("another", 3))
    assert files(tmp_path) == before


@pytest.mark.parametrize(("line", "version"), [("shared", 13), ("plan", 14)])
def test_a_snapshot_leaves_the_file_as_it_was_and_is_removed(
    tmp_path: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch, line: Line, version: int
) -> None:
    path = built(tmp_path / "vestige.db", line, version)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    before = files(tmp_path)
    report = copy(path, snapshot=True)
    assert report.errors == []
    assert (report.source.path, report.source.schema_version) == (str(path), version)
    assert report.memories_copied == report.scheduling_rows == 40
    assert files(tmp_path) == before
    assert list(temporary.glob("vestige-*")) == []
    assert_same(path, copy.database)


def test_a_snapshot_is_removed_when_the_run_fails(
    tmp_path: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = built(tmp_path / "vestige.db", "shared", 13)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    def fail(*_: object) -> None:
        assert list(temporary.glob("vestige-*"))
        raise sqlite3.DatabaseError("injected")

    monkeypatch.setattr("vestige_migrate.prepare.source.upgrade", fail)
    with pytest.raises(SourceUnusable, match=r"could not be upgraded to V15 \(injected\)"):
        copy(path, snapshot=True)
    assert list(temporary.glob("vestige-*")) == []


def test_the_command_refuses_upgrades_and_snapshots(tmp_path: Path, database: str, command: CommandLine) -> None:
    path = built(tmp_path / "vestige.db", "plan", 14)
    arguments = ("copy", "--sqlite-path", path, "--postgres-url", database, "--no-progress")
    refused = command(*arguments)
    assert refused.returncode == 3
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
    for part in ("V14", "--allow-source-upgrade", "--snapshot"):
        assert part in refused.stderr
    snapshot = command(*arguments, "--snapshot")
    assert snapshot.returncode == 0, snapshot.stderr
    assert backups(path) == []
    upgraded = command(*arguments, "--allow-source-upgrade")
    assert upgraded.returncode == 0, upgraded.stderr
    assert str(backups(path)[0]) in upgraded.stderr
    assert versions(path) == ([(15,)], 15)
