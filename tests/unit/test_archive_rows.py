"""Rows of any table as JSON and key: nothing lost, nothing mixed up, every table read to its last row."""

from __future__ import annotations

import json
import math
import sqlite3
import struct
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vestige_migrate.decode.problem import Raw
from vestige_migrate.decode.text import tolerant_text
from vestige_migrate.source.layout.table_source import EVERY_ROW
from vestige_migrate.source.read.any_table import AnyRow, AnyTable
from vestige_migrate.wire.archive_json import MAX_KEY_BYTES, row_json, row_key

INTEGERS = st.integers(-(2**63), 2**63 - 1)
REALS = st.floats(allow_subnormal=True)
TEXTS = st.one_of(st.text(), st.binary().map(tolerant_text))
VALUES = st.one_of(st.none(), INTEGERS, REALS, TEXTS, st.binary())


def read_back(value: Any) -> Raw:
    """The reader of docs/archive.md; `json` takes a number with a point for a float, and one without for an int."""
    if isinstance(value, dict):
        ((form, text),) = value.items()
        if form == "real":
            return float(text)
        return b64decode(text) if form == "base64" else tolerant_text(b64decode(text))
    assert value is None or isinstance(value, (str, int, float))
    return value


def same(one: Raw, other: Raw) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return struct.pack(">d", one) == struct.pack(">d", other) or (math.isnan(one) and math.isnan(other))
    return type(one) is type(other) and one == other


@settings(max_examples=500, deadline=None)
@given(VALUES)
@example(1.0)
@example(1)
@example(-0.0)
@example(1e16)
@example(5e-324)
@example(1.7976931348623157e308)
@example(math.inf)
@example(-math.inf)
@example(math.nan)
@example("a\0b")
@example(tolerant_text(b"\xff\xfe"))
@example('{"base64": "AA=="}')
@example(b"")
def test_every_value_can_be_read_back_exactly(value: Raw) -> None:
    text = row_json(['the "name"'], [value])
    assert "\\u0000" not in text
    text.encode()
    ((name, written),) = json.loads(text).items()
    assert name == 'the "name"'
    assert same(read_back(written), value)


@settings(max_examples=500, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=3), st.lists(VALUES, min_size=1, max_size=3))
@example(["1"], [1])
@example([b"1"], ["1"])
@example(["[1]"], [1.0])
@example(['["a","b"]'], ["a", "b"])
@example(["a,b"], ["a", "b"])
@example(["1#" + "0" * 32], [1])
@example(["x" * 2000], ["x" * 2001])
@example(['{"rowid":7}'], [None])
def test_different_keys_are_different_texts(one: list[Raw], other: list[Raw]) -> None:
    first, second = row_key(one, 7), row_key(other, 8)
    alike = len(one) == len(other) and all(map(same, one, other)) and None not in one
    assert (first == second) == alike
    assert len(first.encode()) <= MAX_KEY_BYTES
    assert "\0" not in first


def test_common_keys_read_as_they_are() -> None:
    assert row_key(["11111111-1111-4111-8111-111111111111"], 3) == "11111111-1111-4111-8111-111111111111"
    assert row_key([42], 42) == "42"
    assert row_key([], 12) == "12"
    assert row_key(["a", 1], None) == '["a",1]'
    assert row_key(["42"], 1) == '["42"]'
    assert row_key(["a", None], 5) == '{"rowid":5}'


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as opened:
        yield opened


def all_rows(connection: sqlite3.Connection, name: str, where: str = "1", rows: int = 3) -> list[AnyRow]:
    batches = list(AnyTable(connection, name).batches(where, rows, 1_000_000))
    assert all(1 <= len(batch) <= rows for batch in batches)
    return [row for batch in batches for row in batch]


@pytest.mark.parametrize("more", ["", "WITHOUT ROWID"])
def test_tables_with_and_without_rowid_are_read_whole(connection: sqlite3.Connection, more: str) -> None:
    connection.execute(f'CREATE TABLE "a "" b" (x TEXT, k2 INTEGER, k1 TEXT, PRIMARY KEY (k1, k2)) {more}')
    connection.executemany('INSERT INTO "a "" b" VALUES (?, ?, ?)', [(f"v{n}", n, f"k{n % 4}") for n in range(10)])
    found = all_rows(connection, 'a " b')
    assert sorted(row.values for row in found) == [(f"v{n}", n, f"k{n % 4}") for n in range(10)]
    assert {row.key for row in found} == {(f"k{n % 4}", n) for n in range(10)}
    assert all((row.rowid is None) == bool(more) for row in found)
    assert len(all_rows(connection, 'a " b', "k2 >= 4 OR k2 = 1")) == 7


def test_columns_that_are_called_like_the_rowid_do_not_stand_for_it(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE t (rowid TEXT, _ROWID_ TEXT)")
    connection.executemany("INSERT INTO t VALUES ('same', NULL)", [()] * 5)
    assert [row.rowid for row in all_rows(connection, "t")] == [1, 2, 3, 4, 5]
    connection.execute("CREATE TABLE u (rowid TEXT, _rowid_ TEXT, oid TEXT)")
    connection.executemany("INSERT INTO u VALUES (?, 'b', 'c')", [("x",)] * 5)
    assert len(all_rows(connection, "u")) == 5


@pytest.mark.parametrize("rowids", [[-(2**63), -5, 0, 2**63 - 1], [1, 2, 3, 4, 5, 6, 7]])
def test_no_rowid_is_left_out(connection: sqlite3.Connection, rowids: list[int]) -> None:
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    connection.executemany("INSERT INTO t VALUES (?)", [(rowid,) for rowid in rowids])
    assert [row.key for row in all_rows(connection, "t", rows=2)] == [(rowid,) for rowid in sorted(rowids)]


@pytest.mark.parametrize("where", [EVERY_ROW, "b IS NOT NULL"])
def test_a_batch_ends_at_its_bytes(connection: sqlite3.Connection, where: str) -> None:
    connection.execute("CREATE TABLE t (b)")
    connection.executemany("INSERT INTO t VALUES (zeroblob(?))", [(400,)] * 10)
    batches = list(AnyTable(connection, "t").batches(where, 1000, 1000))
    assert [len(batch) for batch in batches] == [3, 3, 3, 1]
    assert sorted(row.rowid or 0 for batch in batches for row in batch) == list(range(1, 11))


def test_a_condition_is_judged_once_a_row_whatever_the_number_of_batches(connection: sqlite3.Connection) -> None:
    """Which vectors stay behind is asked of two tables: asked again for each batch it took minutes."""
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    connection.executemany("INSERT INTO t VALUES (?)", [(rowid,) for rowid in range(-50, 50)])
    judged: list[int] = []

    def judge(rowid: int) -> bool:
        judged.append(rowid)
        return rowid % 2 == 0

    connection.create_function("judge", 1, judge)
    found = all_rows(connection, "t", "judge(n.id)", rows=4)
    assert [row.key for row in found] == [(rowid,) for rowid in range(-50, 50, 2)]
    assert sorted(judged) == list(range(-50, 50))


def test_rows_that_are_deleted_meanwhile_are_passed_over(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    connection.executemany("INSERT INTO t VALUES (?)", [(rowid,) for rowid in range(1, 13)])
    batches = AnyTable(connection, "t").batches("n.id > 0", 3, 1000)
    seen = [row.key for row in next(batches)]
    connection.execute("DELETE FROM t WHERE id BETWEEN 4 AND 6 OR id IN (8, 12)")
    seen += [row.key for batch in batches for row in batch]
    assert seen == [(rowid,) for rowid in (1, 2, 3, 7, 9, 10, 11)]


def test_texts_that_are_no_utf8_come_as_their_bytes(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (CAST(x'41ff0042' AS TEXT))")
    (row,) = all_rows(connection, "t")
    (written,) = json.loads(row_json(["a"], row.values)).values()
    assert b64decode(written["text_base64"]) == b"\x41\xff\x00\x42"
