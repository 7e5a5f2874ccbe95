"""When indexes are built, and that none is missing at the end, whatever happened in between."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same
from tests.support.databases import pgvector_version
from tests.support.running import RunningCopy, advisory_locks, our_sessions, sessions_where, wait_until
from tests.support.sources import SourceSpec, build_source
from vestige_migrate import Indexes, Interrupted, Progress, SqliteToPostgresPlan, run_sqlite_to_postgres
from vestige_migrate.destination.connection.watched_connection import WatchedConnection
from vestige_migrate.destination.indexes.build import HNSW_INDEX, hnsw_build
from vestige_migrate.destination.indexes.hnsw_memory import HnswMemory
from vestige_migrate.destination.indexes.parallel_builds import BuildProgress, build_progress
from vestige_migrate.destination.schema.schema import read_sql, statements

pytestmark = pytest.mark.indexed

PLAIN = {statement.split()[5] for statement in statements(read_sql("indexes.sql"))}
ALL = PLAIN | {HNSW_INDEX}


def valid_indexes(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT c.relname FROM pg_class AS c JOIN pg_index AS i ON i.indexrelid = c.oid WHERE i.indisvalid"
        ).fetchall()
    return {name for (name,) in rows} & ALL


def drop(url: str, *names: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for name in names:
            connection.execute(psycopg.sql.SQL("DROP INDEX {}").format(psycopg.sql.Identifier(name)))


@pytest.mark.old_server
@pytest.mark.parametrize("when", [Indexes.AUTO, Indexes.NOW, Indexes.LATER])
def test_every_index_is_there_at_the_end(source: Path, copy: Copier, when: Indexes) -> None:
    copy(source, indexes=when)
    assert valid_indexes(copy.database) == ALL
    assert_same(source, copy.database)


def test_none_builds_none_and_a_later_run_makes_up_for_it(source: Path, copy: Copier) -> None:
    copy(source, indexes=Indexes.NONE)
    assert valid_indexes(copy.database) == set()
    copy(source)
    assert valid_indexes(copy.database) == ALL
    assert_same(source, copy.database)


def test_rows_come_before_indexes_and_a_run_that_ends_between_them_is_repaired(source: Path, copy: Copier) -> None:
    """On a fresh destination; with `now` it is the other way round, and indexes that are there are kept."""
    there: list[tuple[str, int]] = []

    def look(at: Progress, end_at: str | None = None) -> None:
        there.append((at.table, len(valid_indexes(copy.database))))
        if at.table == end_at:
            raise KeyboardInterrupt

    plan = SqliteToPostgresPlan(source, copy.database, workers=1)
    with pytest.raises(Interrupted):
        run_sqlite_to_postgres(plan, on_progress=lambda at: look(at, end_at="indexes"))
    assert {count for _, count in there} == {0}
    assert ("knowledge_nodes", 0) in there
    assert copy(source).tables["knowledge_nodes"].inserted == 0
    assert valid_indexes(copy.database) == ALL
    assert_same(source, copy.database)
    with psycopg.connect(copy.database, autocommit=True) as connection:
        connection.execute("TRUNCATE knowledge_nodes CASCADE")
    drop(copy.database, *PLAIN)
    there.clear()
    run_sqlite_to_postgres(replace(plan, indexes=Indexes.NOW), on_progress=look)
    assert {count for table, count in there if table == "knowledge_nodes"} == {len(ALL)}


def test_indexes_that_a_destination_in_use_lost_are_built_again(source: Path, copy: Copier) -> None:
    copy(source)
    drop(copy.database, "idx_edges_edge_type", HNSW_INDEX)
    copy(source, indexes=Indexes.LATER)
    assert valid_indexes(copy.database) == ALL


def test_progress_names_indexes_and_the_hnsw_graph(source: Path, copy: Copier) -> None:
    seen: list[Progress] = []
    run_sqlite_to_postgres(SqliteToPostgresPlan(source, copy.database, workers=1), on_progress=seen.append)
    last = {progress.table: (progress.done, progress.total) for progress in seen}
    assert last["indexes"] == (len(PLAIN), len(PLAIN))
    with psycopg.connect(copy.database) as connection:
        row = connection.execute("SELECT count(embedding) FROM knowledge_nodes").fetchone()
    assert row is not None
    assert last["HNSW index"] == (row[0], row[0])


def test_too_little_shared_memory_and_too_little_memory_are_said_and_the_graph_is_built_all_the_same(
    tmp_path: Path, copy: Copier
) -> None:
    """Memory that no machine has, for a parallel build (pgvector 0.6), which asks for all at once; then 1 MiB."""
    copy(build_source(tmp_path / "v.db", SourceSpec(memories=900, schedules=0, edges=0, events=0)), indexes="none")
    warnings: list[str] = []
    with WatchedConnection.connect(copy.database, autocommit=True) as connection:
        connection.execute("ALTER TABLE knowledge_nodes SET (parallel_workers = 2)")
        connection.execute("SET min_parallel_table_scan_size = 0")
        shared = [(1024**2, "too little shared memory")] if pgvector_version(copy.database) >= (0, 6) else []
        for given_mib, reason in (*shared, (1, "no longer fits")):
            memory = HnswMemory(900, 2, given_mib, given_mib, True, "")
            hnsw_build(memory, 2 if given_mib > 1 else 0, warnings.append)(connection)
            assert HNSW_INDEX in valid_indexes(copy.database)
            drop(copy.database, HNSW_INDEX)
            (said,) = warnings
            assert reason in said
            warnings.clear()


def test_a_build_that_waits_says_so(source: Path, copy: Copier) -> None:
    copy(source, indexes=Indexes.NONE)
    with (
        psycopg.connect(copy.database) as holder,
        psycopg.connect(copy.database) as builder,
        WatchedConnection.connect(copy.database, autocommit=True) as watcher,
        ThreadPoolExecutor() as threads,
    ):
        holder.execute("LOCK TABLE knowledge_nodes IN ROW EXCLUSIVE MODE")
        building = threads.submit(builder.execute, read_sql("hnsw.sql"))
        waiting = BuildProgress("waiting for a lock", 0)
        wait_until(lambda: build_progress(watcher, HNSW_INDEX) == waiting, "the build to be seen waiting")
        holder.rollback()
        building.result()
        assert build_progress(watcher, HNSW_INDEX) is None


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_ends_in_an_index_build_is_repaired_by_the_next(
    tmp_path: Path, copy: Copier, command: CommandLine, how: signal.Signals
) -> None:
    copy(build_source(tmp_path / "empty.db", SourceSpec(memories=0, schedules=0, edges=0, events=0)))
    drop(copy.database, "idx_knowledge_nodes_tags")
    source = build_source(tmp_path / "vestige.db", SourceSpec(memories=60, schedules=60))
    with psycopg.connect(copy.database) as connection:
        connection.execute("LOCK TABLE knowledge_nodes IN ROW EXCLUSIVE MODE")  # rows may come, no index may
        arguments = ("--sqlite-path", str(source), "--postgres-url", copy.database, "--workers", "2")
        run = RunningCopy.start(*arguments, environment=command.environment())
        run.wait_until(lambda: _waiting_builds(copy.database), "the index build")
        if how is signal.SIGINT:
            run.interrupt()
        else:
            run.process.kill()
        code, _, err = run.finish()
        assert code == (130 if how is signal.SIGINT else -signal.SIGKILL), err
        assert "Traceback" not in err
        wait_until(lambda: our_sessions(copy.database) == 0, "our sessions to end")
        assert advisory_locks(copy.database) == 0
    assert "idx_knowledge_nodes_tags" not in valid_indexes(copy.database)
    copy(source)
    assert valid_indexes(copy.database) == ALL
    assert_same(source, copy.database)


def _waiting_builds(url: str) -> bool:
    return sessions_where(url, "query ILIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'") > 0


def test_tables_have_statistics_after_a_copy_and_after_one_that_added_rows(tmp_path: Path, copy: Copier) -> None:
    def counted() -> dict[str, float]:
        with psycopg.connect(copy.database) as connection:
            return dict(
                connection.execute(
                    "SELECT relname, reltuples FROM pg_class WHERE relname IN ('knowledge_nodes', 'edges')"
                ).fetchall()
            )

    copy(build_source(tmp_path / "first.db", SourceSpec(memories=30, schedules=30, edges=5, events=0)))
    assert counted() == {"knowledge_nodes": 30, "edges": 5}
    copy(build_source(tmp_path / "more.db", SourceSpec(memories=50, schedules=50, edges=9, events=0)))
    assert counted() == {"knowledge_nodes": 50, "edges": 5 + 9}


def test_a_few_more_rows_leave_the_statistics_as_they_are(tmp_path: Path, copy: Copier) -> None:
    copy(build_source(tmp_path / "first.db", SourceSpec(memories=60, schedules=60, edges=0, events=0)))
    copy(build_source(tmp_path / "more.db", SourceSpec(memories=64, schedules=64, edges=0, events=0)))
    with psycopg.connect(copy.database) as connection:
        counted = connection.execute("SELECT reltuples FROM pg_class WHERE relname = 'knowledge_nodes'").fetchone()
    assert counted == (60,)
