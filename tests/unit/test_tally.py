"""The counts stay right whatever happens to a range: tried again, its worker lost, its errors sent twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from loguru import logger

from tests.unit.test_encoder import encode
from vestige_migrate.copy.messages import BatchDone, ErrorsFound, RowsForgotten
from vestige_migrate.copy.tally import Tally
from vestige_migrate.errors import TooManyErrors
from vestige_migrate.progress import Progress
from vestige_migrate.report.endpoints import DestinationInfo, SourceInfo
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import NIL_UUID, Outcome, RowError, TableReport
from vestige_migrate.source.read.ranges import KeySpan, Rows
from vestige_migrate.workers.messages import RangeDone, RangeFault, RangeSplit, WorkerLost

NODES = KeySpan("knowledge_nodes", 0)
MORE = KeySpan("knowledge_nodes", 1)
EDGES = KeySpan("edges", 0)
FAULT = RangeFault(NODES, transient=True, reason="PostgreSQL: admin shutdown (SQLSTATE 57P01)")
LOST = WorkerLost(NODES, "was killed by signal 9")


def error(id_: str = "a", message: str = "tags is not JSON", table: str = "knowledge_nodes") -> RowError:
    return RowError(table, id_, "tags", message, Outcome.COPIED_WITHOUT_VALUE)


class Run:
    """A tally with its report and what it said."""

    def __init__(self, max_errors: int | None = None) -> None:
        self.report = MigrationReport(SourceInfo("x", 15, "plan"), DestinationInfo("postgresql://", "18", None))
        self.progress: list[Progress] = []
        self.tally = Tally(self.report, max_errors, self.progress.append)
        for table in ("knowledge_nodes", "edges"):
            self.tally.begin(table, 5000)

    def take(
        self, *messages: RowsForgotten | BatchDone | ErrorsFound | RangeDone | RangeFault | RangeSplit | WorkerLost
    ) -> Run:
        for message in messages:
            self.tally.handle(message)
        return self

    def counts(self, table: str = "knowledge_nodes") -> TableReport:
        self.tally.settle()
        return self.report.tables[table]


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Log lines as `LEVEL text`."""
    said: list[str] = []
    sink = logger.add(lambda line: said.append(str(line).rstrip("\n")), format="{level} {message}", level="INFO")
    yield said
    logger.remove(sink)


def test_batches_of_all_ranges_of_a_table_add_up() -> None:
    run = Run().take(
        BatchDone(NODES, 500, 0, 0),
        BatchDone(MORE, 100, 20, 3),
        BatchDone(NODES, 7, 2, 1),
        BatchDone(EDGES, 50, 0, 0),
        RangeDone(NODES),
        RangeDone(MORE),
    )
    assert run.counts() == TableReport(source_rows=633, inserted=607, skipped=22, failed=4)
    assert run.counts("edges") == TableReport(50, 50, 0, 0)
    assert run.counts("users") == TableReport()


def test_settling_twice_changes_nothing() -> None:
    run = Run().take(BatchDone(NODES, 5, 0, 0), LOST, BatchDone(NODES, 0, 5, 0))
    assert run.counts() == run.counts()


@pytest.mark.parametrize("end", [FAULT, LOST], ids=["fault", "lost"])
def test_rows_of_a_try_that_did_not_finish_count_as_inserted_once(end: RangeFault | WorkerLost) -> None:
    run = Run().take(BatchDone(NODES, 500, 0, 2), end, BatchDone(NODES, 0, 500, 0), BatchDone(NODES, 300, 0, 2))
    assert run.counts() == TableReport(source_rows=802, inserted=800, skipped=0, failed=2)


def test_rows_that_were_there_before_the_run_stay_skipped() -> None:
    run = Run().take(
        BatchDone(NODES, 0, 100, 0),
        BatchDone(NODES, 200, 0, 0),
        LOST,
        BatchDone(NODES, 0, 300, 0),
        BatchDone(NODES, 400, 0, 0),
    )
    assert run.counts() == TableReport(source_rows=700, inserted=600, skipped=100, failed=0)


def test_a_try_that_ends_before_its_first_message_forgets_nothing() -> None:
    """A server restart: the first try is cut off, the second cannot connect yet, the third goes through."""
    run = Run().take(
        BatchDone(NODES, 200, 0, 0), FAULT, FAULT, BatchDone(NODES, 0, 200, 0), BatchDone(NODES, 300, 0, 0)
    )
    assert run.counts() == TableReport(source_rows=500, inserted=500, skipped=0, failed=0)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 3),
    st.lists(st.tuples(st.lists(st.integers(1, 4), max_size=4), st.booleans()), max_size=4),
    st.integers(0, 30),
)
@example(0, [([2], True), ([], False)], 5)
def test_whatever_the_tries_a_row_counts_once_and_as_what_it_was(
    present: int, tries: list[tuple[list[int], bool]], new: int
) -> None:
    """A model of the destination: `present` rows are there before; each try asks, inserts some batches, and dies."""
    run = Run()
    inserted = 0
    for batches, asked in tries:
        if asked and present + inserted:
            run.take(BatchDone(NODES, 0, present + inserted, 0))
        for size in batches if asked else []:
            size = min(size, new - inserted)
            inserted += size
            run.take(BatchDone(NODES, size, 0, 0))
        run.take(LOST)
    run.take(BatchDone(NODES, 0, present + inserted, 0), BatchDone(NODES, new - inserted, 0, 0), RangeDone(NODES))
    assert run.counts() == TableReport(present + new, inserted=new, skipped=present, failed=0)


@pytest.mark.parametrize("skipped", [0, 3, 200, 250])
def test_a_run_that_stops_in_the_middle_of_a_new_try_still_adds_up(skipped: int) -> None:
    counts = Run().take(BatchDone(NODES, 200, 0, 0), LOST, BatchDone(NODES, 0, skipped, 0)).counts()
    assert counts.source_rows == counts.inserted + counts.skipped + counts.failed
    assert min(counts.inserted, counts.skipped) >= 0


# Updates.

SCHEDULES = KeySpan("scheduling", 0)


def test_updated_rows_and_their_companions_are_counted_where_they_belong() -> None:
    run = Run()
    run.tally.begin("scheduling", 5000)
    run.take(BatchDone(NODES, 3, 10, 1, updated=5, companions=4), BatchDone(SCHEDULES, 2, 15, 1))
    assert run.counts() == TableReport(source_rows=19, inserted=3, skipped=10, failed=1, updated=5)
    assert run.counts("scheduling") == TableReport(source_rows=18, inserted=2, skipped=11, failed=1, updated=4)
    assert run.counts("scheduling") == run.counts("scheduling")


@pytest.mark.parametrize("end", [FAULT, LOST], ids=["fault", "lost"])
def test_updates_of_a_try_that_did_not_finish_count_once(end: RangeFault | WorkerLost) -> None:
    """The next try finds those rows up to date; their schedules are counted when they are written, once each."""
    run = Run()
    run.tally.begin("scheduling", 5000)
    run.take(
        BatchDone(NODES, 0, 7, 0),
        BatchDone(NODES, 2, 0, 0),
        BatchDone(NODES, 0, 0, 0, updated=20, companions=19),
        end,
        BatchDone(NODES, 0, 29, 0),
        BatchDone(NODES, 0, 0, 0, updated=5, companions=5),
        BatchDone(SCHEDULES, 0, 30, 0),
    )
    assert run.counts() == TableReport(source_rows=34, inserted=2, skipped=7, failed=0, updated=25)
    assert run.counts("scheduling") == TableReport(source_rows=30, inserted=0, skipped=6, failed=0, updated=24)


@pytest.mark.parametrize("end", [FAULT, LOST])
def test_forgotten_rows_are_counted_and_named_as_the_last_try_found_them(end: RangeFault | WorkerLost) -> None:
    """Somebody deleted "b" between the tries, which the first one had brought."""
    run = Run().take(RowsForgotten(NODES, 1, ("a",)), BatchDone(NODES, 2, 0, 0), end)
    run.take(RowsForgotten(NODES, 2, ("a", "b")), BatchDone(NODES, 0, 1, 0), RangeDone(NODES))
    assert run.counts() == TableReport(source_rows=3, inserted=1, forgotten=2)
    assert run.report.forgotten == ["a", "b"]
    assert run.progress[-1].done == 3
    run.tally.start_over()
    run.take(BatchDone(NODES, 2, 1, 0), RangeDone(NODES))
    assert (run.counts().forgotten, run.report.forgotten) == (0, [])


def test_companions_of_a_run_that_stopped_before_their_table_are_not_rows_of_it() -> None:
    run = Run().take(BatchDone(NODES, 0, 0, 0, updated=20, companions=19))
    assert run.counts("scheduling") == TableReport()


# Errors.


def test_an_error_that_a_second_try_finds_again_is_reported_once(lines: list[str]) -> None:
    found = ErrorsFound(NODES, (error("a"), error("b")))
    run = Run().take(found, LOST, found, FAULT, ErrorsFound(NODES, (error("b"), error("c"))))
    run.counts()
    assert [item.id for item in run.report.errors] == ["a", "b", "c"]
    assert len([line for line in lines if line.startswith("WARNING")]) == 3


def test_two_errors_alike_in_one_try_are_two() -> None:
    """Two rows without an id are told apart by nothing."""
    found = ErrorsFound(NODES, (error(NIL_UUID, "id is NULL"), error(NIL_UUID, "id is NULL")))
    run = Run().take(found, LOST, found)
    run.counts()
    assert len(run.report.errors) == 2


def test_a_second_try_may_find_one_more_of_the_same() -> None:
    alike = error(NIL_UUID, "id is NULL")
    run = Run().take(ErrorsFound(NODES, (alike,)), LOST, ErrorsFound(NODES, (alike, alike)))
    run.counts()
    assert len(run.report.errors) == 2


def test_an_error_of_a_row_that_the_next_try_finds_there_is_kept() -> None:
    run = Run().take(ErrorsFound(NODES, (error("a"),)), BatchDone(NODES, 1, 0, 0), LOST, BatchDone(NODES, 0, 1, 0))
    assert run.counts() == TableReport(1, 1, 0, 0)
    assert [item.id for item in run.report.errors] == ["a"]


def test_each_error_is_a_warning_with_id_and_reason(lines: list[str]) -> None:
    Run().take(ErrorsFound(NODES, (error("{id}", "tags {is} not JSON"),)))
    assert lines == ["WARNING knowledge_nodes {id}: tags {is} not JSON (copied_without_value)"]


def test_as_many_errors_as_allowed_go_through_and_one_more_stops() -> None:
    run = Run(max_errors=2).take(ErrorsFound(NODES, (error("a"), error("b"))))
    with pytest.raises(TooManyErrors, match="3 rows have errors, more than --max-errors 2 allows") as caught:
        run.take(ErrorsFound(EDGES, (error("a", table="edges"),)))
    assert caught.value.exit_code == 4
    run.counts()
    assert len(run.report.errors) == 3


def test_no_limit_is_no_limit() -> None:
    Run().take(ErrorsFound(NODES, tuple(error(str(at)) for at in range(1000))))


def test_several_errors_of_one_row_are_one_row_to_the_limit() -> None:
    Run(max_errors=1).take(ErrorsFound(NODES, (error("a", "tags"), error("a", "metadata"), error("a", "domains"))))


def test_rows_without_an_id_are_a_row_each_to_the_limit() -> None:
    with pytest.raises(TooManyErrors):
        Run(max_errors=1).take(ErrorsFound(NODES, (error(NIL_UUID, "id is 'x'"), error(NIL_UUID, "id is 'y'"))))


def test_an_edge_with_two_bad_ends_is_one_row_to_the_limit() -> None:
    batch = encode("edges", {"source_id": "bad", "target_id": "worse"})
    assert batch.unplaced_rows == 1
    Run(max_errors=1).take(ErrorsFound(EDGES, tuple(batch.unplaced)))


def test_errors_found_again_do_not_count_towards_the_limit() -> None:
    found = ErrorsFound(NODES, (error("a"), error(NIL_UUID)))
    Run(max_errors=2).take(found, LOST, found, FAULT, found)


# Progress and log.


def test_progress_follows_committed_batches_and_goes_back_when_a_range_does() -> None:
    run = Run().take(BatchDone(NODES, 490, 7, 3), BatchDone(MORE, 100, 0, 5), LOST, BatchDone(NODES, 0, 500, 0))
    assert [item.done for item in run.progress if item.table == "knowledge_nodes"] == [0, 500, 605, 105, 605]
    assert {item.total for item in run.progress} == {5000}


def test_every_thousand_memories_is_a_line_and_only_memories(lines: list[str]) -> None:
    run = Run()
    for _ in range(5):
        run.take(BatchDone(NODES, 400, 100, 0), BatchDone(EDGES, 1000, 0, 0))
    assert lines == ["INFO 1000 of 5000 memories", "INFO 2000 of 5000 memories"]


def test_a_thousand_copied_again_is_no_second_line(lines: list[str]) -> None:
    Run().take(BatchDone(NODES, 1500, 0, 0), LOST, BatchDone(NODES, 0, 1500, 0), BatchDone(NODES, 600, 0, 0))
    assert lines == ["INFO 1000 of 5000 memories", "INFO 2000 of 5000 memories"]


HALVES = (Rows("knowledge_nodes", 0, (1, 2)), Rows("knowledge_nodes", 0, (3,)))


def test_what_a_range_did_before_it_was_halved_counts_once() -> None:
    first, second = error("a"), error("b")
    run = Run().take(ErrorsFound(NODES, (first,)), BatchDone(NODES, 2, 0, 0), ErrorsFound(NODES, (second,)), LOST)
    run.take(RangeSplit(NODES, HALVES))
    # The first half finds both rows there; the second row's batch was never committed, so its error is said again.
    run.take(BatchDone(HALVES[0], 0, 2, 0), RangeDone(HALVES[0]))
    run.take(ErrorsFound(HALVES[1], (second,)), BatchDone(HALVES[1], 1, 0, 0), RangeDone(HALVES[1]))
    assert run.counts() == TableReport(source_rows=3, inserted=3)
    assert sorted(item.id for item in run.report.errors) == ["a", "b"]


def test_a_half_that_is_tried_again_says_its_inherited_errors_once() -> None:
    said = error("b")
    run = Run().take(ErrorsFound(NODES, (said,)), LOST, RangeSplit(NODES, HALVES))
    for _ in range(2):
        run.take(ErrorsFound(HALVES[1], (said,)), WorkerLost(HALVES[1], "was killed by signal 9"))
    run.take(ErrorsFound(HALVES[1], (said,)), BatchDone(HALVES[1], 1, 0, 0), RangeDone(HALVES[1]))
    assert run.counts() == TableReport(source_rows=1, inserted=1)
    assert run.report.errors == [said]


ORPHAN = RowError("edges", "a", None, 'violates foreign key "x"', Outcome.NOT_COPIED, "23503")
REFUSED = RowError("edges", "b", None, 'violates check constraint "y"', Outcome.NOT_COPIED, "23514")


@pytest.mark.parametrize("ends", [True, False])
def test_a_row_refused_for_a_memory_that_the_server_lost_is_judged_anew(ends: bool) -> None:
    """The server lost the memory, not the source: sent again, the edge is taken. The other refusal stands."""
    run = Run().take(ErrorsFound(EDGES, (ORPHAN, REFUSED)), BatchDone(EDGES, 3, 0, 2))
    run.tally.start_over()
    run.take(ErrorsFound(EDGES, (REFUSED,)), BatchDone(EDGES, 1, 3, 1))
    if ends:
        run.take(RangeDone(EDGES))
    assert run.counts("edges") == TableReport(source_rows=5, inserted=4, failed=1)
    assert run.report.errors == ([REFUSED] if ends else [REFUSED, ORPHAN])
    assert run.tally.rows_with_errors == (1 if ends else 2)


def test_a_row_refused_again_after_a_new_beginning_is_reported_once() -> None:
    run = Run().take(ErrorsFound(EDGES, (ORPHAN,)), BatchDone(EDGES, 0, 0, 1), RangeDone(EDGES))
    run.tally.start_over()
    run.take(ErrorsFound(EDGES, (ORPHAN,)), BatchDone(EDGES, 0, 0, 1), RangeDone(EDGES))
    assert run.counts("edges") == TableReport(source_rows=1, failed=1)
    assert run.report.errors == [ORPHAN]
    assert run.tally.rows_with_errors == 1


def test_what_a_range_committed_is_counted_though_its_last_try_failed() -> None:
    run = Run().take(BatchDone(NODES, 100, 0, 1), FAULT, BatchDone(NODES, 0, 40, 0), LOST)
    assert run.counts() == TableReport(source_rows=100, inserted=100)
    run.take(BatchDone(NODES, 0, 40, 0))
    assert run.counts() == TableReport(source_rows=100, inserted=100)


def test_what_the_rounds_before_committed_counts_where_the_next_one_is_stopped() -> None:
    run = Run().take(BatchDone(NODES, 100, 0, 0), RangeDone(NODES))
    run.tally.start_over(may_be_lost=False)
    assert run.counts() == TableReport(source_rows=100, inserted=100)
    run.take(BatchDone(NODES, 5, 100, 0), RangeDone(NODES))
    assert run.counts() == TableReport(source_rows=105, inserted=105)


def test_what_a_crash_may_have_cost_is_not_counted_until_it_is_found() -> None:
    run = Run().take(BatchDone(NODES, 100, 0, 0), RangeDone(NODES))
    run.tally.start_over()
    assert run.counts() == TableReport()
    run.take(BatchDone(NODES, 30, 70, 0), RangeDone(NODES))
    assert run.counts() == TableReport(source_rows=100, inserted=100)
