"""The embedding model registry (docs/versions.md): who is compared with whom, what is refused, what is stamped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same
from tests.support.sources import OtherVectors, SourceSpec, build_source, edit
from tests.support.untouched import database_objects, files
from vestige_migrate import (
    DestinationUnusable,
    MigrationReport,
    ModelMismatch,
    ModelSignature,
    SqliteToPostgresPlan,
    run_sqlite_to_postgres,
)

pytestmark = pytest.mark.in_process

NOMIC = ModelSignature("nomic-ai/nomic-embed-text-v1.5", 256, SourceSpec().model_hash)
BGE = ModelSignature("BAAI/bge-large-en-v1.5", 1024, "1234")
SMALL = SourceSpec(memories=30, schedules=30, edges=5, events=5, extra_users=0, groups=0, memberships=0)


def small(path: Path, **changes: Any) -> Path:
    return build_source(path, replace(SMALL, **changes))


def copy_with(path: Path, url: str, embedder: ModelSignature | None = None, **options: object) -> MigrationReport:
    plan = SqliteToPostgresPlan(path, url, **{"workers": 1, "indexes": "none", **options})  # type: ignore[arg-type]
    return run_sqlite_to_postgres(plan, embedder)


def registered(url: str) -> tuple[object, ...] | None:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT name, dimension, hash FROM embedding_model").fetchone()


def column_type(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attname = 'embedding'"
            " AND attrelid = 'knowledge_nodes'::regclass"
        ).fetchone()
    assert row is not None
    return str(row[0])


def has_hnsw(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT to_regclass('idx_knowledge_nodes_embedding_hnsw')").fetchone() != (None,)


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement)


DIFFERENT = [
    pytest.param(BGE, id="all"),
    pytest.param(ModelSignature("nomic-ai/nomic-embed-text-v2", 256, NOMIC.hash), id="name"),
    pytest.param(ModelSignature(NOMIC.name, 768, NOMIC.hash), id="dimension"),
    pytest.param(ModelSignature(NOMIC.name, 256, "1234"), id="hash"),
    pytest.param(ModelSignature("NOMIC-ai/nomic-embed-vision-v1.5", 256, NOMIC.hash), id="a word of the name"),
]


@pytest.mark.parametrize("embedder", DIFFERENT)
def test_another_embedder_than_the_sources_is_refused(
    plain_source: Path, database: str, embedder: ModelSignature
) -> None:
    before = database_objects(database), files(plain_source.parent)
    with pytest.raises(ModelMismatch) as caught:
        copy_with(plain_source, database, embedder)
    error = caught.value
    assert (error.source, error.other, error.other_role) == (NOMIC, embedder, "embedder")
    assert error.exit_code == 3
    assert (database_objects(database), files(plain_source.parent)) == before


@pytest.mark.parametrize("there", DIFFERENT)
def test_another_model_in_the_destination_is_refused(
    tmp_path: Path, plain_source: Path, database: str, there: ModelSignature
) -> None:
    other = small(tmp_path / "o.db", model=there.name, dimension=there.dimension, model_hash=there.hash, seed=8)
    copy_with(other, database)
    before = database_objects(database)
    for dry_run in (False, True):
        with pytest.raises(ModelMismatch) as caught:
            copy_with(plain_source, database, dry_run=dry_run)
        assert (caught.value.source, caught.value.other) == (NOMIC, there)
        assert caught.value.other_role == "destination"
    assert database_objects(database) == before
    assert_same(other, database)


def test_the_message_has_both_signatures_and_says_what_to_do(
    plain_source: Path, database: str, command: CommandLine
) -> None:
    arguments = ("copy", "--sqlite-path", plain_source, "--postgres-url", database)
    model = ("--embedding-model", BGE.name, "--embedding-dimension", "1024", "--embedding-hash", "1234")
    before = database_objects(database)
    done = command(*arguments, *model)
    assert done.returncode == 3
    assert done.stderr.endswith(
        "error: embedding model mismatch between source and destination\n"
        "\n"
        f"  source registered:  nomic-ai/nomic-embed-text-v1.5 (dim 256, hash {NOMIC.hash})\n"
        "  embedder presented: BAAI/bge-large-en-v1.5 (dim 1024, hash 1234)\n"
        "\n"
        "Nothing was written. Let Vestige re-embed the source with BAAI/bge-large-en-v1.5 and copy again, or run this "
        "command again with the original embedder.\n"
    )
    assert database_objects(database) == before


def test_the_message_names_the_destination_where_that_differs(
    tmp_path: Path, plain_source: Path, database: str
) -> None:
    copy_with(small(tmp_path / "other.db", model=BGE.name, dimension=1024, model_hash="1234"), database)
    with pytest.raises(ModelMismatch) as caught:
        copy_with(plain_source, database)
    assert f"  source registered:  {NOMIC}\n  destination has:    {BGE}\n" in str(caught.value)


def test_where_the_source_has_no_model_the_embedder_is_compared_with_the_destination(
    tmp_path: Path, plain_source: Path, database: str
) -> None:
    copy_with(plain_source, database)
    without = small(tmp_path / "vestige.db", model=None, seed=9)
    before = database_objects(database)
    with pytest.raises(ModelMismatch) as caught:
        copy_with(without, database, BGE)
    assert f"  embedder presented: {BGE}\n  destination has:    {NOMIC}\n" in str(caught.value)
    assert database_objects(database) == before


def test_the_same_embedder_passes_and_the_sources_signature_is_stamped(plain_source: Path, database: str) -> None:
    report = copy_with(plain_source, database, NOMIC, indexes="auto")
    assert report.exit_code == 0
    assert report.as_json()["model"] == {"name": NOMIC.name, "dimension": 256, "hash": NOMIC.hash}
    assert registered(database) == (NOMIC.name, 256, NOMIC.hash)
    assert column_type(database) == "vector(256)"
    assert has_hnsw(database)
    assert copy_with(plain_source, database, NOMIC).exit_code == 0


def test_an_inferred_model_has_no_hash_and_is_compared_on_name_and_dimension(tmp_path: Path, database: str) -> None:
    path = small(tmp_path / "vestige.db", form="vestige", registered_model=False)
    for embedder in (ModelSignature(NOMIC.name, 384), ModelSignature("another", 256), BGE):
        with pytest.raises(ModelMismatch):
            copy_with(path, database, embedder)
    assert copy_with(path, database, NOMIC).exit_code == 0
    assert registered(database) == (NOMIC.name, 256, None)
    # The destination's model has no hash now: a source that knows one still fits.
    other = small(tmp_path / "other.db", seed=8)
    assert copy_with(other, database).exit_code == 0


def test_the_commonest_model_is_the_one_inferred(tmp_path: Path, database: str) -> None:
    others = (OtherVectors("all-MiniLM-L6-v2", 384, 20),)
    path = small(tmp_path / "vestige.db", form="vestige", registered_model=False, other_vectors=others)
    copy_with(path, database)
    assert registered(database) == ("all-MiniLM-L6-v2", 384, None)
    assert column_type(database) == "vector(384)"


def test_without_any_model_or_vector_nothing_is_stamped_and_no_hnsw_is_built(tmp_path: Path, database: str) -> None:
    path = small(tmp_path / "vestige.db", model=None, domains=0)
    report = copy_with(path, database, indexes="auto")
    assert (report.exit_code, report.model) == (0, None)
    assert registered(database) is None
    assert column_type(database) == "vector"
    assert not has_hnsw(database)
    # The next source that has a model gives the column its dimension.
    copy_with(small(tmp_path / "other.db", seed=8), database, indexes="auto")
    assert registered(database) == (NOMIC.name, 256, NOMIC.hash)
    assert column_type(database) == "vector(256)"
    assert has_hnsw(database)


def test_an_embedder_is_stamped_where_the_source_has_no_model(tmp_path: Path, database: str) -> None:
    path = small(tmp_path / "vestige.db", model=None, domains=0)
    copy_with(path, database, BGE)
    assert registered(database) == (BGE.name, 1024, "1234")
    assert column_type(database) == "vector(1024)"


def test_vectors_that_no_model_is_known_of_must_have_the_embedders_length(tmp_path: Path, database: str) -> None:
    path = small(tmp_path / "vestige.db", registered_model=False)
    before = database_objects(database)
    with pytest.raises(ModelMismatch, match=r"a model that the file does not name \(dim 256, hash unknown\)"):
        copy_with(path, database, BGE)
    assert database_objects(database) == before
    assert copy_with(path, database, NOMIC).exit_code == 0
    assert registered(database) == (NOMIC.name, 256, NOMIC.hash)
    assert_same(path, database)


def test_a_column_of_another_dimension_is_refused(plain_source: Path, database: str, tmp_path: Path) -> None:
    copy_with(small(tmp_path / "other.db", dimension=384), database)
    execute(database, "DELETE FROM embedding_model")
    before = database_objects(database)
    with pytest.raises(DestinationUnusable, match=r"is vector\(384\), and the vectors to be copied have 256"):
        copy_with(plain_source, database)
    assert database_objects(database) == before


@pytest.mark.indexed
def test_an_unstamped_column_gets_its_dimension(plain_source: Path, database: str, copy: Copier) -> None:
    copy(plain_source)
    execute(
        database,
        "DROP INDEX idx_knowledge_nodes_embedding_hnsw",
        "ALTER TABLE knowledge_nodes ALTER COLUMN embedding TYPE vector",
        "DELETE FROM embedding_model",
    )
    assert copy(plain_source).exit_code == 0
    assert column_type(database) == "vector(256)"
    assert registered(database) == (NOMIC.name, 256, NOMIC.hash)
    assert has_hnsw(database)
    assert_same(plain_source, database)


def test_an_unstamped_column_that_holds_other_vectors_is_refused(
    plain_source: Path, database: str, tmp_path: Path
) -> None:
    copy_with(small(tmp_path / "other.db", dimension=384), database, indexes="auto")
    execute(
        database,
        "DROP INDEX idx_knowledge_nodes_embedding_hnsw",
        "ALTER TABLE knowledge_nodes ALTER COLUMN embedding TYPE vector",
        "DELETE FROM embedding_model",
    )
    before = database_objects(database)
    for dry_run in (False, True):
        with pytest.raises(DestinationUnusable, match="holds vectors of 384 dimensions"):
            copy_with(plain_source, database, dry_run=dry_run)
    assert database_objects(database) == before


def test_a_registered_row_that_makes_no_sense_counts_as_none(tmp_path: Path, database: str) -> None:
    path = small(tmp_path / "vestige.db")
    edit(path, ("UPDATE embedding_model SET dimension = 'many', name = NULL", ()))
    assert copy_with(path, database).model is None
    assert registered(database) is None
    assert column_type(database) == "vector(256)"
    assert_same(path, database)
