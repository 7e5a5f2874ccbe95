"""The ranges of a table together hold every row exactly once, whatever its key is."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vestige_migrate.decode.problem import Raw
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read import ranges
from vestige_migrate.source.read.ranges import (
    MAX_RANGE_ROWS,
    MIN_RANGE_ROWS,
    KeySpan,
    NullSpan,
    Range,
    Rows,
    plan_ranges,
    range_count,
)
from vestige_migrate.source.read.rows import cover_rowids, list_keys
from vestige_migrate.source.sqlite.quoting import column

SEVERAL = settings(max_examples=120, deadline=None)
BY_KEY = TableSource("nodes", (column("id"),), (column("id"),), order=("created_at", "id"))
BY_ROWID = TableSource("nodes", (column("id"),), (column("id"),))


class StoredText(bytes):
    """Bytes that are stored as a text, valid UTF-8 or not."""


Stored = StoredText | Raw
times = st.sampled_from(["2026-05-27T09:35:58Z", "2026-05-27 09:35:58", "1716800000", "1716800000.5", "x", ""])
odd_texts = st.binary(max_size=4).map(StoredText) | st.sampled_from(
    [StoredText(b"12\0"), StoredText(b"\0"), StoredText(b"1\xff"), StoredText(b" 12 "), StoredText(b"1e3")]
)
edge_numbers = st.sampled_from([2**63 - 1, -(2**63), 2**53, 2**53 + 1, float(2**53), 0.0, -0.0, 1, 1.0, 12])
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=True) | edge_numbers
stored: st.SearchStrategy[Stored] = st.none() | times | odd_texts | numbers | st.binary(max_size=3)
affinities = st.sampled_from(["TEXT", "", "NUMERIC", "INTEGER", "REAL", "BLOB", "TEXT COLLATE NOCASE"])
indexes = st.sampled_from([(), ("created_at",), ("created_at", "id"), ("id", "created_at"), ("created_at DESC",)])


@st.composite
def keyed_rows(draw: st.DrawFn) -> list[tuple[Stored, Stored]]:
    """Keys with many ties: each part from a handful of values."""
    created = st.sampled_from(draw(st.lists(stored, min_size=1, max_size=6)))
    ids = st.sampled_from(draw(st.lists(stored, min_size=1, max_size=6))) | stored
    return draw(st.lists(st.tuples(created, ids), max_size=40))


@contextmanager
def table_of(
    rows: Sequence[tuple[Stored, Stored]], affinity: str = "TEXT", index: Sequence[str] = ()
) -> Iterator[sqlite3.Connection]:
    """An open table `nodes(created_at, id)` of these rows, no value of them changed on the way in."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE nodes (created_at {affinity}, id {affinity})")
        if index:
            connection.execute(f"CREATE INDEX by_key ON nodes ({', '.join(index)})")
        for row in rows:
            places = ", ".join("CAST(? AS TEXT)" if isinstance(value, StoredText) else "?" for value in row)
            values = [bytes(value) if isinstance(value, StoredText) else value for value in row]
            connection.execute(f"INSERT INTO nodes VALUES ({places})", values)
        yield connection


def rowids(connection: sqlite3.Connection, source: TableSource, found: Sequence[Range]) -> list[list[Raw]]:
    return [[row[0] for row in list_keys(connection, source, range_)] for range_ in found]


def every_rowid(connection: sqlite3.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT rowid FROM nodes ORDER BY rowid")]


def flat(parts: Sequence[Sequence[Raw]]) -> list[Raw]:
    return [item for part in parts for item in part]


@contextmanager
def split_finely() -> Iterator[None]:
    """Small tables are worth one range only; here every row is worth one."""
    with patch.object(ranges, "MIN_RANGE_ROWS", 1):
        yield


@SEVERAL
@given(keyed_rows(), affinities, indexes, st.integers(1, 6))
@example([("a", StoredText(b"\xff")), ("a", StoredText(b"\xfe")), ("a", "\x00")], "TEXT", (), 3)
@example([(1, 1), (1.0, 1.0), ("1", "1"), (b"1", b"1"), (None, 1), (1, None)] * 3, "", ("created_at",), 4)
@example([("12", StoredText(b"12\0")), (12, "12x"), (12.5, "x")] * 3, "NUMERIC", ("created_at", "id"), 4)
def test_every_row_is_in_exactly_one_range(
    rows: list[tuple[Stored, Stored]], affinity: str, index: tuple[str, ...], workers: int
) -> None:
    with split_finely(), table_of(rows, affinity, index) as connection:
        found = plan_ranges(connection, "knowledge_nodes", BY_KEY, workers)
        parts = rowids(connection, BY_KEY, found)
        assert Counter(flat(parts)) == Counter(every_rowid(connection))


@SEVERAL
@given(keyed_rows(), affinities, st.integers(1, 6), st.booleans())
def test_neighbours_share_their_boundary(
    rows: list[tuple[Stored, Stored]], affinity: str, workers: int, fine_end: bool
) -> None:
    with split_finely(), table_of(rows, affinity) as connection:
        found = plan_ranges(connection, "knowledge_nodes", BY_KEY, workers, fine_end)
    assert [range_.number for range_ in found] == list(range(len(found)))
    keyed = [range_ for range_ in found if isinstance(range_, KeySpan)]
    assert len(found) - len(keyed) <= 1
    assert keyed[0].lower is None
    assert keyed[-1].upper is None
    for before, after in pairwise(keyed):
        assert before.upper is not None
        assert before.upper == after.lower


@SEVERAL
@given(keyed_rows(), affinities, st.integers(1, 6))
def test_rows_come_in_key_order_from_range_to_range(
    rows: list[tuple[Stored, Stored]], affinity: str, workers: int
) -> None:
    rank = "DENSE_RANK() OVER (ORDER BY created_at, id)"
    with split_finely(), table_of(rows, affinity) as connection:
        ranks = dict(
            connection.execute(
                f"SELECT rowid, {rank} FROM nodes WHERE created_at IS NOT NULL AND id IS NOT NULL"
            ).fetchall()
        )
        found = [item for item in plan_ranges(connection, "nodes", BY_KEY, workers) if not isinstance(item, NullSpan)]
        order = [ranks[rowid] for rowid in flat(rowids(connection, BY_KEY, found))]
    assert order == sorted(order)


@SEVERAL
@given(st.sets(st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 50), max_size=40), st.integers(1, 6))
def test_rowids_split_as_well_with_gaps_and_below_zero(chosen: set[int], workers: int) -> None:
    with split_finely(), table_of([]) as connection:
        connection.executemany("INSERT INTO nodes (rowid) VALUES (?)", [(rowid,) for rowid in chosen])
        found = plan_ranges(connection, "edges", BY_ROWID, workers)
        parts = rowids(connection, BY_ROWID, found)
    assert flat(parts) == sorted(chosen)
    assert not any(isinstance(range_, NullSpan) for range_ in found)


@pytest.mark.parametrize("source", [BY_KEY, BY_ROWID], ids=["by key", "by rowid"])
@pytest.mark.parametrize("rows", [0, 1, 3, MIN_RANGE_ROWS + 1])
def test_few_rows_for_many_workers(source: TableSource, rows: int) -> None:
    with table_of([("2026-05-27", f"{at:04}") for at in range(rows)]) as connection:
        found = plan_ranges(connection, "nodes", source, 8)
        assert flat(rowids(connection, source, found)) == list(range(1, rows + 1))
        assert len(found) == max(1, -(-rows // MIN_RANGE_ROWS))


def test_one_created_at_for_all_rows_still_splits_evenly() -> None:
    with table_of([("2026-05-27T09:35:58Z", f"{at:05}") for at in range(4000)]) as connection:
        sizes = [len(part) for part in rowids(connection, BY_KEY, plan_ranges(connection, "nodes", BY_KEY, 2))]
    assert sizes == [250] * 16


def test_one_key_for_all_rows_is_one_range() -> None:
    with table_of([("2026-05-27T09:35:58Z", "same")] * 2000) as connection:
        found = plan_ranges(connection, "nodes", BY_KEY, 2)
        assert [len(part) for part in rowids(connection, BY_KEY, found)] == [0, 2000]


@pytest.mark.parametrize("column_of_nulls", [0, 1])
def test_nulls_have_a_range_of_their_own(column_of_nulls: int) -> None:
    rows: list[tuple[Stored, Stored]] = [(f"t{at:04}", f"{at:04}") for at in range(1000)]
    rows[::100] = [(None, row[1]) if column_of_nulls == 0 else (row[0], None) for row in rows[::100]]
    with table_of(rows) as connection:
        found = plan_ranges(connection, "nodes", BY_KEY, 2)
        parts = rowids(connection, BY_KEY, found)
    assert [isinstance(range_, NullSpan) for range_ in found] == [False] * (len(found) - 1) + [True]
    assert Counter(parts[-1]) == Counter(range(1, 1001, 100))
    assert max(len(part) for part in parts) <= 250


def test_a_table_of_nulls_only_is_covered() -> None:
    with table_of([(None, None)] * 5) as connection:
        found = plan_ranges(connection, "nodes", BY_KEY, 2)
        assert [len(part) for part in rowids(connection, BY_KEY, found)] == [0, 5]


def test_no_range_holds_more_keys_than_a_worker_should() -> None:
    with table_of([(f"t{at // 3}", str(at)) for at in range(2 * MAX_RANGE_ROWS + 5)]) as connection:
        parts = rowids(connection, BY_KEY, plan_ranges(connection, "nodes", BY_KEY, 1))
    assert max(len(part) for part in parts) <= MAX_RANGE_ROWS
    assert len(flat(parts)) == 2 * MAX_RANGE_ROWS + 5


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**8), st.integers(1, 64))
def test_a_table_is_worth_several_ranges_a_worker_of_a_sensible_size(rows: int, workers: int) -> None:
    count = range_count(rows, workers)
    assert count >= 1
    assert -(-rows // count) <= MAX_RANGE_ROWS
    if count > 1:
        assert rows > (count - 1) * MIN_RANGE_ROWS
    if rows >= workers * ranges.RANGES_PER_WORKER * MIN_RANGE_ROWS:
        assert count >= workers * ranges.RANGES_PER_WORKER


def test_a_range_is_named_without_its_key() -> None:
    assert str(KeySpan("edges", 3, (ranges.KeyPart(b"secret", True),))) == "edges range 3"


@pytest.mark.parametrize("nulls", [1, 8, 9, 20])
def test_many_null_keys_are_split_by_rowid(nulls: int) -> None:
    rows: list[tuple[Stored, Stored]] = [("t", f"{at:04}") for at in range(30)]
    rows[3 : 3 + nulls] = [(None, "x")] * nulls
    with patch.object(ranges, "MAX_RANGE_ROWS", 8), table_of(rows) as connection:
        found = plan_ranges(connection, "nodes", BY_KEY, 1)
        parts = rowids(connection, BY_KEY, found)
    assert [range_.number for range_ in found] == list(range(len(found)))
    assert Counter(flat(parts)) == Counter(range(1, 31))
    of_nulls = [part for range_, part in zip(found, parts, strict=True) if isinstance(range_, NullSpan)]
    assert len(of_nulls) == -(-nulls // 8)
    assert max(map(len, of_nulls)) <= 8
    assert flat(of_nulls) == list(range(4, 4 + nulls))


@contextmanager
def sampled_from(rows: int) -> Iterator[None]:
    with patch.object(ranges, "SAMPLED_FROM_ROWS", rows), patch.object(ranges, "SAMPLES_PER_RANGE", 4):
        yield


@SEVERAL
@given(keyed_rows(), affinities, indexes, st.integers(1, 6))
def test_ranges_from_a_sample_hold_every_row_once(
    rows: list[tuple[Stored, Stored]], affinity: str, index: tuple[str, ...], workers: int
) -> None:
    many = rows * 8
    with split_finely(), sampled_from(1), table_of(many, affinity, index) as connection:
        found = plan_ranges(connection, "knowledge_nodes", BY_KEY, workers)
        parts = rowids(connection, BY_KEY, found)
        assert Counter(flat(parts)) == Counter(every_rowid(connection))


@pytest.mark.parametrize("gap", [0, 10**12], ids=["dense", "a gap that makes rowids sparse"])
def test_ranges_of_a_large_table_are_about_equal(gap: int) -> None:
    count = 2 * ranges.SAMPLED_FROM_ROWS
    with table_of([]) as connection:
        made = ((at + (gap if at > count // 2 else 0), f"t{at * 7919 % count // 3:06}", str(at)) for at in range(count))
        connection.executemany("INSERT INTO nodes (rowid, created_at, id) VALUES (?, ?, ?)", made)
        sizes = [len(part) for part in rowids(connection, BY_KEY, plan_ranges(connection, "nodes", BY_KEY, 2))]
    assert sum(sizes) == count
    assert len(sizes) == 16
    assert max(sizes) < 1.6 * count / 16


@SEVERAL
@given(keyed_rows(), affinities, indexes, st.integers(1, 6))
def test_a_fine_end_holds_every_row_once(
    rows: list[tuple[Stored, Stored]], affinity: str, index: tuple[str, ...], workers: int
) -> None:
    with split_finely(), table_of(rows * 4, affinity, index) as connection:
        found = plan_ranges(connection, "knowledge_nodes", BY_KEY, workers, fine_end=True)
        parts = rowids(connection, BY_KEY, found)
        assert Counter(flat(parts)) == Counter(every_rowid(connection))


def test_the_end_is_split_into_pieces_that_several_workers_can_share() -> None:
    count = 4 * MAX_RANGE_ROWS
    with table_of([(f"t{at:06}", str(at)) for at in range(count)]) as connection:
        plain, fine = (
            [len(part) for part in rowids(connection, BY_KEY, plan_ranges(connection, "nodes", BY_KEY, 1, fine_end))]
            for fine_end in (False, True)
        )
        by_rowid = [
            len(part) for part in rowids(connection, BY_ROWID, plan_ranges(connection, "nodes", BY_ROWID, 1, True))
        ]
    assert fine[: len(plain) - 1] == plain[:-1]
    assert fine[len(plain) - 1 :] == [MIN_RANGE_ROWS] * (plain[-1] // MIN_RANGE_ROWS)
    assert by_rowid == fine


@SEVERAL
@given(st.sets(st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 50), max_size=40), st.integers(1, 6))
def test_rowids_that_cover_a_range_hold_all_of_its_rows_and_none_of_another(chosen: set[int], workers: int) -> None:
    with split_finely(), table_of([]) as connection:
        connection.executemany("INSERT INTO nodes (rowid) VALUES (?)", [(rowid,) for rowid in chosen])
        covers = [
            cover_rowids(connection, BY_ROWID, range_) for range_ in plan_ranges(connection, "nodes", BY_ROWID, workers)
        ]
    assert sorted(rowid for cover in covers for rowid in cover if rowid in chosen) == sorted(chosen)
    assert all(len(cover) <= 2 * MAX_RANGE_ROWS for cover in covers)


def test_rowids_of_a_range_by_key_are_listed() -> None:
    with table_of([("t2", "a"), ("t1", "b")]) as connection:
        (range_,) = plan_ranges(connection, "nodes", BY_KEY, 1)
        assert list(cover_rowids(connection, BY_KEY, range_)) == [2, 1]
        assert list(cover_rowids(connection, BY_ROWID, Rows("nodes", 0, (2,)))) == [2]
