"""The spot check of search."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Copier
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.verifying import Verifier
from vestige_migrate import SearchCheck, VerifyReport

pytestmark = pytest.mark.indexed

NO_WORDS = "SELECT id FROM knowledge_nodes ORDER BY id LIMIT 1"


@pytest.fixture
def verify(database: str) -> Verifier:
    return Verifier(database)


def search_of(report: VerifyReport) -> SearchCheck:
    assert report.search is not None
    return report.search


@pytest.mark.old_server
def test_a_whole_copy_is_found(plain_source: Path, copy: Copier, verify: Verifier) -> None:
    copy(plain_source)
    search = search_of(verify(plain_source))
    assert (search.vectors_sampled, search.texts_sampled, search.texts_found) == (50, 50, 50)
    assert search.recall is not None
    assert search.recall > 0.95
    assert (search.ef_search, search.warnings) == (40, [])


def test_an_index_that_finds_other_memories_lowers_the_recall(
    plain_source: Path, copy: Copier, verify: Verifier
) -> None:
    copy(plain_source)
    # Every vector is where another one belongs: what is near by the source's vectors is not what the index finds.
    verify.tamper(
        "UPDATE knowledge_nodes AS t SET embedding = o.embedding FROM (SELECT id, lead(embedding) OVER (ORDER BY id)"
        " AS embedding FROM knowledge_nodes WHERE embedding IS NOT NULL) AS o WHERE o.id = t.id"
    )
    report = verify(plain_source)
    search = search_of(report)
    assert search.recall is not None
    assert search.recall < 0.5
    assert "recall@10" in search.warnings[0]
    assert {item.columns for item in report.differences} == {("embedding",)}


@pytest.mark.holds("a copy")
def test_without_an_hnsw_index_there_is_no_recall(source: Path, copy: Copier, verify: Verifier) -> None:
    verify.tamper("DROP INDEX idx_knowledge_nodes_embedding_hnsw")
    report = verify(source)
    assert report.same
    assert (search_of(report).recall, search_of(report).no_recall) == (None, "the destination has no HNSW index")


def test_without_vectors_there_is_no_recall(tmp_path: Path, copy: Copier, verify: Verifier) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(memories=20, schedules=20, edges=5, events=5, model=None))
    copy(path)
    search = search_of(verify(path))
    assert (search.recall, search.no_recall) == (None, "no sampled memory has a vector")
    assert search.texts_found == search.texts_sampled == 20


def test_an_empty_source_is_searched_for_nothing(tmp_path: Path, copy: Copier, verify: Verifier) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec().sized(0))
    copy(path)
    report = verify(path)
    assert report.same
    assert (search_of(report).texts_sampled, search_of(report).vectors_sampled) == (0, 0)


CONTENTS = [
    "it's a \\back\\slash & (query) | 'quoted' <-> syntax !not :* done",
    "https://example.com/a/path?query=1 user@example.com /usr/local/bin -12.5e3 foo-bar-baz v1.2.3",
    "記憶は東京で作られた。二番目の文章です。",
    "כתב עברי וגם 👍 אמוג'י",
    "x" * 3000,
    "the a of and",
    "",
    " ".join(f"word{number}" for number in range(5000)),
]


def test_any_text_is_found_by_its_own_words_or_has_none(source: Path, copy: Copier, verify: Verifier) -> None:
    """Each of them as it is, and with a number after it four times."""
    each = len(CONTENTS)
    for at, content in enumerate(CONTENTS):
        edit(source, ("UPDATE knowledge_nodes SET content = ? || rowid WHERE rowid % ? = ?", (content + " ", each, at)),
             ("UPDATE knowledge_nodes SET content = ? WHERE rowid = ?", (content, at + 1)))  # fmt: skip
    copy(source)
    report = verify(source)
    assert report.same
    assert search_of(report).not_found == []
    assert search_of(report).texts_found == 40


def test_memories_without_direction_or_alone_are_no_obstacle(tmp_path: Path, copy: Copier, verify: Verifier) -> None:
    spec = SourceSpec(memories=12, schedules=12, edges=0, events=0, no_vector_every=0)
    path = build_source(tmp_path / "vestige.db", spec)
    edit(
        path,
        ("UPDATE knowledge_nodes SET embedding = zeroblob(1024) WHERE rowid < 4", ()),
        ("UPDATE knowledge_nodes AS n SET embedding = (SELECT embedding FROM knowledge_nodes WHERE rowid = 9)"
         " WHERE n.rowid > 9", ()),
    )  # fmt: skip
    copy(path)
    report = verify(path)
    assert report.same
    assert (search_of(report).vectors_sampled, search_of(report).recall) == (9, 1.0)
    edit(path, ("UPDATE knowledge_nodes SET embedding = NULL WHERE rowid > 1", ()))
    assert search_of(verify(path)).no_recall == "no sampled memory has a vector"
