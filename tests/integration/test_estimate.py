"""The estimate against the truth: bytes of real files, and what it says of destinations in every state."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Copier
from tests.support.databases import LOST
from tests.support.sources import SourceSpec, build_source, edit
from vestige_migrate import Indexes
from vestige_migrate.destination.connection.connect import connect
from vestige_migrate.estimate.server_speed import measure_speed
from vestige_migrate.report.estimate import Estimate
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.row_sizes import file_bytes, row_size
from vestige_migrate.source.sqlite.quoting import column

pytestmark = pytest.mark.indexed

SMALL = SourceSpec(memories=60, schedules=60, edges=12, events=12)


def estimated(report: MigrationReport) -> Estimate:
    assert report.estimate is not None
    assert report.estimate.bytes <= report.estimate.bytes_at_most
    assert 0 <= report.estimate.seconds[0] <= report.estimate.seconds[1]
    return report.estimate


def truth(path: Path, *queries: str) -> int:
    """Bytes of every value that these queries yield: numbers 8, texts and blobs their own."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        rows = [row for query in queries for row in connection.execute(query)]
    return sum(0 if value is None else len(value) if isinstance(value, bytes) else 8 for row in rows for value in row)


@pytest.mark.parametrize(
    ("spec", "vectors"),
    [
        (SMALL, "SELECT embedding FROM knowledge_nodes"),
        (SourceSpec(form="vestige").sized(60), "SELECT embedding FROM node_embeddings"),
        (SourceSpec(line="released", version=14, form="vestige").sized(60), "SELECT embedding FROM node_embeddings"),
        (
            SourceSpec(line="released", version=30, form="vestige", dimension=32).sized(60),
            "SELECT embedding FROM embedding_profile_vectors"
            " WHERE profile_id = (SELECT active_profile_id FROM embedding_profile_state)",
        ),
        (SourceSpec(model=None).sized(60), "SELECT NULL"),
    ],
    ids=["plain", "vestige", "V14", "V30", "no vectors"],
)
def test_bytes_of_a_file_that_is_measured_whole(tmp_path: Path, copy: Copier, spec: SourceSpec, vectors: str) -> None:
    path = build_source(tmp_path / "vestige.db", spec)
    edit(path, ("UPDATE knowledge_nodes SET content = content || ? WHERE rowid % 7 = 0", ("größer \0 " * 400,)))
    found = estimated(copy(path, dry_run=True))
    assert found.exact
    assert found.content_bytes == truth(path, "SELECT content FROM knowledge_nodes")
    assert found.vector_bytes == pytest.approx(truth(path, vectors), abs=1)
    assert found.hnsw is None or found.hnsw.dimension == spec.dimension
    assert (found.hnsw is None) is (spec.model is None)


@pytest.fixture
def skewed(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """10,000 rows with holes between their rowids and sizes from 20 bytes to 100 kB, as notes have them."""
    draw = random.Random(5)
    with closing(sqlite3.connect(tmp_path / "skewed.db")) as connection:
        connection.execute("CREATE TABLE notes (content, more)")
        sizes = [min(100_000, int(draw.lognormvariate(6, 1.2)) + 20) for _ in range(10_000)]
        connection.executemany(
            "INSERT INTO notes (rowid, content, more) VALUES (?, ?, ?)",
            [(at * draw.randint(1, 3) + 40_000 * at, "x" * size, at) for at, size in enumerate(sizes)],
        )
        connection.commit()
        yield connection


def test_a_sample_is_near_the_truth_where_sizes_differ_widely(skewed: sqlite3.Connection) -> None:
    source = TableSource("notes", (column("content"), column("more")), (column("rowid"),))
    size = row_size(skewed, source, 0, None)
    (mean,) = skewed.execute("SELECT AVG(LENGTH(content)) FROM notes").fetchone()
    assert not size.exact
    assert size.sampled <= 512
    assert mean / 1.5 < size.text < mean * 1.5
    assert size.other == 8
    assert file_bytes(skewed) >= mean * 10_000


def test_what_is_missing_counts_and_nothing_else(tmp_path: Path, copy: Copier) -> None:
    """Without tables, complete, with rows missing, without its HNSW index, with newer rows: one destination."""
    path = build_source(tmp_path / "vestige.db", SMALL)
    first = estimated(copy(path, dry_run=True))
    assert first.hnsw is not None
    with closing(sqlite3.connect(path)) as source:
        (vectors,) = source.execute("SELECT COUNT(embedding) FROM knowledge_nodes").fetchone()
    with psycopg.connect(copy.database) as connection:
        own = connection.execute("SELECT pg_size_bytes(current_setting('maintenance_work_mem')) / 1048576").fetchone()
    assert (first.hnsw.vectors, first.hnsw.memory_set_mib) == (vectors, own and own[0])
    assert first.hnsw.fits
    assert estimated(copy(path, dry_run=True, indexes=Indexes.NONE)).indexes == (0, 0)
    assert estimated(copy(path, dry_run=True, indexes=Indexes.NOW)).hnsw is None
    report = copy(path)
    assert report.estimate is None
    assert "estimate" not in report.as_json()

    nothing = estimated(copy(path, dry_run=True))
    assert (nothing.rows, nothing.bytes, nothing.hnsw, nothing.indexes) == (0, 0, None, (0, 0))
    edit(path, ("UPDATE knowledge_nodes SET updated_at = '2099-01-01' WHERE rowid <= 6", ()))
    newer = estimated(copy(path, dry_run=True, on_conflict="newer"))
    assert newer.rows == 6 + 6  # with their schedules
    with psycopg.connect(copy.database, autocommit=True) as connection:
        connection.execute(LOST)
        connection.execute("DELETE FROM knowledge_nodes WHERE id IN (SELECT id FROM knowledge_nodes LIMIT 20)")
        connection.execute("DROP INDEX idx_knowledge_nodes_embedding_hnsw")
        left = connection.execute("SELECT count(embedding) FROM knowledge_nodes").fetchone()
    again = copy(path, dry_run=True)
    part = estimated(again)
    assert part.rows == sum(table.inserted for table in again.tables.values()) >= 40
    assert part.content_bytes == pytest.approx(first.content_bytes / 3, rel=0.01)
    assert part.hnsw is not None
    assert left is not None
    assert part.hnsw.vectors == pytest.approx(left[0] + 20 * vectors / 60, abs=1)


def test_archived_rows_count_too(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SMALL)
    edit(path, ("CREATE TABLE plans (id TEXT, body TEXT)", ()), ("INSERT INTO plans VALUES ('a', ?)", ("y" * 5000,)))
    without, archived = (estimated(copy(path, dry_run=True, archive=archive)) for archive in (False, True))
    assert (archived.rows - without.rows, archived.other_bytes - without.other_bytes) == (1, 5001)


def test_vectors_too_long_for_an_index_get_none(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(dimension=16_001).sized(10))
    found = estimated(copy(path, dry_run=True))
    assert found.hnsw is None
    assert found.vector_bytes == pytest.approx(10 * 16_001 * 4, rel=0.1)


def test_the_pace_is_measured_where_nothing_may_be_written(database: str) -> None:
    with connect(database, "test") as connection:
        connection.execute("SET default_transaction_read_only = on")
        pace = measure_speed(connection)
    for low, high in (pace.round_trip, pace.search_byte, pace.sent_byte):
        assert 0 <= low <= high
    assert pace.search_byte[0] > 0
