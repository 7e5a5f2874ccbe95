"""Rows read in chunks and written at once are the rows that the careful encoder writes, or are left to it."""

from __future__ import annotations

import math
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_decode_safety import raw_values
from tests.unit.test_encoder import CREATED, GOOD, ID, RUN_START
from vestige_migrate.decode.problem import Raw
from vestige_migrate.encode.careful import BatchEncoder
from vestige_migrate.encode.plain import PlainEncoder, PlainRows
from vestige_migrate.model import ModelSignature
from vestige_migrate.source.layout.layout import Layout, Lineage
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read import chunks
from vestige_migrate.source.read.chunks import ChunkReader, can_read_chunks, text_columns
from vestige_migrate.source.read.rows import read_batches
from vestige_migrate.tables import TABLES
from vestige_migrate.tables.base import Table
from vestige_migrate.tables.overrides import Overrides
from vestige_migrate.wire import column
from vestige_migrate.wire.batch import Batch, copy_payload, copy_payloads
from vestige_migrate.wire.plain import FewValues

LAYOUT = Layout(
    {name: table.column_names for name, table in TABLES.items()}, 15, Lineage.PLAN, ModelSignature("m", 2), dimension=2
)
TABLE_NAMES = ["knowledge_nodes", "scheduling", "edges", "review_events"]
PLAIN: dict[str, dict[str, Raw]] = {
    **{name: {key: value for key, value in row.items() if key not in ("source", "blob")} for name, row in GOOD.items()},
    "review_events": {
        "id": str(ID),
        "memory_id": str(UUID(int=7)),
        "occurred_at": CREATED.isoformat(),
        "retrievability_before": 0.5,
        "retrievability_after": None,
        "rating": 3,
        "kind": "review",
        "metadata": "{}",
    },
}
_TYPES = {"float8": "REAL", "int4": "INTEGER", "int2": "INTEGER", "vector": "BLOB"}
PLENTY = 1 << 20

Row = dict[str, Raw]


@contextmanager
def table_with(name: str, rows: Sequence[Row], affinity: str | None = None, **pragmas: str) -> Iterator[Reading]:
    """A source that has one table with the plain row, with the given values instead."""
    table = TABLES[name]
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for pragma, value in pragmas.items():
            connection.execute(f"PRAGMA {pragma} = '{value}'")
        types = [_TYPES.get(item.pg_type, "TEXT") if affinity is None else affinity for item in table.columns]
        declared = ", ".join(f'"{item.name}" {kind}' for item, kind in zip(table.columns, types, strict=True))
        connection.execute(f'CREATE TABLE "{name}" ({declared})')
        marks = ", ".join("?" * len(table.columns))
        connection.executemany(
            f'INSERT INTO "{name}" VALUES ({marks})',
            [tuple({**PLAIN[name], **row}[item] for item in table.column_names) for row in rows],
        )
        yield Reading(connection, table)


class Reading:
    """Reads a table both ways."""

    def __init__(self, connection: sqlite3.Connection, table: Table, layout: Layout = LAYOUT) -> None:
        self.connection = connection
        self.table = table
        self.layout = layout
        source = table.source_in(layout)
        assert source is not None
        self.source: TableSource = source

    def rowids(self) -> list[int]:
        return [rowid for (rowid,) in self.connection.execute(f'SELECT rowid FROM "{self.table.name}" ORDER BY 1')]

    def plain(self, table: Table | None = None) -> PlainRows | None:
        texts = text_columns(self.connection, self.table.name)
        encoder = PlainEncoder.of(table or self.table, self.source, self.layout, RUN_START, texts)
        if encoder is None:
            return None
        reader = ChunkReader(self.source, encoder.expressions, encoder.joined, PLENTY, encoder.extras)
        ((rowids, values),) = reader.read(self.connection, self.rowids())
        assert rowids == self.rowids()
        rows = None if values is None else encoder.encode(values)
        assert rows is None or sorted([*rows.rowids(), *rows.odd]) == rowids
        return rows

    def careful(self, table: Table | None = None, rowids: Sequence[int] | None = None) -> Batch:
        wanted = self.rowids() if rowids is None else rowids
        (rows,) = read_batches(self.connection, self.source, wanted, 500, PLENTY)
        return BatchEncoder(table or self.table, self.source, self.layout, RUN_START).encode(rows)


def is_left_to_postgres(message: str) -> bool:
    """Whether PostgreSQL refuses what the careful encoder objects to here."""
    return any(part in message for part in ("NUL character", "UTF-8", "JSON", "\\u0000", "surrogate", "NaN"))


def assert_alike(plain: PlainRows, careful: Batch, rowids: Sequence[int]) -> None:
    assert list(plain.rowids()) == rowids
    objections = [error for _, error in careful.errors] + careful.unplaced
    if not objections:
        assert copy_payload(plain.columns) == copy_payload(careful.columns)
        return
    assert all(is_left_to_postgres(error.message) for error in objections), objections


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_a_plain_row_is_plain(name: str) -> None:
    with table_with(name, [{}, {}, {}]) as reading:
        plain = reading.plain()
        assert plain is not None
        assert len(plain) == 3
        assert_alike(plain, reading.careful(), [1, 2, 3])


odd_texts = st.sampled_from(
    [
        "",
        "\x1e",
        "a\x1eb",
        "{",
        "{}",
        ' {"a": 1}',
        "[]",
        '["a", "b\\u0000"]',
        '{"a": "\\u0000"}',
        "[" * 900 + "]" * 900,
        '{"a":' + "[" * 900 + "]" * 900 + "}",
        "\0",
        "x" * 3000,
        str(ID).upper(),
        f"{{{ID}}}",
        ID.hex,
        f"{ID}\x1e{ID}",
        "2026-05-27T09:35:58Z",
        "2026-05-27T09:35:58.123456789+00:00",
        "2026-05-27 09:35:58.1",
        "1716800000",
    ]
)
odd_blobs = st.sampled_from(
    [b"", struct.pack("<2f", 1, 2), struct.pack("<2f", math.nan, 2), b"\0" * 4, b"\0" * 12, b"\xff\xfe", b'{"a": 1}']
)
values = raw_values.filter(lambda raw: not isinstance(raw, int) or abs(raw) < 2**63) | odd_texts | odd_blobs


def storable(value: Raw) -> Raw:
    """A value that Python's SQLite takes: no lone surrogates."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if isinstance(value, str) else value


@pytest.mark.parametrize(("name", "affinity"), [*product(TABLE_NAMES, [None]), ("knowledge_nodes", "")])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_what_is_plain_is_written_as_by_the_careful_encoder(
    name: str, affinity: str | None, data: st.DataObject
) -> None:
    names = list(PLAIN[name])
    rows = data.draw(st.lists(st.dictionaries(st.sampled_from(names), values, max_size=2), min_size=1, max_size=4))
    stored = [{key: storable(value) for key, value in row.items()} for row in rows]
    with table_with(name, stored, affinity) as reading:
        plain = reading.plain()
        if plain is not None and len(plain):
            assert_alike(plain, reading.careful(rowids=plain.rowids()), plain.rowids())


@pytest.mark.parametrize("name", TABLE_NAMES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_bytes_that_are_no_utf8_are_never_copied_as_they_are(name: str, data: st.DataObject) -> None:
    """A TEXT with any bytes in it: PostgreSQL gets them as they are and refuses them, or the careful encoder does."""
    texts = [item.name for item in TABLES[name].columns if item.pg_type not in _TYPES]
    chosen, raw = data.draw(st.sampled_from(texts)), data.draw(st.binary(max_size=40) | odd_blobs)
    with table_with(name, [{}]) as reading:
        reading.connection.execute(f'UPDATE "{name}" SET "{chosen}" = CAST(? AS TEXT)', (raw,))
        plain = reading.plain()
        if plain is not None and len(plain):
            assert_alike(plain, reading.careful(), [1])


@pytest.mark.parametrize(
    ("name", "column_name", "bad"),
    [
        ("knowledge_nodes", "id", None),
        ("knowledge_nodes", "id", "x" * 36),
        ("knowledge_nodes", "content", None),
        ("knowledge_nodes", "content", "a\0b"),
        ("knowledge_nodes", "tags", "bad"),
        ("knowledge_nodes", "metadata", "[]"),
        ("knowledge_nodes", "metadata", ""),
        ("knowledge_nodes", "embedding", b"\0" * 4),
        ("knowledge_nodes", "embedding", "\0" * 8),
        ("knowledge_nodes", "created_at", None),
        ("knowledge_nodes", "created_at", 1_716_800_000),
        ("knowledge_nodes", "visibility", "x" * 3000),
        ("scheduling", "memory_id", 7),
        ("scheduling", "stability", "high"),
        ("scheduling", "stability", math.inf),
        ("scheduling", "last_review", 1_716_800_000),
        ("scheduling", "reps", 2**31),
        ("review_events", "metadata", 7.5),
        ("edges", "edge_type", 2.5),
    ],
)
def test_whatever_is_odd_is_left_to_the_careful_encoder(name: str, column_name: str, bad: Raw) -> None:
    affinity = "" if isinstance(bad, (int, float)) else None
    with table_with(name, [{}, {column_name: bad}, {}], affinity) as reading:
        plain = reading.plain()
        if plain is None:  # a column that may hold numbers is not joined
            assert (name, column_name, affinity) == ("knowledge_nodes", "created_at", "")
            return
        assert plain.odd == [2]
        assert_alike(plain, reading.careful(rowids=[1, 3]), [1, 3])


@pytest.mark.parametrize(
    ("column_name", "two"),
    [
        ("id", f"{ID}\x1e{ID}"),
        ("content", "one\x1etwo"),
        ("created_at", "2026-05-27T09:35:58Z\x1e2026-05-27T09:35:59Z"),
        ("metadata", "{}\x1e{}"),
        ("codebase", "one\x1etwo"),
        ("tags", "[]\x1e[]"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_null_does_not_hide_a_separator_too_many(column_name: str, two: str, first: bool) -> None:
    """The number of parts would be right, and every value between the two rows at its neighbour's."""
    odd: list[Row] = [{column_name: None}, {column_name: two}]
    with table_with("knowledge_nodes", [{}, odd[not first], {"content": "between"}, odd[first], {}]) as reading:
        assert reading.plain() is None


@pytest.mark.parametrize("overrides", [Overrides(), Overrides(codebase="repo-x", owner=UUID(int=99))])
def test_nulls_get_the_defaults_that_the_careful_encoder_gives(overrides: Overrides) -> None:
    absent = ("node_type", "tags", "domains", "codebase", "owner_user_id", "visibility", "shared_with_groups")
    rows: list[Row] = [{}, dict.fromkeys(absent), {"owner_user_id": "00000000-0000-0000-0000-000000000001"}]
    with table_with("knowledge_nodes", rows) as reading:
        table = overrides.apply(reading.table)
        plain = reading.plain(table)
        assert plain is not None
        assert_alike(plain, reading.careful(table), [1, 2, 3])


@pytest.mark.parametrize("empty", [[0], [1, 3], [0, 1, 2, 3]])
def test_memories_without_a_vector_or_metadata_are_plain(empty: list[int]) -> None:
    rows: list[Row] = [{"embedding": struct.pack("<2f", at, at)} for at in range(4)]
    for at in empty:
        rows[at] = {"embedding": None, "metadata": None, "domain_scores": None}
    with table_with("knowledge_nodes", rows) as reading:
        plain = reading.plain()
        assert plain is not None
        assert_alike(plain, reading.careful(), [1, 2, 3, 4])


def test_odd_rows_make_chunks_smaller_and_others_larger_again() -> None:
    reader = ChunkReader(TableSource("t", (), ()), (), False, PLENTY)
    sizes = []
    for odd in (True, True, True, True, False, False, False, False, False):
        reader.note(odd)
        sizes.append(reader.rows)
    assert sizes == [1250, 625, 312, 250, 500, 1000, 2000, 2500, 2500]


def test_nulls_among_numbers_and_times_are_plain() -> None:
    empty = dict.fromkeys(("stability", "last_review", "next_review", "reps"))
    with table_with("scheduling", [{}, empty, {"last_review": None}, {}]) as reading:
        plain = reading.plain()
        assert plain is not None
        assert_alike(plain, reading.careful(), [1, 2, 3, 4])


def test_many_distinct_and_long_values_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vestige_migrate.wire.plain.CACHED_VALUES", 4)
    rows: list[Row] = [{"node_type": f"kind {at}", "tags": f'["{"t" * at * 20}"]'} for at in range(30)]
    with table_with("knowledge_nodes", rows) as reading:
        plain = reading.plain()
        assert plain is not None
        assert_alike(plain, reading.careful(), reading.rowids())
    few = FewValues(column.labels(), None, b"")
    for start in range(3):
        assert few([b"x%d" % at for at in range(start, start + 8)]) is not None
        assert few([b"y" * 300]) is not None
        assert len(few._known) <= 4 + 8 + 1


def test_a_table_without_its_own_columns_gets_defaults() -> None:
    layout = Layout({"knowledge_nodes": ("id", "content", "created_at", "updated_at")}, 1, Lineage.PLAN, None)
    source = TABLES["knowledge_nodes"].source_in(layout)
    assert source is not None
    with table_with("knowledge_nodes", [{}, {}]) as reading:
        texts = text_columns(reading.connection, "knowledge_nodes")
        encoder = PlainEncoder.of(reading.table, source, layout, RUN_START, texts)
        assert encoder is not None
        reader = ChunkReader(source, encoder.expressions, encoder.joined, PLENTY)
        ((_, values),) = reader.read(reading.connection, [1, 2])
        assert values is not None
        plain = encoder.encode(values)
        (rows,) = read_batches(reading.connection, source, [1, 2], 500, PLENTY)
        assert plain is not None
        assert copy_payload(plain.columns) == copy_payload(
            BatchEncoder(reading.table, source, layout, RUN_START).encode(rows).columns
        )


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_wide_rows_come_in_smaller_chunks_and_too_wide_ones_not_at_all(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_FEW_ROWS", 4)
    with table_with(name, [{} for _ in range(64)]) as reading:
        texts = text_columns(reading.connection, name)
        encoder = PlainEncoder.of(reading.table, reading.source, LAYOUT, RUN_START, texts)
        assert encoder is not None
        everything = reading.rowids()
        for max_bytes in (50_000, 5_000, 100):
            reader = ChunkReader(reading.source, encoder.expressions, encoder.joined, max_bytes)
            asked = [(list(rowids), values) for rowids, values in reader.read(reading.connection, everything)]
            assert [rowid for rowids, _ in asked for rowid in rowids] == everything
            assert all((values is None) == (max_bytes == 100) for _, values in asked)
        assert reading.connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) > 10**8
        assert reading.connection.text_factory is str


def test_rows_that_went_away_meanwhile_are_no_rows() -> None:
    for name in ("knowledge_nodes", "scheduling"):
        with table_with(name, [{}, {}, {}]) as reading:
            texts = text_columns(reading.connection, name)
            encoder = PlainEncoder.of(reading.table, reading.source, LAYOUT, RUN_START, texts)
            assert encoder is not None
            reader = ChunkReader(reading.source, encoder.expressions, encoder.joined, PLENTY)
            for wanted, there in (([9, 7], 0), ([3, 9, 1], 2)):
                ((rowids, values),) = reader.read(reading.connection, wanted)
                assert rowids == sorted(wanted)
                assert values is not None
                plain = encoder.encode(values)
                assert plain is not None
                assert len(plain) == there
                assert list(plain.rowids()) == [rowid for rowid in sorted(wanted) if rowid < 4]


def test_streams_of_a_chunk_have_all_its_rows_in_order() -> None:
    rows: list[Row] = [{"content": f"text {at}", "id": str(UUID(int=at))} for at in range(7)]
    with table_with("knowledge_nodes", rows) as reading:
        plain = reading.plain()
        assert plain is not None
        careful = reading.careful()
    streams = list(copy_payloads(plain.columns, 3))
    expected = [copy_payload([column[start : start + 3] for column in careful.columns]) for start in range(0, 7, 3)]
    assert streams == expected


def test_a_file_in_utf16_is_read_the_other_way() -> None:
    with table_with("knowledge_nodes", [{}], encoding="UTF-16le") as reading:
        assert not can_read_chunks(reading.connection)
    with table_with("knowledge_nodes", [{}]) as reading:
        assert can_read_chunks(reading.connection)


def test_columns_that_may_hold_numbers_are_not_joined() -> None:
    with table_with("knowledge_nodes", [{}], affinity="") as reading:
        assert text_columns(reading.connection, "knowledge_nodes") == frozenset()
        assert reading.plain() is None
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (a TEXT, b VARCHAR(9), c CLOB, d POINTTEXT, e INTEGER, f REAL, g BLOB, h)")
        assert text_columns(connection, "t") == {"a", "b", "c"}
