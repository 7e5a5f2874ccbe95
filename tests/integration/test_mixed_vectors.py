"""Vectors of several models, dimensions and profiles in one file: which come over, and what is said of the others."""

from __future__ import annotations

import sqlite3
from base64 import b64encode
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same, stored
from tests.support.expected_left import expected_left_behind
from tests.support.said_again import as_first_said
from tests.support.sources import ACTIVE_PROFILE, LEGACY_PROFILE, OtherVectors, SourceSpec, build_source, edit
from vestige_migrate import MigrationReport
from vestige_migrate.report.rows import Outcome

pytestmark = pytest.mark.in_process

BGE = OtherVectors("BAAI/bge-base-en-v1.5", 768, 7)
MINI = OtherVectors("all-MiniLM-L6-v2", 384, 3)
NOMIC = "nomic-ai/nomic-embed-text-v1.5"
SAME_LENGTH = OtherVectors("sentence-transformers/other", 256, 5)

MIXED = SourceSpec(
    line="shared", version=12, memories=50, edges=10, events=0, no_vector_every=25, other_vectors=(BGE, MINI)
)


def of_other_models(path: Path, model: str, dimension: int) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT node_id FROM node_embeddings WHERE model <> ? OR dimensions <> ?", (model, dimension)
        ).fetchall()
    return {node for (node,) in rows}


def without_vector(url: str) -> set[str]:
    nodes = stored(url)["knowledge_nodes"].values()
    return {str(row["id"]) for row in nodes if row["embedding"] is None}


def named(report: MigrationReport) -> set[str]:
    """Ids of the errors, each of which must be about a vector that was left out."""
    for error in report.errors:
        assert (error.table, error.column, error.outcome) == (
            "knowledge_nodes",
            "embedding",
            Outcome.COPIED_WITHOUT_VALUE,
        )
    ids = [error.id for error in report.errors]
    assert len(ids) == len(set(ids))
    return set(ids)


def test_the_commonest_models_vectors_come_over_and_the_others_are_named(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", MIXED)
    report = copy(path, snapshot=True)
    others = of_other_models(path, NOMIC, 256)
    assert len(others) == 10
    assert named(report) == others
    assert report.errors[0].message == (
        "embedding belongs to another embedding model than nomic-ai/nomic-embed-text-v1.5 (dim 256, hash unknown)"
    )
    assert (report.exit_code, report.memories_copied, report.awaiting_reembed) == (1, 50, 10)
    assert report.left_behind == expected_left_behind(path)
    assert report.left_behind["node_embeddings"] == 10
    assert_same(path, copy.database)
    assert others < without_vector(copy.database)


def test_another_model_of_the_same_length_does_not_slip_in(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", replace(MIXED, other_vectors=(SAME_LENGTH,)))
    report = copy(path, snapshot=True)
    assert named(report) == of_other_models(path, NOMIC, 256)
    assert report.awaiting_reembed == 5
    assert_same(path, copy.database)


@pytest.mark.parametrize(("line", "version"), [("plan", 15), ("released", 16)])
def test_the_registered_model_wins_over_a_commoner_one(tmp_path: Path, copy: Copier, line: str, version: int) -> None:
    commoner = replace(BGE, count=30)
    spec = replace(MIXED, line=line, version=version, form="vestige", other_vectors=(commoner,))  # type: ignore[arg-type]
    path = build_source(tmp_path / "vestige.db", spec)
    report = copy(path)
    assert report.model is not None
    assert (report.model.name, report.model.dimension) == (NOMIC, 256)
    assert len(named(report)) == report.awaiting_reembed == report.left_behind["node_embeddings"] == 30
    assert_same(path, copy.database)


def test_a_registered_name_that_no_vector_carries_means_the_commonest_of_its_length(
    tmp_path: Path, copy: Copier
) -> None:
    spec = replace(MIXED, line="plan", version=15, form="vestige", other_vectors=(SAME_LENGTH, BGE))
    path = build_source(tmp_path / "vestige.db", spec)
    edit(path, ("UPDATE embedding_model SET name = 'nomic-embed-text-v1.5'", ()))
    report = copy(path)
    assert named(report) == of_other_models(path, NOMIC, 256)
    assert report.awaiting_reembed == 12


def test_vectors_of_several_lengths_that_no_model_is_known_of(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(registered_model=False).sized(40))
    edit(path, ("UPDATE knowledge_nodes SET embedding = zeroblob(1536) WHERE rowid < 6", ()))
    report = copy(path)
    assert len(named(report)) == report.awaiting_reembed == 5
    assert "has 384 dimensions instead of 256" in report.errors[0].message
    assert report.model is None


def test_a_run_again_and_a_dry_run_say_the_same_until_the_memories_are_embedded(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", MIXED)
    assert copy(path, snapshot=True, dry_run=True).awaiting_reembed == 10
    first = copy(path, snapshot=True)
    assert first.awaiting_reembed == 10
    again = copy(path, snapshot=True)
    assert (as_first_said(again.errors), again.awaiting_reembed) == (as_first_said(first.errors), 10)
    embedded = sorted(of_other_models(path, NOMIC, 256))[:4]
    with psycopg.connect(copy.database) as connection:
        connection.execute(
            "UPDATE knowledge_nodes SET embedding = array_fill(1, ARRAY[256])::vector WHERE id = ANY(%s)",
            ([UUID(id_) for id_ in embedded],),
        )
    last = copy(path, snapshot=True)
    assert last.awaiting_reembed == 6
    assert {error.id for error in last.errors} == {error.id for error in first.errors} - set(embedded)


def test_a_file_of_one_model_awaits_nothing(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", replace(MIXED, other_vectors=()))
    report = copy(path, snapshot=True)
    assert (report.errors, report.awaiting_reembed) == ([], 0)
    assert "awaiting_reembed" not in report.as_json()
    assert len(without_vector(copy.database)) == 2  # never embedded


def test_the_terminal_says_it_in_one_line(tmp_path: Path, database: str, command: CommandLine) -> None:
    path = build_source(tmp_path / "vestige.db", MIXED)
    done = command("copy", "--sqlite-path", path, "--postgres-url", database, "--snapshot", "--no-progress")
    assert done.returncode == 1
    [line] = [line for line in done.stdout.splitlines() if "re-embed" in line]
    assert line == (
        f"10 memories await a re-embed: the vectors in the source are not of {NOMIC} (dim 256); let Vestige re-embed "
        "them in the source, then copy it into a new database"
    )


# Profiles, released V28 on.

PROFILES = SourceSpec(
    line="released", version=28, memories=40, edges=5, dimension=384, model="example/model", no_vector_every=10
)


def activate_legacy(path: Path) -> None:
    edit(path, ("UPDATE embedding_profile_state SET active_profile_id = ?", (LEGACY_PROFILE,)))


def test_the_active_profiles_vectors_win(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", PROFILES)
    report = copy(path)
    assert (report.errors, report.awaiting_reembed) == ([], 0)
    assert report.model is not None
    assert (report.model.name, report.model.dimension) == ("example/model", 384)
    assert_same(path, copy.database)
    # The legacy profile's vectors and their mirror stay behind, and are said to.
    assert report.left_behind["embedding_profile_vectors"] == report.left_behind["node_embeddings"] == 36
    assert report.left_behind == expected_left_behind(path)


def test_the_active_profiles_vectors_win_over_a_registry_that_was_not_told(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", PROFILES)
    edit(path, ("UPDATE embedding_model SET name = ?, dimension = 256", (NOMIC,)))
    report = copy(path)
    assert report.errors == []
    assert report.as_json()["model"] == {"name": "example/model", "dimension": 384, "hash": None}
    assert_same(path, copy.database)


def test_the_hash_of_a_registry_that_agrees_with_the_profile_is_kept(tmp_path: Path, copy: Copier) -> None:
    report = copy(build_source(tmp_path / "vestige.db", PROFILES))
    assert report.model is not None
    assert report.model.hash == PROFILES.model_hash


def test_the_mirror_never_stands_in_for_another_profile_even_of_the_same_model(tmp_path: Path, copy: Copier) -> None:
    """Vestige keeps profiles apart that share model and dimension: they encode differently."""
    path = build_source(tmp_path / "vestige.db", replace(PROFILES, dimension=256, model=NOMIC))
    edit(
        path,
        (
            "DELETE FROM embedding_profile_vectors WHERE profile_id = ? AND node_id IN"
            " (SELECT id FROM knowledge_nodes WHERE rowid <= 6)",
            (ACTIVE_PROFILE,),
        ),
    )
    report = copy(path)
    assert len(named(report)) == report.awaiting_reembed == 6
    assert named(report) <= without_vector(copy.database)
    assert_same(path, copy.database)
    assert report.left_behind == expected_left_behind(path)


def test_the_mirror_stands_in_where_the_legacy_profile_lacks_a_vector(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", PROFILES)
    activate_legacy(path)
    edit(
        path,
        (
            "DELETE FROM embedding_profile_vectors WHERE profile_id = ? AND node_id IN"
            " (SELECT id FROM knowledge_nodes WHERE rowid <= 6)",
            (LEGACY_PROFILE,),
        ),
    )
    report = copy(path)
    assert (report.errors, report.awaiting_reembed) == ([], 0)
    assert len(without_vector(copy.database)) == 4  # as many as never had one
    assert_same(path, copy.database)
    # The mirror of what came over is no second vector; the other profile's are left.
    assert "node_embeddings" not in report.left_behind
    assert report.left_behind["embedding_profile_vectors"] == 36
    assert report.left_behind == expected_left_behind(path)


def test_a_profile_that_is_nowhere_described_is_known_by_its_vectors(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", PROFILES)
    edit(
        path,
        ("DELETE FROM embedding_profiles WHERE profile_id = ?", (ACTIVE_PROFILE,)),
        ("DELETE FROM embedding_model", ()),
    )
    report = copy(path)
    assert report.errors == []
    assert report.as_json()["model"] == {"name": "example/model", "dimension": 384, "hash": None}
    assert len(without_vector(copy.database)) == 4


def test_the_archive_keeps_the_vectors_that_did_not_come_over(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", MIXED)
    report = copy(path, snapshot=True, archive=True)
    assert report.archived is not None
    assert report.archived["node_embeddings"] == report.awaiting_reembed == 10
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT node_id, embedding FROM node_embeddings WHERE model <> ?", (NOMIC,))
        wanted = {node: b64encode(blob).decode() for node, blob in rows}
    with psycopg.connect(copy.database) as connection:
        kept = connection.execute(
            "SELECT row_key, row->'embedding'->>'base64' FROM vestige_archive WHERE table_name = 'node_embeddings'"
        ).fetchall()
    assert dict(kept) == wanted
