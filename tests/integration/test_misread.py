"""Files that SQLite opens and others would misread: every row comes over, or the file is refused by what it has."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest
from loguru import logger

from tests.conftest import Copier
from tests.support.compare import assert_same, stored
from tests.support.misread import behind_indexes, remade
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.verifying import Verifier
from vestige_migrate import OnConflict, Progress, SourceUnusable, SqliteToPostgresPlan, run_sqlite_to_postgres
from vestige_migrate.source.file import find
from vestige_migrate.source.file.oddities import Oddities
from vestige_migrate.source.sqlite.connect import NotTheFile, SourceFile, open_source
from vestige_migrate.verify.coordinator import verify_sqlite_to_postgres

OWN = SourceSpec(form="vestige").sized(40)
ALONE = SourceSpec(form="vestige", seed=9, extra_users=0, groups=0, memberships=0, domains=0).sized(20)


def run(path: Path, *statements: str) -> None:
    edit(path, *((statement, ()) for statement in statements))


def hide_rows(path: Path) -> None:
    """A vector and its memory's edge that no index knows; a memory under another time and id than the index has."""
    first = "(SELECT id FROM knowledge_nodes NOT INDEXED WHERE rowid = 7)"
    behind_indexes(path, "node_embeddings", "UPDATE node_embeddings SET node_id = node_id || '' WHERE 0")
    behind_indexes(
        path,
        "node_embeddings",
        f"CREATE TEMP TABLE kept AS SELECT * FROM node_embeddings WHERE node_id = {first}",
        "DELETE FROM node_embeddings WHERE node_id IN (SELECT node_id FROM kept)",
        "INSERT INTO node_embeddings SELECT * FROM kept",
    )
    behind_indexes(
        path, "knowledge_nodes", "UPDATE knowledge_nodes SET created_at = '2020-01-01T00:00:00Z' WHERE rowid < 9"
    )
    behind_indexes(path, "memory_connections", "UPDATE memory_connections SET rowid = rowid + 1000 WHERE rowid % 2")


def lack_rows(path: Path) -> None:
    """Memories that an index lacks, as many as it has too much."""
    behind_indexes(
        path,
        "knowledge_nodes",
        "UPDATE knowledge_nodes SET rowid = rowid + 500 WHERE rowid > 30",
    )


@pytest.mark.parametrize(("spec", "make"), [(OWN, hide_rows), (SourceSpec().sized(60), lack_rows)])
def test_an_index_that_disagrees_with_its_table_hides_no_row(
    tmp_path: Path, copy: Copier, spec: SourceSpec, make: object
) -> None:
    path = build_source(tmp_path / "vestige.db", spec)
    assert callable(make)
    make(path)
    repaired = Path(shutil.copy(path, tmp_path / "repaired.db"))
    run(repaired, "REINDEX")
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}")
    try:
        counted = copy(path, dry_run=True)
        report = copy(path)
    finally:
        logger.remove(sink)
    assert any("REINDEX repairs it" in line and "knowledge_nodes" in line for line in lines)
    assert (report.errors, report.memories_copied, counted.memories_copied) == ([], spec.memories, spec.memories)
    assert_same(repaired, copy.database)
    verify = Verifier(copy.database)
    assert verify(path).same
    for options in ({}, {"snapshot": True}, {"on_conflict": OnConflict.NEWER}):
        again = copy(path, **options)
        assert (again.tables["knowledge_nodes"].inserted, again.tables["knowledge_nodes"].updated) == (0, 0)
    with closing(sqlite3.connect(path)) as connection:
        (lost,) = connection.execute("SELECT id FROM knowledge_nodes NOT INDEXED WHERE rowid > 30 LIMIT 1").fetchone()
    verify.tamper(f"DELETE FROM knowledge_nodes WHERE id = '{lost}'")
    assert not verify(path).same
    assert not verify(repaired).same


def test_verify_finds_what_a_copy_left_out_that_believed_the_index(
    tmp_path: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither knows of the index: verify lists the rows of the table."""
    path = build_source(tmp_path / "vestige.db", SourceSpec().sized(60))
    copy(path)
    verify = Verifier(copy.database)
    lost = "7b4ae0b1-0000-4000-8000-0123456789ab"
    behind_indexes(
        path,
        "knowledge_nodes",
        "CREATE TEMP TABLE added AS SELECT * FROM knowledge_nodes WHERE rowid = 9",
        f"UPDATE added SET id = '{lost}'",
        "INSERT INTO knowledge_nodes SELECT * FROM added",
    )
    monkeypatch.setattr(find, "find_oddities", lambda *_: Oddities())
    report = verify(path)
    assert [item.id for item in report.differences if item.table == "knowledge_nodes"] == [lost]


def without_rowid(path: Path, target: Path) -> None:
    remade(path, target, suffix="WITHOUT ROWID")


def other_kinds_and_names(path: Path, target: Path) -> None:
    """A view, a virtual table, names in another case, a STORED and a VIRTUAL column, a rowid that is none."""
    shutil.copy(path, target)
    run(
        target,
        "ALTER TABLE memory_connections RENAME TO mc",
        "CREATE VIEW memory_connections AS SELECT * FROM mc",
        "CREATE TABLE held AS SELECT * FROM review_events",
        "DROP TABLE review_events",
        "CREATE VIRTUAL TABLE review_events USING rtree(i, a, b)",
        "DROP TABLE review_events",
        "CREATE TABLE Review_Events AS SELECT * FROM held",
        "DROP TABLE held",
        "ALTER TABLE users RENAME COLUMN handle TO Handle",
    )


@pytest.mark.parametrize("make", [without_rowid, other_kinds_and_names])
def test_tables_of_every_kind_and_spelling_are_read(tmp_path: Path, copy: Copier, make: object) -> None:
    path = build_source(tmp_path / "plain.db", OWN)
    odd = tmp_path / "vestige.db"
    assert callable(make)
    make(path, odd)
    before = odd.read_bytes()
    assert copy(odd, dry_run=True).memories_copied == OWN.memories
    assert copy(odd, archive=True).errors == []
    assert_same(path, copy.database)
    assert copy(odd).tables["edges"].inserted == 0
    assert Verifier(copy.database)(odd).same
    assert odd.read_bytes() == before


def test_a_column_called_rowid_and_generated_columns_come_over(tmp_path: Path, copy: Copier) -> None:
    path = remade(build_source(tmp_path / "plain.db", OWN), tmp_path / "vestige.db")
    run(
        path,
        "ALTER TABLE knowledge_nodes ADD COLUMN rowid TEXT",
        "UPDATE knowledge_nodes SET rowid = 'a value of ' || id",
        "ALTER TABLE knowledge_nodes ADD COLUMN halved TEXT GENERATED ALWAYS AS (substr(id, 1, 4)) VIRTUAL",
        "CREATE TABLE mc (source_id TEXT, target_id TEXT, given REAL,"
        " strength REAL GENERATED ALWAYS AS (given / 4) STORED, link_type TEXT, created_at TEXT)",
        "INSERT INTO mc (source_id, target_id, given, link_type, created_at)"
        " SELECT source_id, target_id, strength, link_type, created_at FROM memory_connections",
        "DROP TABLE memory_connections",
        "ALTER TABLE mc RENAME TO memory_connections",
    )
    assert copy(path).errors == []
    found = stored(copy.database)
    with closing(sqlite3.connect(path)) as connection:
        weights = {
            (source, target): weight
            for source, target, weight in connection.execute(
                "SELECT source_id, target_id, given / 4 FROM memory_connections"
            )
        }
    assert {tuple(map(str, key)): row["weight"] for key, row in found["edges"].items()} == weights
    for (id_,), row in found["knowledge_nodes"].items():
        assert row["metadata"]["sqlite"]["rowid_"] == f"a value of {id_}"
        assert row["metadata"]["sqlite"]["halved"] == str(id_)[:4]
    assert Verifier(copy.database)(path).same


def test_a_schema_with_unknown_collations_and_functions_is_read(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", OWN)
    unknown(
        path,
        "CREATE INDEX ix ON knowledge_nodes (created_at COLLATE ELSEWHERE)",
        "CREATE INDEX iy ON node_embeddings (node_id) WHERE folded(model) <> ''",
        "CREATE TABLE notes (id TEXT COLLATE ELSEWHERE PRIMARY KEY, v TEXT CHECK (folded(v) <> '')) WITHOUT ROWID",
        "INSERT INTO notes VALUES ('a', 'b'), ('c', 'd')",
        "ALTER TABLE memory_connections ADD COLUMN low TEXT GENERATED ALWAYS AS (folded(link_type)) VIRTUAL",
    )
    report = copy(path, archive=True)
    assert (report.errors, report.archived is not None and report.archived["notes"]) == ([], 2)
    assert Verifier(copy.database)(path).same


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (
            (
                "ALTER TABLE memory_connections RENAME TO mc",
                "CREATE VIEW memory_connections AS SELECT DISTINCT source_id, target_id, strength, folded(link_type)"
                " AS link_type, created_at FROM mc",
            ),
            ("memory_connections", "folded"),
        ),
        (
            ("ALTER TABLE review_events ADD COLUMN display_name TEXT GENERATED ALWAYS AS (folded(kind)) VIRTUAL",),
            ("review_events", "folded"),
        ),
    ],
    ids=["a view", "a column with a place"],
)
def test_what_cannot_be_computed_is_refused_by_name(
    tmp_path: Path, copy: Copier, statements: tuple[str, ...], named: tuple[str, ...]
) -> None:
    path = build_source(tmp_path / "vestige.db", OWN)
    unknown(path, *statements)
    for options in ({}, {"dry_run": True}, {"snapshot": True}):
        with pytest.raises(SourceUnusable) as caught:
            copy(path, **options)
        message = str(caught.value)
        assert all(name in message for name in named)
        assert "corrupt" not in message
        assert ".recover" not in message
    with psycopg.connect(copy.database) as connection:
        assert connection.execute("SELECT to_regclass('knowledge_nodes')").fetchone() == (None,)


def unknown(path: Path, *statements: str) -> None:
    """Runs statements where a collation and a function are, which the copy does not have."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.create_collation("ELSEWHERE", lambda one, other: (one < other) - (one > other))
        connection.create_function("folded", 1, lambda text: str(text).upper(), deterministic=True)
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_a_file_in_utf16_is_read_like_any_other(tmp_path: Path, copy: Copier, encoding: str) -> None:
    path = build_source(tmp_path / "plain.db", OWN)
    run(path, "UPDATE knowledge_nodes SET content = 'Grüße 日本 😀' || id WHERE rowid > 5")
    odd = remade(path, tmp_path / "vestige.db", encoding)
    other = build_source(
        tmp_path / "other.db",
        ALONE,
    )
    assert copy(odd, archive=True).errors == []
    assert_same(path, copy.database)
    again = copy(odd, on_conflict=OnConflict.NEWER)
    assert (again.tables["knowledge_nodes"].inserted, again.tables["knowledge_nodes"].updated) == (0, 0)
    assert copy(other).errors == []
    assert Verifier(copy.database)(odd, other).same


@pytest.mark.parametrize("make", ["utf-16", "index"])
def test_what_is_written_while_a_private_copy_is_read_is_said(tmp_path: Path, copy: Copier, make: str) -> None:
    """The copy is of one moment, and whoever cuts over after exit 0 has to know that the file went on."""
    path = build_source(tmp_path / "vestige.db", OWN)
    if make == "index":
        lack_rows(path)
    else:
        path = remade(path, tmp_path / "other.db", encoding="UTF-16be")
    changed: list[Progress] = []

    def change(progress: Progress) -> None:
        if not changed and progress.done:
            changed.append(progress)
            edit(path, ("UPDATE intentions SET status = 'done'", ()), ("CREATE TABLE later (x)", ()))

    plan = SqliteToPostgresPlan(path, copy.database, workers=1)
    assert run_sqlite_to_postgres(plan, on_progress=change).source_changed
    assert not copy(path).source_changed
    changed.clear()
    edit(path, ("DROP TABLE later", ()))
    report = verify_sqlite_to_postgres(plan, change)
    assert (report.source_changed, report.same) == (True, False)


def test_invalid_utf16_is_named_and_replaced(tmp_path: Path, copy: Copier) -> None:
    odd = remade(build_source(tmp_path / "plain.db", OWN), tmp_path / "vestige.db", "UTF-16le")
    lone = "a\ud800b".encode("utf-16-le", "surrogatepass")
    run(odd, f"UPDATE knowledge_nodes SET content = CAST(x'{lone.hex()}' AS TEXT) WHERE rowid = 3")
    report = copy(odd)
    assert [(error.column, str(error.outcome)) for error in report.errors] == [("content", "copied_with_replacement")]
    (content,) = [
        row["content"] for row in stored(copy.database)["knowledge_nodes"].values() if "\ufffd" in row["content"]
    ]
    assert (content[0], content[-1], content.strip("ab\ufffd")) == ("a", "b", "")


def test_a_connection_that_is_of_no_use_is_closed(source: Path) -> None:
    for _ in range(3):
        with pytest.raises(NotTheFile):
            open_source(SourceFile(source, identity=(0, 0)))
    assert not [file for file in psutil.Process().open_files() if file.path == str(source)]
