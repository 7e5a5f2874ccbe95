"""Vectors of more than 2,000 dimensions: indexed in another form, searched in it, or said to be without an index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Copier
from tests.support.compare import assert_same
from tests.support.databases import LOST, new_enough
from tests.support.guest import Guest
from tests.support.logged import log_lines
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.verifying import Verifier
from vestige_migrate import DestinationUnusable
from vestige_migrate.destination.indexes.build import HNSW_INDEX
from vestige_migrate.destination.schema.vector_index import Form, forms

pytestmark = pytest.mark.indexed

MEMORIES = 30


@pytest.fixture
def database(database: str) -> Iterator[str]:
    """One with halves and signs (`test_old_pgvector` has what an older pgvector does)."""
    with new_enough(database, pgvector=(0, 7)) as url:
        yield url


def long_source(path: Path, dimension: int) -> Path:
    spec = SourceSpec(memories=MEMORIES, schedules=0, edges=0, events=0, dimension=dimension, model="long-model")
    return build_source(path, spec)


@pytest.mark.bare_database
def test_an_older_pgvector_has_no_index_for_them_which_is_said_and_an_update_is_enough(
    tmp_path: Path, copy: Copier
) -> None:
    """One that is newer passes itself off as an older one."""
    source = long_source(tmp_path / "vestige.db", 2001)
    with psycopg.connect(copy.database, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        [(real,)] = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchall()
        connection.execute("UPDATE pg_extension SET extversion = least(extversion, '0.6.2') WHERE extname = 'vector'")
        with log_lines() as lines:
            foreseen = copy(source, dry_run=True).estimate
            report = copy(source, verify=True)
        said = [line for line in lines if "no HNSW index" in line]
        assert len(said) == 2
        assert all(line.startswith("WARNING") and "Version 0.7 or newer" in line for line in said)
        assert foreseen is not None
        assert foreseen.hnsw is None
        assert_same(source, copy.database)
        found = report.verification
        assert found is not None
        assert found.search is not None
        assert (found.exit_code, found.missing_indexes) == (0, [])
        assert found.search.no_recall == "the destination has no HNSW index"
        nearest = (
            b"SELECT count(*) FROM knowledge_nodes AS n, vestige_search(NULL, n.embedding, 1) AS f WHERE f.id = n.id"
        )
        assert connection.execute(nearest).fetchone() == (MEMORIES - MEMORIES // 25,)
        connection.execute("UPDATE pg_extension SET extversion = %s WHERE extname = 'vector'", (real,))
        copy(source)
        index = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (HNSW_INDEX,)).fetchone()
        assert index == (bool(forms(2001, real)),)


@pytest.mark.parametrize(
    ("dimension", "form", "nearest"),
    [
        (2001, "halfvec_cosine_ops", "embedding::halfvec(2001) <=> '{vector}'::vector::halfvec(2001)"),
        (4001, "bit_hamming_ops", "binary_quantize(embedding)::bit(4001) <~> binary_quantize('{vector}'::vector)"),
    ],
)
def test_long_vectors_are_indexed_in_another_form_and_found_through_it(
    tmp_path: Path, copy: Copier, dimension: int, form: str, nearest: str
) -> None:
    source = long_source(tmp_path / "vestige.db", dimension)
    with log_lines() as lines:
        foreseen = copy(source, dry_run=True).estimate
        assert foreseen is not None
        assert foreseen.hnsw is not None
        assert form.startswith(foreseen.hnsw.form)
        report = copy(source, verify=True)
    said = [line for line in lines if f"vectors of {dimension:,} dimensions" in line]
    assert ["would be indexed" in said[0], "are indexed" in said[1], len(said)] == [True, True, 2]
    assert_same(source, copy.database)
    found = report.verification
    assert found is not None
    assert (found.exit_code, found.differences, found.missing_indexes) == (0, [], [])
    assert found.search is not None
    assert found.search.recall is not None
    assert found.search.recall > 0.95
    with psycopg.connect(copy.database) as connection:
        row = connection.execute("SELECT pg_get_indexdef(%s::regclass)", (HNSW_INDEX,)).fetchone()
        assert row is not None
        assert form in row[0]
        connection.execute("SET enable_seqscan = off")
        vector = connection.execute("SELECT embedding::text FROM knowledge_nodes LIMIT 1").fetchone()
        assert vector is not None
        query = f"EXPLAIN SELECT id FROM knowledge_nodes ORDER BY {nearest.format(vector=vector[0])} LIMIT 10"
        plan = "\n".join(line for (line,) in connection.execute(query.encode()))
        assert f"Index Scan using {HNSW_INDEX}" in plan
    with psycopg.connect(copy.database) as connection:
        found_by = connection.execute(
            "SELECT count(*), pg_stat_get_xact_numscans(%s::regclass) FROM"
            " (SELECT * FROM knowledge_nodes WHERE embedding IS NOT NULL OFFSET 0) AS n,"
            " vestige_search(NULL, n.embedding, 1) AS f WHERE f.id = n.id",
            (HNSW_INDEX,),
        ).fetchone()
        vectors = MEMORIES - MEMORIES // 25
        assert found_by == (vectors, vectors)


def test_an_index_that_a_long_vector_lost_or_that_is_not_its_own_is_named_and_built_again(
    tmp_path: Path, copy: Copier, database: str
) -> None:
    source = long_source(tmp_path / "vestige.db", 2500)
    copy(source, indexes="none")
    verify = Verifier(database)
    assert HNSW_INDEX in verify(source).missing_indexes
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            f"CREATE INDEX {HNSW_INDEX} ON knowledge_nodes USING hnsw"
            " ((embedding::halfvec(2500)) halfvec_l2_ops)".encode()
        )
        [flaw] = [item for item in verify(source).differences if item.id == HNSW_INDEX]
        assert "another distance (halfvec_l2_ops" in flaw.detail
        connection.execute(f"DROP INDEX {HNSW_INDEX}".encode())
    copy(source)
    found = verify(source)
    assert (found.exit_code, found.missing_indexes) == (0, [])


def test_a_number_that_has_no_half_precision_is_kept_and_the_signs_are_indexed(tmp_path: Path, copy: Copier) -> None:
    """Where the index is of halves already, the vector stays behind, and the report says so."""
    source = long_source(tmp_path / "vestige.db", 2048)
    copy(source)
    with psycopg.connect(copy.database, autocommit=True) as connection, log_lines() as lines:
        connection.execute(LOST)
        connection.execute("DELETE FROM knowledge_nodes WHERE id IN (SELECT min(id::text)::uuid FROM knowledge_nodes)")
        # The last four bytes of a vector: 1e9 in little-endian float32.
        edit(
            source,
            ("UPDATE knowledge_nodes SET embedding = CAST(substr(embedding, 1, 2047 * 4) || x'286b6e4e' AS BLOB)"
             " WHERE id = (SELECT min(id) FROM knowledge_nodes)", ()),
        )  # fmt: skip
        [error] = copy(source).errors
        assert (error.column, str(error.outcome)) == ("embedding", "copied_without_value")
        connection.execute(f"DROP INDEX {HNSW_INDEX}".encode())
        connection.execute(b"DELETE FROM knowledge_nodes WHERE embedding IS NULL")
        report = copy(source, verify=True)
    assert (report.errors, report.exit_code) == ([], 0)
    assert any("WARNING" in line and "half precision does not hold" in line for line in lines)
    assert_same(source, copy.database)
    assert report.verification is not None
    assert report.verification.search is not None
    assert report.verification.search.ef_search == 200


def test_a_role_that_does_not_own_the_tables_copies_without_the_index_and_needs_what_it_calls(
    tmp_path: Path, copy: Copier, guest: Guest
) -> None:
    source = long_source(tmp_path / "vestige.db", 2049)
    copy(source)
    guest.owner(
        "GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {role}", LOST, "DELETE FROM knowledge_nodes",
        "REVOKE EXECUTE ON FUNCTION vector_to_halfvec FROM PUBLIC",
    )  # fmt: skip
    for dry_run in (True, False):
        with pytest.raises(DestinationUnusable, match="what the HNSW index of so long vectors calls") as refused:
            Copier(guest.url)(source, dry_run=dry_run)
    guest.follow(str(refused.value))
    assert Copier(guest.url)(source).tables["knowledge_nodes"].inserted == MEMORIES
    guest.owner(f"DROP INDEX {HNSW_INDEX}", LOST, "DELETE FROM knowledge_nodes")
    with log_lines() as lines:
        assert Copier(guest.url)(source).tables["knowledge_nodes"].inserted == MEMORIES
    assert [line for line in lines if "belong to another role, who gets it" in line] != []


def test_vectors_that_pgvector_cannot_store_are_announced_and_then_reported_one_by_one(
    tmp_path: Path, copy: Copier
) -> None:
    source = build_source(
        tmp_path / "vestige.db",
        SourceSpec(memories=5, schedules=0, edges=0, events=0, dimension=16_001, model="huge", no_vector_every=0),
    )
    with log_lines() as lines:
        copy(source, dry_run=True)
        [said] = [line for line in lines if "16,001 dimensions" in line]
        assert said.startswith("WARNING")
        assert "would come over without them" in said
        assert "re-embed" in said
        report = copy(source)
    assert report.memories_copied == 5
    lost = [error for error in report.errors if error.table == "knowledge_nodes"]
    assert [(error.column, str(error.outcome)) for error in lost] == [("embedding", "copied_without_value")] * 5


def test_which_form_an_index_has_goes_by_length_and_version() -> None:
    halves = (Form.HALVES, Form.BITS)
    for version, dimension, wanted in (
        ("0.5.1", 2000, (Form.WHOLE,)), ("0.5.1", 2001, ()), ("0.6.2", 3072, ()), ("0.7.0", 3072, halves),
        ("0.8.5", 4000, halves), ("0.10.0", 4001, (Form.BITS,)), ("0.8", 16_000, (Form.BITS,)), ("0.8", 16_001, ()),
        ("1.0", 2001, halves), ("unpackaged", 2001, ()), ("main", 2000, (Form.WHOLE,)),
    ):  # fmt: skip
        assert forms(dimension, version) == wanted, (version, dimension)
