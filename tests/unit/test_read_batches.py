"""Reading the rows of a range: each one once, never much more than a batch in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vestige_migrate.decode.problem import Raw
from vestige_migrate.decode.text import tolerant_text
from vestige_migrate.source.layout.layout import Layout, Lineage
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.ranges import KeySpan
from vestige_migrate.source.read.rows import Row, list_keys, read_batches
from vestige_migrate.source.sqlite.quoting import column
from vestige_migrate.tables import TABLES

SEVERAL = settings(max_examples=80, deadline=None)
NO_BOUND = 1 << 40
SOURCE = TableSource("nodes", (column("id"), None, column("content")), (column("id"),), extras=("more",))
ALL = KeySpan("nodes", 0)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(empty_table()) as opened:
        yield opened


def empty_table() -> sqlite3.Connection:
    opened = sqlite3.connect(":memory:", isolation_level=None)
    opened.execute("CREATE TABLE nodes (id TEXT, content, more TEXT)")
    return opened


def fill(connection: sqlite3.Connection, contents: Sequence[Raw]) -> list[int]:
    """Inserts rows of these contents; returns their rowids."""
    connection.executemany(
        "INSERT INTO nodes VALUES (?, ?, ?)", [(f"id-{at}", value, "m") for at, value in enumerate(contents)]
    )
    return [row[0] for row in connection.execute("SELECT rowid FROM nodes ORDER BY rowid")]


def bytes_of(value: Raw) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    return len(value) if isinstance(value, bytes) else 0


def read(
    connection: sqlite3.Connection, source: TableSource, rowids: Sequence[int], rows: int, limit: int
) -> list[list[Row]]:
    """All batches; cut off where they do not end by themselves."""
    return list(islice(read_batches(connection, source, rowids, rows, limit), 100))


def over_by_more_than_one_row(rows: Sequence[Row], limit: int, wide: int = 1) -> bool:
    return sum(bytes_of(row[wide]) for row in rows[:-1]) >= limit


contents = st.lists(
    st.none() | st.integers().filter(lambda n: abs(n) < 2**63) | st.binary(max_size=60) | st.text("abc", max_size=60),
    max_size=30,
)


@SEVERAL
@given(contents, st.integers(1, 12), st.integers(1, 120), st.data())
def test_every_row_comes_once_in_bounded_batches(values: list[Raw], rows: int, limit: int, data: st.DataObject) -> None:
    with closing(empty_table()) as connection:
        wanted = data.draw(st.permutations(fill(connection, values)))
        batches = read(connection, SOURCE, wanted, rows, limit)
    found = [row for batch in batches for row in batch]
    assert len(found) == len(values)
    assert {row[0]: row[1] for row in found} == {f"id-{at}": value for at, value in enumerate(values)}
    for batch in batches:
        assert 0 < len(batch) <= rows
        assert not over_by_more_than_one_row(batch, limit)


@pytest.mark.parametrize("unit", ["x", "é", "漢", "😀"])
def test_a_text_counts_with_its_bytes_whatever_its_script(connection: sqlite3.Connection, unit: str) -> None:
    limit = 8000
    rowids = fill(connection, [unit * 1000] * 20)
    for batch in read(connection, SOURCE, rowids, 500, limit):
        assert not over_by_more_than_one_row(batch, limit)


@pytest.mark.parametrize("table", ["knowledge_nodes", "review_events", "users", "groups"])
def test_metadata_counts_towards_a_batch_in_every_table(connection: sqlite3.Connection, table: str) -> None:
    """A batch ends at its bytes wherever rows can be wide (--batch-size)."""
    names = TABLES[table].column_names
    layout = Layout({table: names}, 15, Lineage.PLAN)
    source = TABLES[table].source_in(layout)
    assert source is not None
    connection.execute(f"CREATE TABLE {table} ({', '.join(names)})")
    connection.executemany(f"INSERT INTO {table} (metadata) VALUES (?)", [("x" * 1000,)] * 20)
    batches = read(connection, source, list(range(1, 21)), 500, 5000)
    assert sum(map(len, batches)) == 20
    assert max(map(len, batches)) <= 6


def test_a_row_wider_than_a_batch_comes_alone(connection: sqlite3.Connection) -> None:
    rowids = fill(connection, ["x" * 100, "x" * 5000, "x" * 100])
    batches = [[row[0] for row in rows] for rows in read(connection, SOURCE, rowids, 10, 150)]
    assert batches == [["id-0", "id-1"], ["id-2"]]


@SEVERAL
@given(contents, st.sets(st.integers(0, 29)), st.integers(1, 7), st.integers(1, 90))
def test_rows_deleted_meanwhile_are_missed_and_counted(
    values: list[Raw], gone: set[int], rows: int, limit: int
) -> None:
    with closing(empty_table()) as connection:
        wanted = fill(connection, values)
        connection.executemany("DELETE FROM nodes WHERE id = ?", [(f"id-{at}",) for at in gone])
        batches = read(connection, SOURCE, wanted, rows, limit)
    left = {f"id-{at}" for at in range(len(values)) if at not in gone}
    assert sorted(str(row[0]) for batch in batches for row in batch) == sorted(left)


def test_a_row_inserted_meanwhile_is_not_taken_for_another(connection: sqlite3.Connection) -> None:
    rowids = fill(connection, ["a", "b", "c"])
    reading = read_batches(connection, SOURCE, rowids, 1, NO_BOUND)
    first = next(reading)
    connection.execute("INSERT INTO nodes VALUES ('new', 'n', 'm')")
    assert [row[0] for row in first] + [row[0] for rows in reading for row in rows] == ["id-0", "id-1", "id-2"]


def test_no_read_transaction_outlives_a_batch(connection: sqlite3.Connection) -> None:
    """A live Vestige must be able to checkpoint: no cursor stays open while a batch is written."""
    rowids = fill(connection, ["x" * 100] * 10)
    for _ in read_batches(connection, SOURCE, rowids, 10, 150):
        connection.execute("CREATE TABLE IF NOT EXISTS other (a)")
        connection.execute("DROP TABLE other")  # "table is locked" where a statement is still running


def test_values_stand_in_the_order_of_the_source_and_extras_behind_them(connection: sqlite3.Connection) -> None:
    rowids = fill(connection, ["text"])
    assert read(connection, SOURCE, rowids, 10, NO_BOUND) == [[("id-0", "text", "m")]]


BAD = b"caf\xe9 \0 \xf0\x9f"


def test_invalid_utf8_comes_as_surrogates_and_leaves_the_connection_as_it_was(connection: sqlite3.Connection) -> None:
    rowids = fill(connection, ["good", None, "good too"])
    connection.execute("UPDATE nodes SET content = CAST(? AS TEXT) WHERE rowid = 2", (BAD,))
    (rows,) = read_batches(connection, SOURCE, rowids, 10, NO_BOUND)
    assert [row[1] for row in rows] == ["good", tolerant_text(BAD), "good too"]
    assert connection.text_factory is str


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("limit", [1, 250, NO_BOUND])
def test_invalid_utf8_anywhere_loses_no_row(connection: sqlite3.Connection, at: int, limit: int) -> None:
    rowids = fill(connection, ["x" * 100] * 6)
    connection.execute("UPDATE nodes SET content = CAST(? AS TEXT) WHERE rowid = ?", (BAD, at + 1))
    batches = read(connection, SOURCE, rowids, 4, limit)
    assert [row[0] for rows in batches for row in rows] == [f"id-{index}" for index in range(6)]


def test_a_key_with_invalid_utf8_is_listed(connection: sqlite3.Connection) -> None:
    fill(connection, ["a", "b"])
    connection.execute("UPDATE nodes SET id = CAST(? AS TEXT) WHERE rowid = 1", (BAD,))
    assert list_keys(connection, SOURCE, ALL) == [(1, tolerant_text(BAD)), (2, "id-1")]
    assert connection.text_factory is str


def test_any_other_error_goes_through(connection: sqlite3.Connection) -> None:
    missing = TableSource("nodes", (column("missing"),), (column("missing"),))
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        list_keys(connection, missing, ALL)
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        read(connection, missing, [1], 10, NO_BOUND)


def test_no_rowids_are_no_batches(connection: sqlite3.Connection) -> None:
    assert read(connection, SOURCE, [], 10, NO_BOUND) == []


@SEVERAL
@given(
    st.lists(st.sampled_from((0, 5, 20_000, 70_000)), min_size=1, max_size=12),
    st.sampled_from(("x", "\u6f22", b"\xff")),
    st.integers(1, 4),
)
def test_a_wide_value_among_narrow_ones_loses_no_row_and_bounds_its_batch(
    sizes: list[int], unit: str | bytes, rows: int
) -> None:
    """Batches with room are read without counting until SQLite says that a value is too long for that."""
    limit = rows * 10_000
    with closing(empty_table()) as connection:
        rowids = fill(connection, [unit * size for size in sizes])
        before = connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
        batches = read(connection, SOURCE, rowids, rows, limit)
        assert connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) == before
    assert [row[0] for found in batches for row in found] == [f"id-{at}" for at in range(len(sizes))]
    assert [bytes_of(row[1]) for found in batches for row in found] == [bytes_of(unit * size) for size in sizes]
    assert not any(over_by_more_than_one_row(found, limit) for found in batches)
