"""Whole columns at once give what value by value gives, and the fields hold the values."""

from __future__ import annotations

import gc
import json
import struct
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_decode_safety import raw_values
from tests.unit.test_wire_fields import read_field, read_fields
from vestige_migrate.decode.ids import decode_uuid
from vestige_migrate.decode.json import decode_object, decode_strings, decode_uuids
from vestige_migrate.decode.number import decode_float, decode_int
from vestige_migrate.decode.problem import BadValue, Raw
from vestige_migrate.decode.text import decode_label, decode_text
from vestige_migrate.decode.time import decode_time
from vestige_migrate.decode.vector import decode_vector
from vestige_migrate.limits import BATCH_BYTES
from vestige_migrate.wire import column, field
from vestige_migrate.wire.column import CACHED_CHARS, CACHED_VALUES, Cached, Encoded, Encoder, one_by_one
from vestige_migrate.wire.vectors import CHUNK_BYTES

SEVERAL = settings(max_examples=30, deadline=None)
DIMENSION = 3
Decode = Callable[[Raw], Any]

chrono = st.datetimes().map(lambda moment: moment.isoformat() + "+00:00")
singles = st.floats(width=32)
blobs = st.lists(singles, min_size=DIMENSION, max_size=DIMENSION).map(lambda values: struct.pack("<3f", *values))
plain_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
string_lists = st.lists(plain_texts, max_size=3).map(json.dumps)

# pg type, encoder, decoder, writer, values that are plain for it
KINDS: dict[str, tuple[str, Callable[[], Encoder], Decode, Callable[[Any], bytes], st.SearchStrategy[Any]]] = {
    "texts": ("text", lambda: column.texts, decode_text, field.text, plain_texts),
    "labels": ("text", column.labels, decode_label, field.text, st.sampled_from(["fact", "note", "x" * 2601])),
    "uuids": ("uuid", lambda: column.uuids, decode_uuid, field.uuid, st.uuids().map(str)),
    "few uuids": ("uuid", column.few_uuids, decode_uuid, field.uuid, st.uuids().map(str)),
    "times": ("timestamptz", lambda: column.times, decode_time, field.timestamptz, chrono),
    "floats": ("float8", lambda: column.floats, decode_float, field.float8, st.floats()),
    "int4s": ("int4", lambda: column.int4s, partial(decode_int, bits=32), field.int4, st.integers(-(2**32), 2**32)),
    "int2s": ("int2", lambda: column.int2s, partial(decode_int, bits=16), field.int2, st.integers(-(2**16), 2**16)),
    "vectors": (
        "vector",
        lambda: partial(column.vectors, dimension=DIMENSION),
        partial(decode_vector, dimension=DIMENSION),
        field.vector,
        blobs,
    ),
    "vectors of any dimension": (
        "vector",
        lambda: partial(column.vectors, dimension=None),
        partial(decode_vector, dimension=None),
        field.vector,
        blobs,
    ),
    "string arrays": ("text[]", column.string_arrays, decode_strings, field.text_array, string_lists),
    "uuid arrays": (
        "uuid[]",
        column.uuid_arrays,
        decode_uuids,
        field.uuid_array,
        st.lists(st.uuids().map(str), max_size=3).map(json.dumps),
    ),
    "objects": (
        "jsonb",
        lambda: column.objects,
        decode_object,
        field.jsonb,
        st.dictionaries(plain_texts, plain_texts | singles | st.integers() | st.lists(singles), max_size=3).map(
            json.dumps
        ),
    ),
}
each_kind = pytest.mark.parametrize("kind", list(KINDS))


def columns_of(plain: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Raw]]:
    """All plain, plain with NULLs, or plain with anything else among them."""
    return (
        st.lists(plain, max_size=12)
        | st.lists(plain | st.none(), max_size=12)
        | st.lists(plain | plain | plain | raw_values, max_size=12)
    )


def comparable(encoded: Encoded) -> tuple[list[bytes | None], list[tuple[int, str, object]]]:
    """Fields and problems in a form that two encodings can be compared by."""
    return list(encoded.fields), [(row, problem.reason, repr(problem.instead)) for row, problem in encoded.problems]


@each_kind
@SEVERAL
@given(data=st.data())
def test_a_column_is_what_value_by_value_gives(kind: str, data: st.DataObject) -> None:
    _, make, decode, write, plain = KINDS[kind]
    values = data.draw(columns_of(plain))
    assert comparable(make()(values)) == comparable(one_by_one(decode, write, values))


@each_kind
@SEVERAL
@given(data=st.data())
def test_the_fields_read_back_as_the_decoded_values(kind: str, data: st.DataObject) -> None:
    pg_type, make, decode, _, plain = KINDS[kind]
    values = data.draw(columns_of(plain))
    encoded = make()(values)
    assert len(encoded.fields) == len(values)
    bad = {row for row, _ in encoded.problems}
    for row, (raw, written) in enumerate(zip(values, encoded.fields, strict=True)):
        if row in bad:
            with pytest.raises(BadValue):
                decode(raw)
            continue
        expected = decode(raw)
        if pg_type == "jsonb" and expected is not None:
            expected = json.loads(expected)
        if pg_type == "vector" and expected is not None:
            expected = expected.tolist()
        assert written is not None
        assert read_field(pg_type, written) == expected


@each_kind
@SEVERAL
@given(data=st.data())
def test_an_encoder_gives_the_same_answer_in_every_batch(kind: str, data: st.DataObject) -> None:
    _, make, _, _, plain = KINDS[kind]
    values = data.draw(columns_of(plain))
    encode = make()
    first = comparable(encode(values))
    assert comparable(encode(values)) == first
    assert comparable(encode(values[::-1] + values))[0] == first[0][::-1] + first[0]
    assert comparable(encode(values)) == first


@each_kind
def test_an_empty_column_is_no_fields(kind: str) -> None:
    assert KINDS[kind][1]()([]) == Encoded([], [])


@each_kind
def test_a_column_of_nulls_is_nulls(kind: str) -> None:
    assert KINDS[kind][1]()([None] * 3) == Encoded([field.NULL] * 3, [])


@each_kind
def test_the_result_may_be_changed_without_changing_the_next_one(kind: str) -> None:
    encode = KINDS[kind][1]()
    fields = encode([None, None]).fields
    assert isinstance(fields, list)
    fields[0] = b"changed"
    assert encode([None, None]).fields == [field.NULL] * 2


ID = "6f1c2f3e-0b5a-4c7d-9e8f-0123456789ab"
# Of the right storage class and nearly plain, so that only the column's own test can tell.
NEARLY: list[tuple[str, Raw, Raw]] = [
    ("texts", "a", "a\0"),
    ("texts", "a", "a\udcff"),
    ("labels", "fact", "fa\0ct"),
    ("labels", "fact", "x" * 2601),
    ("uuids", ID, ID[:-1] + "g"),
    ("uuids", ID, ID.replace("-", "_")),
    ("uuids", ID, "6f1c2f3e00b5a04c7d09e8f00123456789ab"),
    ("uuids", ID, ID[:-1] + "\uff16"),
    ("few uuids", ID, ID[:-1] + "g"),
    ("times", "2026-05-27T09:35:58Z", "2026-05-27T09:35:60Z"),
    ("floats", 0.5, float("nan")),
    ("floats", 0.5, float("-inf")),
    ("int4s", 1, 2**31),
    ("int4s", 1, -(2**31) - 1),
    ("int2s", 1, 2**15),
    ("int2s", 1, -(2**15) - 1),
    ("vectors", b"\0" * 12, b"\0" * 8 + b"\0\0\xc0\x7f"),
    ("vectors", b"\0" * 12, b"\0" * 8),
    ("vectors", b"\0" * 12, "x" * 12),
    ("string arrays", "[]", '["\\u0000"]'),
    ("uuid arrays", "[]", '["x"]'),
    ("objects", "{}", '{"a": NaN}'),
]


@pytest.mark.parametrize(("kind", "plain", "odd"), NEARLY)
def test_one_odd_value_among_plain_ones_is_found_at_its_row_every_time(kind: str, plain: Raw, odd: Raw) -> None:
    encode = KINDS[kind][1]()
    (expected,) = encode([plain]).fields
    for values in ([plain, odd, plain], [plain, odd, plain], [odd], [odd]):
        fields, problems = encode(values)
        assert [row for row, _ in problems] == [values.index(odd)]
        assert [written for row, written in enumerate(fields) if row != values.index(odd)] == [expected] * (
            len(values) - 1
        )


@pytest.mark.parametrize(("kind", "bits"), [("int4s", 32), ("int2s", 16)])
def test_both_ends_of_the_integers_are_plain(kind: str, bits: int) -> None:
    values: list[Raw] = [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]
    encoded = KINDS[kind][1]()(values)
    assert read_fields(KINDS[kind][0], encoded.fields) == values


def test_negative_zero_and_subnormals_keep_their_bits() -> None:
    raw = struct.pack("<3f", -0.0, 1e-45, 3.4028235e38)
    (written,) = column.vectors([raw], DIMENSION).fields
    assert written == struct.pack(">ihh3f", 16, 3, 0, -0.0, 1e-45, 3.4028235e38)


@pytest.mark.parametrize("dimension", [None, 16_001, 32_768, 40_000])
def test_a_vector_too_long_for_the_format_is_a_bad_value_and_no_crash(dimension: int | None) -> None:
    """vector_recv counts the dimensions in 16 bits."""
    size = dimension or 40_000
    encoded = column.vectors([struct.pack(f"<{size}f", *([0.5] * size))], dimension)
    assert encoded.fields == [None]
    assert [row for row, _ in encoded.problems] == [0]


# Encoders with a memory.


def test_a_cache_forgets_before_it_grows_without_bound() -> None:
    encode = Cached(decode_text, field.text)
    for start in range(0, 5 * CACHED_VALUES, 500):
        values: list[Raw] = [f"value {at}" for at in range(start, start + 500)]
        assert read_fields("text", encode(values).fields) == values
    assert len(encode._known) <= CACHED_VALUES + 500 + 1


@pytest.mark.parametrize("make", [column.string_arrays, column.uuid_arrays, column.labels])
def test_a_cache_of_wide_values_holds_no_more_than_a_few_batches(make: Callable[[], Encoder]) -> None:
    """Metadata may be large and is seldom the same twice: a count of values alone does not bound a worker's memory."""
    encode = make()
    wide = 64 * 1024
    tracemalloc.start()
    try:
        for start in range(0, 500, 100):
            encode([json.dumps({"at": at, "text": "x" * wide}) for at in range(start, start + 100)])
        gc.collect()
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes < 3 * BATCH_BYTES


@SEVERAL
@given(st.lists(st.sampled_from([1, 1.0, 0, 0.0, -0.0, "1", "1.0", b"1", None]), min_size=1, max_size=20))
def test_a_cache_never_takes_one_storage_class_for_another(values: list[Raw]) -> None:
    encode = column.labels()
    for batch in (values, values[::-1], values):
        assert read_fields("text", encode(batch).fields) == [decode_text(value) for value in batch]


def test_a_long_text_is_not_remembered_and_a_short_one_is() -> None:
    encode = Cached(decode_text, field.text)
    short, long = "s" * CACHED_CHARS, "l" * (CACHED_CHARS + 1)
    for _ in range(2):
        assert read_fields("text", encode([short, long, None]).fields) == [short, long, None]
    assert set(encode._known) == {None, short}


def test_a_new_value_among_known_ones_is_the_only_one_that_is_decoded() -> None:
    decoded: list[Raw] = []

    def decode(raw: Raw) -> str | None:
        decoded.append(raw)
        return decode_text(raw)

    encode = Cached(decode, field.text)
    encode(["a", "b"])
    assert read_fields("text", encode(["a", "new", None, "b"]).fields) == ["a", "new", None, "b"]
    assert decoded == ["a", "b", "new"]


# Whole columns.


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        ("texts", "a"),
        ("uuids", ID),
        ("times", "2026-05-27T09:35:58Z"),
        ("floats", 0.5),
        ("int4s", 1),
        ("int2s", 1),
        ("vectors", b"\0" * 12),
    ],
)
@pytest.mark.parametrize("nulls", [{0}, {1, 2}, {4}, {0, 4}], ids=str)
def test_a_null_among_plain_values_keeps_the_column_together(
    kind: str, plain: Raw, nulls: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, make, decode, write, _ = KINDS[kind]
    values = [None if at in nulls else plain for at in range(5)]
    expected = one_by_one(decode, write, values)
    monkeypatch.setattr(column, "one_by_one", None)  # calling it would raise
    assert make()(values) == expected


def vectors_of_several_chunks() -> list[bytes]:
    """Vectors of three dimensions, each of other numbers, a few more than two chunks of them."""
    count = 2 * CHUNK_BYTES // (4 * DIMENSION) + 5
    return [struct.pack("<3f", at, -at, 0.5) for at in range(count)]


def test_vectors_of_several_chunks_all_come_over() -> None:
    values = vectors_of_several_chunks()
    assert column.vectors(values, DIMENSION).fields == [
        struct.pack(">ihh3f", 16, DIMENSION, 0, *struct.unpack("<3f", raw)) for raw in values
    ]


def test_a_bad_vector_in_the_last_chunk_is_found() -> None:
    values = vectors_of_several_chunks()
    values[-1] = struct.pack("<3f", 1, 2, float("nan"))
    fields, problems = column.vectors(values, DIMENSION)
    assert [row for row, _ in problems] == [len(values) - 1]
    assert fields.count(None) == 1
