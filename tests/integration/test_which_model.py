"""Which model counts where a file has vectors under several labels, and which of them come over in what form."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import stored
from tests.support.said_again import as_first_said
from tests.support.sources import ACTIVE_PROFILE, LEGACY_PROFILE, OtherVectors, SourceSpec, build_source, edit
from tests.support.verifying import Verifier
from tests.unit.test_model_names import as_vestige
from vestige_migrate import MigrationReport, ModelMismatch, ModelSignature, SqliteToPostgresPlan, run_sqlite_to_postgres
from vestige_migrate.copy.coordinator import run_several_to_postgres

NOMIC, MINI = "nomic-ai/nomic-embed-text-v1.5", "all-MiniLM-L6-v2"
SPEC = SourceSpec(line="released", version=16, form="vestige", memories=40, edges=5, events=0, domains=0,
                  no_vector_every=0, registered_model=False)  # fmt: skip


def labelled(path: Path, *labels: tuple[str, int, int], spec: SourceSpec = SPEC) -> Path:
    """A file with so many vectors (third) of each label (first) and dimension (second)."""
    (name, dimension, _), *others = labels
    spec = replace(spec, model=name, dimension=dimension, memories=sum(count for _, _, count in labels))
    return build_source(path, replace(spec, other_vectors=tuple(OtherVectors(*other) for other in others)))


def copy_as(path: Path, url: str, name: str, dimension: int, **options: object) -> MigrationReport:
    plan = SqliteToPostgresPlan(path, url, **{"workers": 1, "indexes": "none", **options})  # type: ignore[arg-type]
    return run_sqlite_to_postgres(plan, ModelSignature(name, dimension))


def vectors(url: str) -> dict[str, bytes]:
    """The stored vectors as float32."""
    rows = stored(url)["knowledge_nodes"].values()
    return {str(row["id"]): np.array(row["embedding"], "<f4").tobytes() for row in rows if row["embedding"] is not None}


def blobs(path: Path, where: str = "1", parameters: Sequence[object] = ()) -> dict[str, bytes]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute(f"SELECT node_id, embedding FROM node_embeddings WHERE {where}", parameters))


def registered(url: str) -> tuple[object, ...] | None:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT name, dimension FROM embedding_model").fetchone()


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (replace(SPEC, version=20, memories=6), "nomic-embed-text:V1.5"),
        (replace(SPEC, line="plan", version=15, memories=6, memberships=0), NOMIC),
    ],
    ids=["released 20", "plan 15"],
)
def test_another_hash_than_the_registered_one_is_refused_also_where_labels_carry_the_name(
    tmp_path: Path, copy: Copier, spec: SourceSpec, name: str
) -> None:
    """A label has no hash, and so must not be chosen past the registry."""
    path = build_source(tmp_path / "vestige.db", replace(spec, registered_model=True))
    for dry_run in (True, False):
        plan = SqliteToPostgresPlan(path, copy.database, workers=1, dry_run=dry_run)
        with pytest.raises(ModelMismatch, match=r"hash abcd[^$]*hash 1234"):
            run_sqlite_to_postgres(plan, ModelSignature(name, 256, "1234"))
    with psycopg.connect(copy.database) as connection:
        assert connection.execute("SELECT to_regclass('knowledge_nodes')").fetchone() == (None,)


def test_spellings_of_one_model_are_counted_together(tmp_path: Path, copy: Copier) -> None:
    path = labelled(
        tmp_path / "vestige.db",
        ("Nomic-Embed-Text-V1.5", 256, 8), (NOMIC, 256, 9), ("fastembed/nomic-embed-text-v1.5", 256, 4),
        ("BAAI/bge-small", 256, 12),
    )  # fmt: skip
    report = copy(path)
    assert (len(report.errors), report.awaiting_reasons) == (12, {"other_model": 12})
    assert vectors(copy.database) == blobs(path, "model <> 'BAAI/bge-small'")
    assert registered(copy.database) == (NOMIC, 256)
    assert Verifier(copy.database)(path).same


def test_a_registry_and_a_file_that_spell_one_model_otherwise_agree(tmp_path: Path, database: str) -> None:
    """Those of the destination, of another file, and of the embedder that asks."""
    first = labelled(tmp_path / "first.db", ("BAAI/bge-small-en", 8, 10))
    second = labelled(tmp_path / "second.db", ("bge-small-en", 8, 12), spec=replace(SPEC, seed=9))
    plans = [SqliteToPostgresPlan(path, database, workers=1) for path in (first, second)]
    assert run_several_to_postgres(plans).errors == []
    assert copy_as(second, database, "baai/BGE-small-en", 8).nothing_new
    assert vectors(database) == blobs(first) | blobs(second)
    assert registered(database) == ("BAAI/bge-small-en", 8)
    assert Verifier(database)(first, second).same


def test_the_operator_says_which_model_counts(tmp_path: Path, database: str) -> None:
    path = labelled(tmp_path / "vestige.db", ("example/large", 16, 20), ("example/small", 8, 6), ("SMALL", 8, 3))
    dry = copy_as(path, database, "Small", 8, dry_run=True)
    assert dry.awaiting_reembed == 20
    report = copy_as(path, database, "Small", 8, verify=True)
    assert (len(report.errors), report.awaiting_reasons) == (20, {"other_model": 20})
    assert report.verification is not None
    assert report.verification.same
    assert vectors(database) == blobs(path, "dimensions = 8")
    assert registered(database) == ("Small", 8)
    # A comparison knows it from the destination; a copy is told, or is refused with what to tell it.
    found = Verifier(database)(path)
    assert (found.same, found.awaiting_reembed, len(found.altered)) == (True, 20, 20)
    again = copy_as(path, database, "example/small", 8)
    assert as_first_said(again.errors) == as_first_said(report.errors)
    with pytest.raises(ModelMismatch, match="--embedding-model Small --embedding-dimension 8"):
        run_sqlite_to_postgres(SqliteToPostgresPlan(path, database, workers=1))


def test_of_two_files_the_model_that_both_have_can_be_chosen(tmp_path: Path, database: str) -> None:
    first = labelled(tmp_path / "first.db", ("example/large", 16, 9), ("example/small", 8, 6))
    second = labelled(tmp_path / "second.db", ("small", 8, 5), spec=replace(SPEC, seed=9))
    plans = [SqliteToPostgresPlan(path, database, workers=1) for path in (first, second)]
    with pytest.raises(ModelMismatch, match=r"--embedding-model example/small --embedding-dimension 8\.$"):
        run_several_to_postgres(plans)
    report = run_several_to_postgres(plans, ModelSignature("example/small", 8))
    assert [one.awaiting_reembed for one in report.reports] == [9, 0]
    assert vectors(database) == blobs(first, "dimensions = 8") | blobs(second)
    assert Verifier(database)(first, second).same


def test_a_model_that_no_vector_is_of_is_refused_as_before(tmp_path: Path, database: str) -> None:
    path = labelled(tmp_path / "vestige.db", ("example/large", 16, 20), ("example/small", 8, 6))
    for name, dimension in (("example/other", 16), ("example/small", 16), ("two/small", 8)):
        with pytest.raises(ModelMismatch):
            copy_as(path, database, name, dimension)


def test_the_operators_word_counts_more_than_a_registered_model(tmp_path: Path, database: str) -> None:
    spec = replace(SPEC, registered_model=True)
    path = labelled(tmp_path / "vestige.db", ("example/large", 16, 20), ("example/small", 8, 6), spec=spec)
    assert copy_as(path, database, "example/small", 8).awaiting_reembed == 20
    assert vectors(database) == blobs(path, "dimensions = 8")
    assert Verifier(database)(path).same


def test_another_profile_than_the_active_one_can_be_chosen(tmp_path: Path, database: str) -> None:
    spec = SourceSpec(line="released", version=28, memories=20, edges=0, dimension=8, model="example/model",
                      no_vector_every=0, registered_model=False)  # fmt: skip
    path = build_source(tmp_path / "vestige.db", spec)
    assert copy_as(path, database, "nomic-embed-text-v1.5", 256).errors == []
    assert vectors(database) == blobs(path)
    assert Verifier(database)(path).same


@pytest.mark.in_process
@pytest.mark.parametrize("floats", [256, 768])
def test_a_label_that_lies_does_not_count_and_is_named(
    tmp_path: Path, database: str, command: CommandLine, floats: int
) -> None:
    path = labelled(
        tmp_path / "vestige.db", (f"sentence-transformers/{MINI}", floats, 14), (NOMIC, 256, 6), (MINI, 384, 3)
    )
    done = command("copy", "--sqlite-path", path, "--postgres-url", database, "--no-progress", "--workers", "1",
                   "--report", tmp_path / "report.json")  # fmt: skip
    assert done.returncode == 1
    assert f"14 vectors are labelled sentence-transformers/{MINI} and have not its 384 dimensions" in done.stdout
    assert "3 vectors are not of nomic" in done.stdout
    assert f"14 vectors of {floats} floats are labelled" in done.stderr
    assert vectors(database) == blobs(path, "model = ?", (NOMIC,))
    assert registered(database) == (NOMIC, 256)
    found = Verifier(database)(path)
    assert (found.same, found.awaiting_reasons) == (True, {"mislabelled": 14, "other_model": 3})


def test_where_every_label_lies_no_vector_comes_over_unless_it_is_asked_for(tmp_path: Path, copy: Copier) -> None:
    path = labelled(tmp_path / "vestige.db", (MINI, 768, 10), (MINI, 256, 5))
    report = copy(path, archive=True)
    assert (report.model, report.awaiting_reasons, report.mislabelled_vectors) == (
        None,
        {"mislabelled": 15},
        {MINI: 15},
    )
    assert "is labelled all-MiniLM-L6-v2, which has 384 dimensions" in report.errors[0].message
    assert (report.archived or {})["node_embeddings"] == 15
    assert vectors(copy.database) == {}
    assert Verifier(copy.database)(path).same
    with psycopg.connect(copy.database) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE EXTENSION vector")
    assert copy_as(path, copy.database, MINI, 256).awaiting_reasons == {"mislabelled": 10}
    assert vectors(copy.database) == blobs(path, "dimensions = 256")
    assert Verifier(copy.database)(path).same


def test_long_vectors_of_nomic_come_over_as_vestige_takes_them(tmp_path: Path, copy: Copier) -> None:
    """Also where they are the more, and under another spelling."""
    path = labelled(
        tmp_path / "vestige.db", (NOMIC, 256, 9), ("nomic-embed-text-v1.5", 768, 21), ("BAAI/bge-base", 768, 10)
    )
    dry = copy(path, dry_run=True)
    report = copy(path, verify=True, archive=True)
    for found in (dry, report):
        assert (found.awaiting_reasons, found.shortened_vectors) == ({"other_model": 10}, 21)
    assert len(report.errors) == 10
    long = blobs(path, "model = 'nomic-embed-text-v1.5'")
    short = {id_: as_vestige(blob, 256) for id_, blob in long.items()}
    assert vectors(copy.database) == blobs(path, "dimensions = 256") | short
    assert registered(copy.database) == (NOMIC, 256)
    # What was cut off is not lost: those rows have no place as they are.
    assert (report.archived or {})["node_embeddings"] == 31
    assert report.verification is not None
    assert report.verification.same
    assert Verifier(copy.database)(path, archive=True).same
    assert as_first_said(copy(path).errors) == as_first_said(report.errors)
    with psycopg.connect(copy.database) as connection:  # one bit of one float
        connection.execute("UPDATE knowledge_nodes SET embedding = ((embedding::real[])[1:255]"
                           " || (embedding::real[])[256] * 1.0000002::real)::real[]::vector WHERE id = %s",
                           (next(iter(short)),))  # fmt: skip
    assert len(Verifier(copy.database)(path).differences) == 1


def test_long_vectors_alone_stay_long_unless_short_ones_are_asked_for(tmp_path: Path, copy: Copier) -> None:
    path = labelled(tmp_path / "vestige.db", (NOMIC, 768, 12))
    first = labelled(tmp_path / "short.db", (NOMIC, 256, 5), spec=replace(SPEC, seed=4))
    assert copy(path).errors == []
    assert vectors(copy.database) == blobs(path)
    with psycopg.connect(copy.database) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE EXTENSION vector")
    copy(first)
    with pytest.raises(ModelMismatch, match="--embedding-dimension 256"):
        copy(path)
    assert copy_as(path, copy.database, NOMIC, 256).errors == []
    assert vectors(copy.database) == blobs(first) | {id_: as_vestige(blob, 256) for id_, blob in blobs(path).items()}
    assert Verifier(copy.database)(first, path).same


def test_a_long_vector_in_the_mirror_stands_in_for_the_legacy_profile(tmp_path: Path, copy: Copier) -> None:
    spec = SourceSpec(line="released", version=28, memories=20, edges=0, dimension=8, model="m", no_vector_every=0)
    path = build_source(tmp_path / "vestige.db", spec)
    chosen = "node_id IN (SELECT id FROM knowledge_nodes WHERE rowid <= 4)"
    edit(
        path,
        ("DELETE FROM embedding_model", ()),
        ("UPDATE embedding_profile_state SET active_profile_id = ?", (LEGACY_PROFILE,)),
        (f"DELETE FROM embedding_profile_vectors WHERE {chosen} OR profile_id = ?", (ACTIVE_PROFILE,)),
        (f"UPDATE node_embeddings SET embedding = zeroblob(3072), dimensions = 768 WHERE {chosen}", ()),
        # One that is as long as a mark: no other place than the mirror has such.
        ("UPDATE embedding_profile_vectors SET embedding = zeroblob(1025) WHERE node_id ="
         " (SELECT id FROM knowledge_nodes WHERE rowid = 5)", ()),
    )  # fmt: skip
    report = copy(path)
    assert [error.column for error in report.errors] == ["embedding"]
    found = vectors(copy.database)
    assert {id_: found[id_] for id_ in blobs(path, chosen)} == dict.fromkeys(blobs(path, chosen), b"\0" * 1024)
    assert Verifier(copy.database)(path).same


@pytest.mark.parametrize(("version", "active"), [(28, True), (38, False)])
def test_a_second_copy_of_another_profiles_vectors_is_told_what_to_say(
    tmp_path: Path, copy: Copier, version: int, active: bool
) -> None:
    """Whichever of the two profiles is active, the other one can be chosen, and the refusal says how."""
    spec = SourceSpec(line="released", version=version, memories=5, edges=1, dimension=8, model="example/model")
    path = build_source(tmp_path / "vestige.db", spec)
    if not active:
        edit(path, ("UPDATE embedding_profile_state SET active_profile_id = ?", (LEGACY_PROFILE,)))
        edit(path, ("DELETE FROM embedding_model", ()))
    name, dimension = (NOMIC, 256) if active else ("example/model", 8)
    assert copy_as(path, copy.database, name, dimension).errors == []
    with pytest.raises(ModelMismatch, match=f"add --embedding-model {name} --embedding-dimension {dimension}"):
        copy(path)
    assert copy_as(path, copy.database, name, dimension).nothing_new
