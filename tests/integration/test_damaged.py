"""Files with damaged pages: what can be read comes over, and every row that cannot is named."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from loguru import logger

from tests.conftest import CommandLine, Copier
from tests.support.damage import GARBAGE, SCHEMA, ZEROS, damage, page_size, pages_of
from tests.support.sources import SourceSpec, build_source
from tests.support.table_counts import table_counts
from tests.support.vestige_schemas import Line
from vestige_migrate import Outcome, SourceTooOld, SourceUnusable, SqliteToPostgresPlan
from vestige_migrate.source.file.find import find_source
from vestige_migrate.source.sqlite.connect import open_source
from vestige_migrate.source.sqlite.quoting import quote_identifier
from vestige_migrate.verify.coordinator import verify_sqlite_to_postgres

pytestmark = pytest.mark.in_process

MEMORIES = 90

Rows = dict[int, tuple[object, ...]]


def tables(connection: sqlite3.Connection) -> dict[str, Rows]:
    """Every row of every table, by rowid."""
    names = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        if not name.startswith(("sqlite_", "knowledge_fts"))
    ]
    found = {}
    for name in names:
        rows = connection.execute(f"SELECT * FROM {quote_identifier(name)} AS n").fetchall()
        rowids = connection.execute(f"SELECT rowid FROM {quote_identifier(name)} AS n NOT INDEXED").fetchall()
        found[name] = {rowid: row for (rowid,), row in zip(rowids, rows, strict=True)}
    return found


@pytest.fixture(params=["plan", "released"])
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file whose pages are all in it, and none in a WAL."""
    line: Line = request.param
    version = 15 if line == "plan" else 18
    path = build_source(
        tmp_path / "vestige.db", SourceSpec(line=line, version=version, memories=MEMORIES, schedules=MEMORIES, edges=20)
    )
    assert path.stat().st_size > 30 * page_size(path)
    return path


def test_every_row_is_there_or_named_whichever_page_is_damaged(whole: Path) -> None:
    """Odd pages with garbage, even ones with zeros.

    Every page of a small file. A released one is mostly tables and indexes of one page: of those every third.
    """
    intact = whole.read_bytes()
    with closing(sqlite3.connect(whole)) as connection:
        expected = tables(connection)
    catalog = {1, *pages_of(whole, SCHEMA), *pages_of(whole, SCHEMA, "interior")}
    branched = [name for name in ("knowledge_nodes", "node_embeddings") if name in expected]
    large = catalog.union(*(pages_of(whole, name, kind) for name in branched for kind in ("leaf", "interior")))
    pages = range(1, len(intact) // page_size(whole) + 1)
    refused, lossy = [], 0
    for page in pages:
        if len(pages) > 100 and page not in large and page % 3:
            continue
        whole.write_bytes(intact)
        damage(whole, page, GARBAGE if page % 2 else ZEROS)
        try:
            with find_source(whole) as (file, found, _), closing(open_source(file)) as connection:
                read = tables(connection)
                lost = {(row.table, row.rowid): dict(row.known) for row in found.lost} if found else {}
        except SourceUnusable:
            refused.append(page)
            continue
        lossy += bool(lost)
        for table, rows in expected.items():
            missing = rows.keys() - read[table].keys()
            assert {rowid: rows[rowid] for rowid in read[table]} == read[table], (page, table)
            if (table, None) not in lost:
                assert {(table, rowid) for rowid in missing} == {key for key in lost if key[0] == table}, (page, table)
        for (table, rowid), known in lost.items():
            if table == "knowledge_nodes" and rowid is not None:
                assert known["id"] == expected[table][rowid][0]
    whole.write_bytes(intact)
    # The list of tables cannot be done without.
    assert set(refused) == catalog
    assert lossy > 10


def test_a_copy_of_a_damaged_file_names_what_it_lacks(whole: Path, copy: Copier, command: CommandLine) -> None:
    with closing(sqlite3.connect(whole)) as connection:
        intact = tables(connection)["knowledge_nodes"]
    damage(whole, pages_of(whole, "knowledge_nodes")[3])
    with find_source(whole) as (_, found, _):
        assert found is not None
        lost = {str(intact[row.rowid][0]) for row in found.lost if row.rowid is not None}
    assert lost
    report_file = command.home / "report.json"
    arguments = ("--sqlite-path", whole, "--postgres-url", copy.database)
    done = command("copy", *arguments, "--workers", "2", "--report", report_file)
    assert done.returncode == 1, done.stderr
    assert "is damaged" in done.stderr
    assert "Traceback" not in done.stderr
    report = json.loads(report_file.read_text())
    named = {error["id"] for error in report["errors"] if error["table"] == "knowledge_nodes"}
    assert named == lost
    assert all(
        "cannot be read (damaged page)" in e["message"] for e in report["errors"] if e["table"] == "knowledge_nodes"
    )
    for table in report["tables"].values():
        assert table["source_rows"] == table["inserted"] + table["skipped"] + table["failed"]
    assert report["tables"]["knowledge_nodes"] == table_counts(
        source_rows=MEMORIES, inserted=MEMORIES - len(lost), failed=len(lost)
    )
    with psycopg.connect(copy.database) as connection:
        stored = {str(id_) for (id_,) in connection.execute("SELECT id FROM knowledge_nodes").fetchall()}
    assert stored == {str(row[0]) for row in intact.values()} - lost
    dry = copy(whole, dry_run=True)
    assert dry.tables["knowledge_nodes"].failed == len(lost)
    again = copy(whole)
    assert (again.tables["knowledge_nodes"].skipped, again.exit_code) == (MEMORIES - len(lost), 1)
    verified = verify_sqlite_to_postgres(SqliteToPostgresPlan(whole, copy.database, workers=1))
    assert (verified.differences, verified.exit_code) == ([], 1)
    assert {error.id for error in verified.not_copied if error.table == "knowledge_nodes"} == lost


@pytest.mark.parametrize("on_conflict", ["skip", "newer", "source"])
def test_a_dry_run_counts_what_a_second_copy_of_a_damaged_file_counts(
    on_conflict: str, whole: Path, copy: Copier
) -> None:
    copy(whole)
    damage(whole, pages_of(whole, "knowledge_nodes")[1])
    dry = copy(whole, on_conflict=on_conflict, dry_run=True)
    report = copy(whole, on_conflict=on_conflict)
    assert report.tables["knowledge_nodes"].failed > 0
    assert dry.tables == report.tables


def test_a_memory_whose_vector_is_lost_comes_without_it_and_is_named(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(line="released", version=18, memories=60))
    vectors = "node_embeddings"
    damage(path, pages_of(path, vectors)[1])
    report = copy(path)
    assert report.tables["knowledge_nodes"].inserted == 60
    lost = [error for error in report.errors if error.column == "embedding"]
    assert lost
    assert {error.outcome for error in lost} == {Outcome.COPIED_WITHOUT_VALUE}
    with psycopg.connect(copy.database) as connection:
        rows = connection.execute("SELECT id::text FROM knowledge_nodes WHERE embedding IS NULL").fetchall()
    assert {error.id for error in lost} <= {id_ for (id_,) in rows}


def test_damage_that_costs_no_row_is_said_and_the_copy_is_whole(whole: Path, copy: Copier) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING", format="{message}")
    damage(whole, pages_of(whole, "sqlite_autoindex_knowledge_nodes_1")[0])
    try:
        report = copy(whole)
    finally:
        logger.remove(sink)
    assert (report.exit_code, report.memories_copied) == (0, MEMORIES)
    assert any("is damaged" in line and "0 rows cannot be read" in line for line in lines)


@pytest.mark.parametrize(("table", "other"), [("edges", "Edges"), ("review_events", "review_events")])
def test_a_damaged_file_with_a_view_in_place_of_a_table_is_refused_by_name(
    tmp_path: Path, copy: Copier, table: str, other: str
) -> None:
    """Only tables are salvaged: the rows behind the view would be missing without a word."""
    path = build_source(tmp_path / "vestige.db", SourceSpec(memories=400, schedules=400, edges=30, events=30))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"ALTER TABLE {table} RENAME TO kept")
        connection.execute(f"CREATE VIEW {other} AS SELECT * FROM kept")
        connection.commit()
    damage(path, pages_of(path, "knowledge_nodes")[2])
    with pytest.raises(SourceUnusable, match=f"{other} is no table"):
        copy(path)


def test_an_older_damaged_file_is_refused(tmp_path: Path, copy: Copier) -> None:
    """Its upgrade counts on constraints that a damaged file need not keep."""
    path = build_source(tmp_path / "vestige.db", SourceSpec(line="plan", version=13, memories=80))
    damage(path, pages_of(path, "knowledge_nodes")[2])
    for options in ({"snapshot": True}, {"allow_source_upgrade": True}):
        with pytest.raises(SourceUnusable, match=r"is a corrupt SQLite database .*sqlite3 FILE \.recover") as caught:
            copy(path, **options)
        assert not isinstance(caught.value, SourceTooOld)
