"""Columns without a place, written a chunk at a time: as the careful encoder writes them, or left to it."""

from __future__ import annotations

import math
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.test_encoder import RUN_START
from tests.unit.test_plain_rows import LAYOUT, PLAIN, PLENTY, Reading, storable, values
from vestige_migrate.decode.problem import Raw
from vestige_migrate.encode.plain import PlainEncoder
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.read.chunks import ChunkReader, text_columns
from vestige_migrate.tables import TABLES
from vestige_migrate.wire.batch import copy_payload
from vestige_migrate.wire.canonical import JsonbFields
from vestige_migrate.wire.plain_extras import ExtraColumn

TYPES = {
    "a_text": "TEXT",
    "a_real": "REAL",
    "an_int": "INTEGER",
    "a flag": "BOOLEAN",
    'the "odd" ä': "",
    "sqlite": "TEXT",
}
Row = dict[str, Raw]


def layout_with(table: str, without: Sequence[str] = ()) -> Layout:
    own = tuple(name for name in TABLES[table].column_names if name not in without)
    return replace(LAYOUT, tables={**LAYOUT.tables, table: (*own, *TYPES)})


@contextmanager
def table_with(table: str, rows: Sequence[Row], without: Sequence[str] = ()) -> Iterator[Reading]:
    layout = layout_with(table, without)
    types = {item.name: {"float8": "REAL", "int2": "INTEGER", "vector": "BLOB"}.get(item.pg_type, "TEXT")
             for item in TABLES[table].columns if item.name not in without} | TYPES  # fmt: skip
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        declared = ", ".join('"{}" {}'.format(name.replace('"', '""'), kind) for name, kind in types.items())
        connection.execute(f'CREATE TABLE "{table}" ({declared})')
        marks = ", ".join("?" * len(types))
        connection.executemany(
            f'INSERT INTO "{table}" VALUES ({marks})',
            [tuple({**PLAIN[table], **row}.get(name) for name in types) for row in rows],
        )
        yield Reading(connection, TABLES[table], layout)


def assert_equal_to_careful(reading: Reading) -> list[int]:
    """Returns the rowids that the careful encoder is left."""
    plain = reading.plain()
    if plain is None:
        return reading.rowids()
    if len(plain):
        careful = reading.careful(rowids=plain.rowids())
        assert not [error for _, error in careful.errors if "sqlite." in error.message]
        if not careful.errors and not careful.unplaced:
            at = reading.table.index("metadata")
            theirs, ours = list(careful.columns), list(plain.columns)
            # A negative zero is a zero to jsonb.
            theirs[at], ours[at] = (JsonbFields()(list(columns[at])) for columns in (theirs, ours))
            assert copy_payload(ours) == copy_payload(theirs)
    return list(plain.odd)


texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    [
        "",
        "a\x1eb",
        "\x1e",
        '"',
        "\\",
        "\\u0000",
        "\x7f\x1f\t\n\r\b\f",
        "ä\u2028\U0001f600",
        "x" * 999,
        "x" * 1001,
        "null",
    ]
)
reals = st.floats() | st.sampled_from([0.1, 1.0, -0.0, 0.0, 1e-7, 1e16, 1e22, 5e-324, 1.7976931348623157e308, 2 / 3])
integers = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, -1])
anything = st.none() | texts | reals | integers | st.binary(max_size=6) | values.map(storable)
own = st.sampled_from(
    [None, "{}", "{ }",
     '{"a":1}', ' {"a":1}', '{"a":1} ', '{"sqlite":1}', '{"\\u0073qlite":1}', '{"a":{"b":1}', '{"a":1]',
     '{"a":1,"a":2}', "[]", "{}\x0b", '{"a":"}\x1e"}', "", "}", "{"]
)  # fmt: skip


@pytest.mark.parametrize("table", ["knowledge_nodes", "review_events"])
@settings(max_examples=400, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {}, optional={**dict.fromkeys(TYPES, anything), "a_real": reals, "an_int": integers, "metadata": own}
        ),
        min_size=1,
        max_size=6,
    )
)
@example(rows=[{"an_int": 1}, {"an_int": 1.5}, {"an_int": 1}])
@example(rows=[{"a flag": 1}, {"a flag": 1.5}, {"a flag": None}])
@example(rows=[{"a_real": -0.0}, {"a_real": 0.0}])
def test_extras_are_written_as_by_the_careful_encoder(table: str, rows: list[Row]) -> None:
    with table_with(table, rows) as reading:
        assert_equal_to_careful(reading)


@settings(max_examples=100, deadline=None)
@given(raw=st.binary(max_size=8))
def test_texts_that_are_no_utf8_are_left_to_the_careful_encoder(raw: bytes) -> None:
    with table_with("knowledge_nodes", [{"a_text": "a"}, {}, {}]) as reading:
        reading.connection.execute("UPDATE knowledge_nodes SET a_text = CAST(? AS TEXT) WHERE rowid = 2", (raw,))
        odd = assert_equal_to_careful(reading)
        try:
            assert (2 in odd) is ("\0" in raw.decode())
        except UnicodeDecodeError:
            assert odd == [2]


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("a_text", b"blob"),
        ("a_text", "x" * 1001),
        ("a_text", "a\0b"),
        ("a_real", math.inf),
        ("a_real", "text"),
        ("an_int", b"blob"),
        ('the "odd" ä', "text"),
        ("metadata", '{"sqlite": 1}'),
        ("metadata", '{"a": 1]'),
        ("metadata", "[]"),
        ("id", "no id"),
        ("created_at", None),
        ("embedding", struct.pack("<3f", 1, 2, 3)),
    ],
)
def test_an_odd_row_alone_is_left_to_the_careful_encoder(name: str, bad: Raw) -> None:
    rows: list[Row] = [{"a_text": f"text {at}", "an_int": at} for at in range(200)]
    rows[77][name] = bad
    with table_with("knowledge_nodes", rows) as reading:
        assert assert_equal_to_careful(reading) == [78]


def test_chunks_after_each_other_are_written_alike_whatever_was_kept_of_the_earlier_ones() -> None:
    """Few and many values, NULLs and none, one number in two types: what is known of a column must not show."""
    some: list[list[Raw]] = [
        [1] * 300, [1.0] * 300, [None] * 300, [0.0, 1, None] * 100, list(range(300)),
        [at / 7 for at in range(300)], [1] * 300,
    ]  # fmt: skip
    chunks: list[list[Row]] = [[{"a flag": value, "a_text": f"{value!r}"} for value in chunk] for chunk in some]
    with table_with("knowledge_nodes", [row for chunk in chunks for row in chunk]) as reading:
        source = reading.source
        encoder = PlainEncoder.of(
            reading.table, source, reading.layout, RUN_START, text_columns(reading.connection, source.base)
        )
        assert encoder is not None
        reader = ChunkReader(source, encoder.expressions, encoder.joined, PLENTY, encoder.extras, rows=300)
        for rowids, chunk in reader.read(reading.connection, reading.rowids()):
            assert chunk is not None
            plain = encoder.encode(chunk)
            assert plain is not None
            assert len(plain) == 300
            assert copy_payload(plain.columns) == copy_payload(reading.careful(rowids=rowids).columns)


def test_a_table_without_metadata_of_its_own_takes_the_extras() -> None:
    rows: list[Row] = [{"a_text": "one", "a_real": 0.1}, {}, {"an_int": 3}]
    with table_with("knowledge_nodes", rows, without=["metadata"]) as reading:
        assert assert_equal_to_careful(reading) == []


def test_a_row_that_is_written_between_the_two_statements_is_in_none_of_them(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Read by one transaction: a row never has its content from before and its extras from after a change."""
    with table_with("knowledge_nodes", [{"content": "before", "a_text": "before"}]) as memory:
        path = tmp_path / "v.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as file:
            memory.connection.backup(file)
            file.execute("PRAGMA journal_mode = WAL")
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                changed = []

                def change(statement: str) -> None:
                    if "a_text" in statement and "content" not in statement:
                        changed.append(file.execute("UPDATE knowledge_nodes SET content = 'after', a_text = 'after'"))

                reading = Reading(connection, memory.table, memory.layout)
                connection.set_trace_callback(change)
                plain = reading.plain()
                connection.set_trace_callback(None)
                assert plain is not None
                row = b"".join(column[0] for column in plain.columns)
                assert changed
                assert (row.count(b"before"), row.count(b"after")) == (2, 0)


def test_a_name_that_is_no_utf8_has_no_plain_form() -> None:
    with pytest.raises(UnicodeEncodeError):
        ExtraColumn("\udcff", True)
