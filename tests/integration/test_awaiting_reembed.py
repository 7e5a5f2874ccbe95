"""Memories whose vector is of an earlier text, or that claim one and have none: they come over, and are counted."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import stored
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.verifying import Verifier, named
from vestige_migrate.copy.coordinator import run_several_to_postgres
from vestige_migrate.plan import SqliteToPostgresPlan
from vestige_migrate.report.rows import Outcome

OWN = SourceSpec(line="released", version=16, form="vestige", memories=40, edges=5, events=0, no_vector_every=10)
EDITED, ABSENT = 3, 2
MEANT = {"edited": EDITED, "absent": ABSENT}
EDIT = ("UPDATE knowledge_nodes SET has_embedding = 0, content = 'other' WHERE rowid IN (1, 2, 3)", ())
LOSE = ("DELETE FROM {} WHERE node_id IN (SELECT id FROM knowledge_nodes WHERE rowid IN (4, 5))", ())
UNSAID = ("UPDATE knowledge_nodes SET has_embedding = NULL WHERE rowid IN (6, 7)", ())


def ids(path: Path, *rowids: int) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        marks = ",".join("?" * len(rowids))
        return {
            id_ for (id_,) in connection.execute(f"SELECT id FROM knowledge_nodes WHERE rowid IN ({marks})", rowids)
        }


def with_vector(url: str) -> set[str]:
    return {str(row["id"]) for row in stored(url)["knowledge_nodes"].values() if row["embedding"] is not None}


def own_storage(folder: Path) -> Path:
    path = build_source(folder / "own.db", OWN)
    edit(path, EDIT, UNSAID, (LOSE[0].format("node_embeddings"), ()))
    return path


def profiles(folder: Path) -> Path:
    """The vectors of two profiles, and a mirror of one of them."""
    path = build_source(folder / "profiles.db", SourceSpec(
        line="released", version=28, memories=40, edges=5, dimension=8, model="example/model", no_vector_every=10
    ))  # fmt: skip
    lost = [(LOSE[0].format(table), ()) for table in ("embedding_profile_vectors", "node_embeddings")]
    edit(path, EDIT, UNSAID, *lost)
    return path


def plain(folder: Path) -> Path:
    """Vectors in the memory's own row, and the column as another program may make it."""
    path = build_source(folder / "plain.db", SourceSpec(no_vector_every=10, dimension=8).sized(40))
    edit(
        path,
        ("ALTER TABLE knowledge_nodes ADD COLUMN has_embedding", ()),
        ("UPDATE knowledge_nodes SET has_embedding = CASE WHEN embedding IS NULL THEN '0' ELSE '1' END", ()),
        ("UPDATE knowledge_nodes SET has_embedding = CASE rowid WHEN 1 THEN '0' WHEN 2 THEN 0.0 ELSE 'false' END"
         " WHERE rowid IN (1, 2, 3)", ()),
        UNSAID,
        ("UPDATE knowledge_nodes SET embedding = NULL WHERE rowid IN (4, 5)", ()),
    )  # fmt: skip
    return path


@pytest.mark.parametrize("make", [own_storage, profiles, plain])
def test_a_vector_of_an_earlier_text_stays_behind_and_one_that_is_not_there_is_said(
    tmp_path: Path, copy: Copier, make: object
) -> None:
    path: Path = make(tmp_path)  # type: ignore[operator]
    dry = copy(path, dry_run=True)
    assert (dry.awaiting_reembed, dry.awaiting_reasons) == (EDITED + ABSENT, MEANT)
    report = copy(path, verify=True)
    assert (report.errors, report.exit_code, report.memories_copied) == ([], 0, 40)
    assert (report.awaiting_reembed, report.awaiting_reasons) == (EDITED + ABSENT, MEANT)
    # Four never had one; where nothing is said of a vector it comes over.
    assert len(with_vector(copy.database)) == 40 - EDITED - ABSENT - 4
    assert not with_vector(copy.database) & ids(path, 1, 2, 3, 4, 5)
    assert with_vector(copy.database) >= ids(path, 6, 7)
    again = copy(path)
    assert (again.nothing_new, again.awaiting_reembed, again.awaiting_reasons) == (True, EDITED + ABSENT, MEANT)
    assert report.verification is not None
    found = Verifier(copy.database)(path)
    for comparison in (report.verification, found):
        assert (comparison.same, comparison.altered, comparison.awaiting_reasons) == (True, [], MEANT)


@pytest.mark.parametrize("make", [own_storage, profiles])
def test_a_memory_that_awaits_one_under_an_id_that_is_no_utf8_is_named_and_stops_nothing(
    tmp_path: Path, copy: Copier, make: object
) -> None:
    path: Path = make(tmp_path)  # type: ignore[operator]
    odd = "CAST(x'{}' AS TEXT)"
    edit(
        path,
        (f"UPDATE knowledge_nodes SET id = {odd.format('ff61')} WHERE rowid = 4", ()),
        (f"UPDATE knowledge_nodes SET id = {odd.format('eda080')}, has_embedding = 1 WHERE rowid = 8", ()),
        (f"UPDATE knowledge_nodes SET id = {odd.format('62ff')} WHERE rowid = 1", ()),
        (f"UPDATE node_embeddings SET node_id = {odd.format('62ff')} WHERE rowid = 1", ()),
        ("UPDATE node_embeddings SET model = 'of/another' WHERE rowid = 1", ()),
    )
    assert copy(path, dry_run=True).complete
    report = copy(path)
    lost = [error for error in report.errors if error.table == "knowledge_nodes"]
    assert [(error.column, error.outcome) for error in lost] == [("id", Outcome.NOT_COPIED)] * 3
    assert (report.complete, report.exit_code, report.memories_copied) == (True, 1, 37)
    assert report.awaiting_reasons == {"edited": 2, "absent": 1}


def test_the_archive_keeps_the_vectors_of_earlier_texts(tmp_path: Path, copy: Copier) -> None:
    path = own_storage(tmp_path)
    assert copy(path, dry_run=True).left_behind["node_embeddings"] == EDITED
    report = copy(path, archive=True)
    assert report.archived is not None
    assert report.archived["node_embeddings"] == EDITED
    assert Verifier(copy.database)(path, archive=True).same


def test_an_edited_memory_loses_its_vector_with_newer_alone_and_verify_says_why_one_is_there(
    tmp_path: Path, copy: Copier
) -> None:
    path = build_source(tmp_path / "vestige.db", OWN)
    copy(path)
    edit(path, ("UPDATE knowledge_nodes SET has_embedding = 0 WHERE rowid = 1", ()))
    compared = Verifier(copy.database)(path)
    # Only the flag was changed, which is kept in the metadata: text and vector are those of before on both sides.
    assert named(compared) == [("knowledge_nodes", *ids(path, 1), "different", ("metadata", "embedding"))]
    assert "is of an earlier text" in str(compared.differences[0])
    assert copy(path).awaiting_reembed == 0  # the destination's memory has a vector
    edit(path, ("UPDATE knowledge_nodes SET updated_at = '2031-01-01T00:00:00Z' WHERE rowid = 1", ()))
    assert copy(path, on_conflict="newer", dry_run=True).awaiting_reembed == 1
    report = copy(path, on_conflict="newer")
    assert (report.memories_updated, report.awaiting_reasons) == (1, {"edited": 1})
    assert not with_vector(copy.database) & ids(path, 1)
    assert Verifier(copy.database)(path).same


def test_each_of_several_files_counts_its_own_and_one_embedded_since_does_not_count(
    tmp_path: Path, database: str
) -> None:
    first = own_storage(tmp_path)
    second = build_source(tmp_path / "second.db", SourceSpec(
        line="shared", version=13, memories=20, edges=0, events=0, seed=8, no_vector_every=0
    ))  # fmt: skip
    edit(second, ("UPDATE knowledge_nodes SET has_embedding = 0 WHERE rowid = 9", ()))
    plans = [SqliteToPostgresPlan(path, database, workers=1, snapshot=True) for path in (first, second)]
    assert [report.awaiting_reasons for report in run_several_to_postgres(plans).reports] == [MEANT, {"edited": 1}]
    with psycopg.connect(database) as connection:
        statement = "UPDATE knowledge_nodes SET embedding = array_fill(1, ARRAY[256])::vector WHERE id = ANY(%s)"
        connection.execute(statement, ([*ids(first, 1, 4)],))
    again = run_several_to_postgres(plans).reports
    assert [report.awaiting_reasons for report in again] == [{"edited": 2, "absent": 1}, {"edited": 1}]


@pytest.mark.in_process
def test_the_terminal_says_how_many_and_why_in_one_line(tmp_path: Path, database: str, command: CommandLine) -> None:
    path = own_storage(tmp_path)
    edit(path, ("UPDATE node_embeddings SET model = 'another/model' WHERE node_id IN"
                " (SELECT id FROM knowledge_nodes WHERE rowid = 8)", ()))  # fmt: skip
    wanted = (
        "6 memories await a re-embed: 1 vector is not of nomic-ai/nomic-embed-text-v1.5 (dim 256), 3 vectors are of an "
        "earlier text than the one that is there now (has_embedding is 0), 2 claim to have one and have none "
        "(has_embedding is 1); let Vestige re-embed them in the source, then copy it into a new database"
    )
    for verb in ("copy", "verify"):
        done = command(verb, "--sqlite-path", path, "--postgres-url", database, "--no-progress", "--workers", "1")
        assert [line for line in done.stdout.splitlines() if "re-embed:" in line] == [wanted]
