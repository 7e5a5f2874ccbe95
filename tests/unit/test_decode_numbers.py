"""Numbers and vectors."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vestige_migrate.decode.number import decode_float, decode_int
from vestige_migrate.decode.problem import BadValue, Raw
from vestige_migrate.decode.vector import decode_vector

SEVERAL = settings(max_examples=100, deadline=None)
widths = st.sampled_from([16, 32])


@SEVERAL
@given(st.integers(-(2**40), 2**40), widths)
def test_an_integer_is_taken_exactly_where_it_fits(value: int, bits: int) -> None:
    if -(2 ** (bits - 1)) <= value <= 2 ** (bits - 1) - 1:
        assert decode_int(value, bits) == value
    else:
        with pytest.raises(BadValue, match=f"out of range for a {bits}-bit integer"):
            decode_int(value, bits)


@pytest.mark.parametrize("bits", [16, 32])
def test_both_ends_of_the_range_fit_and_the_next_do_not(bits: int) -> None:
    limit = 2 ** (bits - 1)
    assert decode_int(-limit, bits) == -limit
    assert decode_int(limit - 1, bits) == limit - 1
    for beyond in (-limit - 1, limit, float(limit)):
        with pytest.raises(BadValue):
            decode_int(beyond, bits)


@SEVERAL
@given(st.integers(-(2**15), 2**15 - 1), widths)
def test_a_whole_real_is_taken_as_its_integer(value: int, bits: int) -> None:
    found = decode_int(float(value), bits)
    assert found == value
    assert type(found) is int


@pytest.mark.parametrize("raw", [0.5, -1.25, math.nan, math.inf, -math.inf])
def test_a_broken_real_is_no_integer(raw: float) -> None:
    with pytest.raises(BadValue):
        decode_int(raw, 32)


@pytest.mark.parametrize(("raw", "words"), [("12", "a text"), ("", "a text"), (b"12", "a BLOB")])
def test_texts_and_blobs_are_no_numbers(raw: Raw, words: str) -> None:
    with pytest.raises(BadValue, match=f"is {words}, not a number"):
        decode_int(raw, 32)
    with pytest.raises(BadValue, match=f"is {words}, not a number"):
        decode_float(raw)


@SEVERAL
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_finite_double_keeps_every_bit(value: float) -> None:
    found = decode_float(value)
    assert found is not None
    assert struct.pack("d", found) == struct.pack("d", value)


@SEVERAL
@given(st.integers(-(2**53), 2**53))
def test_an_integer_is_a_double(value: int) -> None:
    found = decode_float(value)
    assert found == value
    assert type(found) is float


@pytest.mark.parametrize("raw", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(raw: float) -> None:
    with pytest.raises(BadValue, match="is not finite"):
        decode_float(raw)


single = st.floats(width=32, allow_nan=False, allow_infinity=False)


@SEVERAL
@given(st.lists(single, min_size=1, max_size=24), st.booleans())
def test_a_vector_keeps_every_bit(values: list[float], any_dimension: bool) -> None:
    raw = struct.pack(f"<{len(values)}f", *values)
    found = decode_vector(raw, None if any_dimension else len(values))
    assert found is not None
    assert found.dtype == np.dtype("<f4")
    assert found.tobytes() == raw


@SEVERAL
@given(st.lists(single, min_size=1, max_size=8), st.integers(1, 9))
def test_a_vector_of_another_dimension_is_refused(values: list[float], dimension: int) -> None:
    raw = struct.pack(f"<{len(values)}f", *values)
    if len(values) == dimension:
        assert decode_vector(raw, dimension) is not None
        return
    with pytest.raises(BadValue, match=f"has {len(values)} dimensions instead of {dimension}"):
        decode_vector(raw, dimension)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 1023])
@pytest.mark.parametrize("dimension", [None, 256])
def test_bytes_that_are_no_floats_are_refused(size: int, dimension: int | None) -> None:
    with pytest.raises(BadValue, match=f"has {size} bytes"):
        decode_vector(b"\0" * size, dimension)


@SEVERAL
@given(
    st.lists(single, min_size=1, max_size=8),
    st.sampled_from([math.nan, math.inf, -math.inf]),
    st.integers(0, 7),
    st.booleans(),
)
def test_one_nan_or_infinity_refuses_the_vector(values: list[float], bad: float, at: int, any_: bool) -> None:
    values[at % len(values)] = bad
    with pytest.raises(BadValue, match="holds NaN or infinity"):
        decode_vector(struct.pack(f"<{len(values)}f", *values), None if any_ else len(values))


@pytest.mark.parametrize("raw", ["[1, 2]", 1, 0.5])
def test_only_a_blob_is_a_vector(raw: Raw) -> None:
    with pytest.raises(BadValue, match="not a BLOB of float32"):
        decode_vector(raw, 2)
