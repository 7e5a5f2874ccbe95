"""Whole copies into a real server, compared row by row."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.conftest import Copier
from tests.support.compare import assert_same, counts, stored
from tests.support.databases import LOST
from tests.support.sources import SourceSpec, build_source, edit
from vestige_migrate import Progress, SqliteToPostgresPlan, run_sqlite_to_postgres
from vestige_migrate.limits import BATCH_BYTES

FULL = {
    "memories_copied": 250,
    "scheduling_rows": 250,
    "edges_copied": 50,
    "review_events_copied": 50,
    "users_copied": 4,
    "groups_copied": 2,
    "group_memberships_copied": 4,
    "domains_copied": 5,
}


@pytest.mark.old_server
def test_every_row_arrives_and_a_second_run_inserts_nothing(plain_source: Path, copy: Copier) -> None:
    first = copy(plain_source, workers=2)
    assert {name: first.counter(name) for name in FULL} == FULL
    assert first.errors == []
    assert first.complete
    assert_same(plain_source, copy.database)
    second = copy(plain_source, workers=2)
    assert {name: second.counter(name) for name in FULL} == FULL
    assert [table.inserted for table in second.tables.values()] == [0] * 8
    assert [table.source_rows for table in second.tables.values()] == [
        table.source_rows for table in first.tables.values()
    ]
    assert second.errors == []
    assert_same(plain_source, copy.database)


@pytest.mark.old_server
def test_vestiges_own_storage_arrives_with_its_other_columns_in_metadata(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(form="vestige"))
    report = copy(path)
    assert {name: report.counter(name) for name in FULL} == FULL
    assert report.errors == []
    assert report.left_behind["intentions"] > 0
    assert_same(path, copy.database)


@pytest.mark.parametrize(("memories", "workers"), [(0, 1), (0, 8), (1, 8), (2, 3), (7, 1), (7, 8)])
def test_fewer_rows_than_workers(tmp_path: Path, copy: Copier, memories: int, workers: int) -> None:
    spec = SourceSpec(memories=memories, schedules=memories, edges=0, events=0)
    path = build_source(tmp_path / "vestige.db", spec)
    report = copy(path, workers=workers)
    assert report.memories_copied == memories
    assert_same(path, copy.database)


def test_one_single_created_at_for_all_rows(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(memories=2000, schedules=2000))
    edit(path, ("UPDATE knowledge_nodes SET created_at = '2026-05-27T09:35:58.5Z'", ()))
    assert copy(path, batch_size=37, workers=2).memories_copied == 2000
    assert_same(path, copy.database)


def test_wide_rows_end_a_batch(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(memories=12, schedules=12, edges=0, events=0))
    edit(path, ("UPDATE knowledge_nodes SET content = replace(hex(zeroblob(500000)), '0', 'a b ')", ()))
    assert 2 * BATCH_BYTES < 12 * 4_000_000
    assert copy(path).memories_copied == 12
    assert_same(path, copy.database)


def test_a_partly_filled_destination_gets_only_what_is_missing(plain_source: Path, copy: Copier) -> None:
    copy(plain_source)
    with psycopg.connect(copy.database) as connection:
        connection.execute(LOST)
        connection.execute("DELETE FROM knowledge_nodes WHERE id IN (SELECT id FROM knowledge_nodes LIMIT 30)")
    report = copy(plain_source, workers=2)
    nodes = report.tables["knowledge_nodes"]
    assert (nodes.inserted, nodes.skipped, nodes.failed) == (30, 220, 0)
    assert_same(plain_source, copy.database)


@pytest.mark.indexed
@pytest.mark.old_server
def test_all_indexes_exist_and_are_valid(plain_source: Path, copy: Copier) -> None:
    copy(plain_source)
    with psycopg.connect(copy.database) as connection:
        rows = connection.execute(
            "SELECT indexrelid::regclass::text, indisvalid FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid"
            " WHERE c.relnamespace = 'public'::regnamespace"
        ).fetchall()
        options = connection.execute(
            "SELECT pg_get_indexdef('idx_knowledge_nodes_embedding_hnsw'::regclass)"
        ).fetchone()
        dimension = connection.execute(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attname = 'embedding'"
            " AND attrelid = 'knowledge_nodes'::regclass"
        ).fetchone()
    assert all(valid for _, valid in rows)
    assert len([name for name, _ in rows if name.startswith("idx_")]) == 17
    assert options is not None
    assert "m='16', ef_construction='64'" in options[0]
    assert "vector_cosine_ops" in options[0]
    assert dimension == ("vector(256)",)


def test_search_vec_weighs_content_type_and_tags(source: Path, copy: Copier) -> None:
    edit(
        source,
        ("UPDATE knowledge_nodes SET content = 'zeppelins', node_type = 'airship', tags = '[\"hindenburg\"]'", ()),
    )
    copy(source)
    with psycopg.connect(copy.database) as connection:
        row = connection.execute("SELECT DISTINCT search_vec::text FROM knowledge_nodes").fetchall()
    assert row == [("'airship':2B 'hindenburg':3C 'zeppelin':1A",)]


@pytest.mark.old_server
def test_a_memory_past_the_tsvector_limit_is_copied_whole(source: Path, copy: Copier) -> None:
    words = " ".join(f"w{number}x" for number in range(250_000))
    edit(source, ("UPDATE knowledge_nodes SET content = ? WHERE rowid = 1", (words,)))
    assert copy(source).errors == []
    assert_same(source, copy.database)


def test_rows_that_are_only_in_the_wal_are_copied(source: Path, copy: Copier) -> None:
    import sqlite3

    writer = sqlite3.connect(source)
    try:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("UPDATE knowledge_nodes SET content = 'only in the WAL' WHERE rowid = 1")
        writer.commit()
        assert copy(source).errors == []
    finally:
        writer.close()
    contents = {row["content"] for row in stored(copy.database)["knowledge_nodes"].values()}
    assert "only in the WAL" in contents


@pytest.mark.bare_database
@pytest.mark.old_server
def test_dry_run_counts_and_writes_nothing(plain_source: Path, copy: Copier) -> None:
    report = copy(plain_source, dry_run=True)
    assert report.dry_run
    assert {name: report.counter(name) for name in FULL} == FULL
    with psycopg.connect(copy.database) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM pg_extension WHERE extname = 'vector'").fetchone() == (0,)


def test_progress_ends_at_the_total_of_every_table(plain_source: Path, database: str) -> None:
    seen: dict[str, Progress] = {}
    plan = SqliteToPostgresPlan(plain_source, database, workers=2, batch_size=20)
    run_sqlite_to_postgres(plan, on_progress=lambda progress: seen.update({progress.table: progress}))
    assert seen["knowledge_nodes"] == Progress("knowledge_nodes", 250, 250)
    assert {name for name, progress in seen.items() if progress.done != progress.total} == set()


def test_the_library_call_works_without_a_main_guard_and_logs_when_it_is_asked_to(
    plain_source: Path, database: str, tmp_path: Path
) -> None:
    import subprocess
    import sys

    script = tmp_path / "script.py"
    script.write_text(
        "from vestige_migrate import SqliteToPostgresPlan, run_sqlite_to_postgres\n"
        f"report = run_sqlite_to_postgres(SqliteToPostgresPlan({str(plain_source)!r}, {database!r}, workers=2))\n"
        "print(report.memories_copied)\n"
        "from loguru import logger\n"
        "logger.enable('vestige_migrate')\n"
        f"run_sqlite_to_postgres(SqliteToPostgresPlan({str(plain_source)!r}, {database!r}, workers=2))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "250\n"
    assert (done.stderr.count(" copying "), done.stderr.count("nothing new")) == (1, 1)
    assert counts(database)["knowledge_nodes"] == 250
