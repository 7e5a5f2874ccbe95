"""The parts of a comparison that need no server."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vestige_migrate.progress import Progress
from vestige_migrate.report.endpoints import DestinationInfo, SourceInfo
from vestige_migrate.report.rows import NIL_UUID, Outcome, RowError
from vestige_migrate.report.verification import Difference, Kind, SearchCheck, VerifyReport
from vestige_migrate.source.read.ranges import KeySpan, Range
from vestige_migrate.verify.keys import key_sum
from vestige_migrate.verify.messages import BatchCompared, NeighboursFound, Queries
from vestige_migrate.verify.neighbours import NEIGHBOURS, NeighbourSearch, merged, unit
from vestige_migrate.verify.search_sample import _whole_words
from vestige_migrate.verify.tally import VerifyTally
from vestige_migrate.wire import field
from vestige_migrate.workers.messages import RangeFault, WorkerLost

NODES = KeySpan("knowledge_nodes", 0)
LOST = Difference("knowledge_nodes", NIL_UUID, Kind.MISSING)
CHANGED = Difference("knowledge_nodes", NIL_UUID, Kind.DIFFERENT, ("content",))
BAD = RowError("knowledge_nodes", NIL_UUID, "id", "is no UUID", Outcome.NOT_COPIED)


def batch(same: int = 0, range_: Range = NODES, **more: object) -> BatchCompared:
    values = {"altered": 0, "not_copied": 0, "differences": (), "errors": (), "matched": same, "key_sum": 0, **more}
    return BatchCompared(range_, same, **values)  # type: ignore[arg-type]


def report() -> VerifyReport:
    return VerifyReport((SourceInfo("x.db", 15, "plan"),), DestinationInfo("postgresql:///", "18", "0.8.5"))


def test_counts_differences_and_progress_add_up() -> None:
    told: list[Progress] = []
    tally = VerifyTally(told.append)
    tally.begin("knowledge_nodes", 7)
    tally.handle(0, batch(2, key_sum=5))
    tally.handle(0, batch(1, differences=(LOST, CHANGED), not_copied=1, errors=(BAD,), matched=2, key_sum=6))
    tally.handle(0, batch(0, altered=1, range_=KeySpan("knowledge_nodes", 1), matched=1, key_sum=1))
    found = report()
    tally.settle(found)
    nodes = found.tables["knowledge_nodes"]
    assert (nodes.source_rows, nodes.same, nodes.altered, nodes.not_copied) == (7, 3, 1, 1)
    assert (nodes.different, nodes.missing, nodes.extra) == (1, 1, 0)
    assert found.differences == [LOST, CHANGED]
    assert (found.altered, found.not_copied) == ([], [BAD])
    assert tally.matched("knowledge_nodes") == (5, 12)
    assert tally.rows(0, "knowledge_nodes") == 7
    assert [item.done for item in told] == [0, 2, 6, 7]


@pytest.mark.parametrize("fault", [RangeFault(NODES, True, "lost"), WorkerLost(NODES, "killed")])
def test_a_range_that_is_tried_again_counts_once(fault: RangeFault | WorkerLost) -> None:
    told: list[Progress] = []
    tally = VerifyTally(told.append)
    tally.begin("knowledge_nodes", 3)
    tally.handle(0, batch(1, differences=(LOST,), errors=(BAD,), key_sum=9))
    tally.handle(0, fault)
    tally.handle(0, batch(2, differences=(LOST,), key_sum=4))
    found = report()
    tally.settle(found)
    assert (found.tables["knowledge_nodes"].source_rows, found.differences, found.not_copied) == (3, [LOST], [])
    assert tally.matched("knowledge_nodes") == (2, 4)
    assert [item.done for item in told] == [0, 2, 0, 3]


def test_the_same_range_of_two_files_is_two_ranges() -> None:
    tally = VerifyTally(None)
    for source in (0, 1):
        tally.begin("knowledge_nodes", 2)
        tally.handle(source, batch(2))
        tally.handle(source, NeighboursFound(NODES, (((0.5, bytes([source]) * 16),),)))
    assert (tally.rows(0, "knowledge_nodes"), tally.matched("knowledge_nodes")[0]) == (2, 4)
    assert {id_ for _, id_ in tally.nearest(0)} == {b"\0" * 16, b"\1" * 16}


@given(st.lists(st.uuids(), max_size=30), st.data())
def test_the_sum_of_keys_is_the_same_in_any_order_and_parts(ids: list[UUID], data: st.DataObject) -> None:
    fields = [field.uuid(id_) for id_ in ids]
    shuffled = data.draw(st.permutations(fields))
    at = data.draw(st.integers(0, len(ids)))
    parts = key_sum(["uuid"], [fields[:at]]) + key_sum(["uuid"], [fields[at:]])
    halves = [sum(int.from_bytes(id_.bytes[start : start + 8], "big", signed=True) for id_ in ids) for start in (0, 8)]
    assert key_sum(["uuid"], [shuffled]) == parts == halves[0] + (halves[1] << 128)
    assert key_sum(["uuid", "uuid"], [fields, shuffled]) == parts + (parts << 256)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 4), st.integers(1, 25), st.integers(0, 2**32 - 1))
def test_neighbours_by_batches_are_those_by_brute_force(
    count: int, dimension: int, queries: int, size: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, dimension)).astype(np.float32)
    vectors[rng.random(count) < 0.1] = 0.0
    ids = [UUID(int=at + 1) for at in range(count)]
    asked = min(queries, count)
    given_queries = unit(vectors[:asked])
    search = NeighbourSearch(Queries(tuple(id_.bytes for id_ in ids[:asked]), given_queries.tobytes(), dimension))
    for start in range(0, count, size):
        fields = [field.vector(vector) for vector in vectors[start : start + size]]
        nulls = [field.NULL] * (start % 2)
        extra = [field.uuid(UUID(int=10_000 + start))] * len(nulls)
        search.add([*extra, *map(field.uuid, ids[start : start + size])], [*nulls, *fields])
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1)
    for at in range(asked):
        if lengths[at] == 0:
            continue
        true = sorted(
            (
                float(wide[other] @ wide[at] / lengths[other] / lengths[at])
                for other in range(count)
                if other != at and lengths[other] > 0
            ),
            reverse=True,
        )[:NEIGHBOURS]
        found = merged([search.nearest[at]])
        assert [similarity for similarity, _ in found] == pytest.approx(true, abs=1e-5)
        assert ids[at].bytes not in {id_ for _, id_ in found}


@pytest.mark.parametrize("large", [[3e38, 3e38], [-2e38, -3.4e38]])
def test_a_vector_of_the_largest_numbers_is_no_warning_of_pythons_on_the_terminal(large: list[float]) -> None:
    vectors = np.array([[0.6, 0.8], [0.8, 0.6], large], np.float32)
    ids = [UUID(int=at + 1) for at in range(3)]
    search = NeighbourSearch(Queries((ids[0].bytes,), unit(vectors[:1]).tobytes(), 2))
    search.add([*map(field.uuid, ids)], [field.vector(vector) for vector in vectors])
    assert {id_: similarity for similarity, id_ in search.nearest[0]}[ids[1].bytes] == pytest.approx(0.96)


def test_a_memory_that_two_ranges_have_counts_once() -> None:
    assert merged([[(0.9, b"a"), (0.5, b"b")], [(0.9, b"a"), (0.7, b"c")]]) == [(0.9, b"a"), (0.7, b"c"), (0.5, b"b")]


def test_a_text_is_cut_between_words() -> None:
    assert _whole_words("short text") == "short text"
    assert _whole_words("word " * 1000 + "end").endswith("word")
    assert _whole_words("x" * 5000) == ""


def test_the_search_warns_below_its_threshold_and_is_no_difference() -> None:
    poor = SearchCheck(
        10, vectors_sampled=50, recall=0.5, ef_search=40, texts_sampled=2, texts_found=1, not_found=["id"]
    )
    found = report()
    found.search = poor
    assert found.exit_code == 0
    [warning] = poor.warnings
    assert "recall@10 is 0.50" in warning
    assert found.as_json()["search"]["recall_at_10"] == 0.5
    assert SearchCheck(10, recall=0.95).warnings == []


def test_the_report_has_the_documented_keys() -> None:
    found = report()
    found.differences = [CHANGED]
    assert list(found.as_json()) == [
        "schema", "command", "dry_run", "complete", "same", "source", "destination", "model", "tables", "differences",
        "not_copied", "not_copied_rows", "altered", "archive", "left_behind", "awaiting_reembed", "missing_indexes",
        "search", "source_changed", "phases", "duration_seconds",
    ]  # fmt: skip
    assert (found.as_json()["same"], found.exit_code) == (False, 1)
    assert found.as_json()["differences"] == [
        {"table": "knowledge_nodes", "id": NIL_UUID, "kind": "different", "columns": ["content"]}
    ]
    assert str(CHANGED) == f"knowledge_nodes {NIL_UUID}: different in content"
