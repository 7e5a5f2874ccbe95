"""What `--follow` keeps of the source's rows tells every change apart."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vestige_migrate.copy.follow.source_rows import TableRows, read_rows
from vestige_migrate.source.layout.table_source import TableSource

SOURCE = TableSource("things", values=("n.id", "n.value"), key=("n.id",))
values = st.one_of(
    st.none(), st.integers(-2, 2), st.floats(allow_nan=False, width=16), st.text(max_size=3), st.binary(max_size=3)
)
tables = st.dictionaries(
    st.sampled_from([-(2**63), -1, 0, 1, 2, 3, 2**63 - 1]), st.tuples(st.sampled_from("abc"), values)
)


def rows_of(table: dict[int, tuple[object, object]]) -> TableRows:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE things (id TEXT, value)")
        connection.executemany(
            "INSERT INTO things (rowid, id, value) VALUES (?, ?, ?)", [(rowid, *row) for rowid, row in table.items()]
        )
        return read_rows(connection, SOURCE, lambda: None)


def told_apart(row: tuple[object, object] | None) -> object:
    """1, 1.0, '1' and b'1' are four values, and so are 0.0 and -0.0."""
    return None if row is None else [(type(value), repr(value)) for value in row]


@settings(max_examples=200, deadline=None)
@given(tables, tables)
def test_rows_that_changed_are_found_and_no_others(
    before: dict[int, tuple[object, object]], now: dict[int, tuple[object, object]]
) -> None:
    old, new = rows_of(before), rows_of(now)
    changed = [rowid for rowid in sorted(now) if told_apart(before.get(rowid)) != told_apart(now[rowid])]
    assert new.changed_since(old) == changed
    assert new.lost_since(old) == len({id_ for id_, _ in before.values()} - {id_ for id_, _ in now.values()})
    assert (new.changed_since(new), new.lost_since(new)) == ([], 0)


@pytest.mark.parametrize(
    ("one", "other"), [(-1, -2), (0, -0.0), (1, 1.0), ("1", b"1"), (None, ""), (2**61 - 1, 0), ("a\0b", "a")]
)
def test_values_that_python_takes_for_one_are_two(one: object, other: object) -> None:
    assert rows_of({1: ("a", one)}).changed_since(rows_of({1: ("a", other)})) == [1]


def test_text_that_is_no_utf8_is_read_and_told_apart() -> None:
    def rows(text: bytes) -> TableRows:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.execute("CREATE TABLE things (id TEXT, value)")
            connection.executemany("INSERT INTO things VALUES (?, 'x')", [(str(number),) for number in range(1500)])
            connection.execute("UPDATE things SET value = CAST(? AS TEXT) WHERE rowid = 1200", (text,))
            return read_rows(connection, SOURCE, lambda: None)

    assert len(rows(b"\xff")) == 1500
    assert rows(b"\xff").changed_since(rows(b"\xfe")) == [1200]
    assert rows(b"\xff").changed_since(rows(b"\xff")) == []


def test_between_some_rows_others_may_write(tmp_path: Path) -> None:
    """In a rollback journal a writer waits for every reader."""
    path = tmp_path / "things.db"
    with closing(sqlite3.connect(path, timeout=0)) as writer, closing(sqlite3.connect(path)) as reader:
        writer.execute("CREATE TABLE things (id TEXT, value)")
        writer.executemany("INSERT INTO things VALUES (?, 'x')", [(str(number),) for number in range(2500)])
        writer.commit()
        beats = 0

        def write() -> None:
            nonlocal beats
            beats += 1
            writer.execute("UPDATE things SET value = 'y'")
            writer.commit()

        assert len(read_rows(reader, SOURCE, write)) == 2500
    assert beats == 3
