"""Single COPY fields, read back by a reader of their own (binary format of PostgreSQL's `_send` functions).

The reader here shares no code with the writer; the other wire tests use it as well.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vestige_migrate.wire import field

SEVERAL = settings(max_examples=80, deadline=None)
UUID_OID = 2950
TEXT_OID = 25
Y2000 = datetime(2000, 1, 1, tzinfo=UTC)


def payload_of(written: bytes) -> bytes | None:
    """What stands behind the length; None for NULL. Fails where the length is wrong."""
    (length,) = struct.unpack_from(">i", written)
    if length == -1:
        assert len(written) == 4
        return None
    assert length == len(written) - 4
    return written[4:]


def _read_time(payload: bytes) -> datetime:
    (micros,) = struct.unpack(">q", payload)
    return Y2000 + timedelta(microseconds=micros)


def _read_json(payload: bytes) -> object:
    assert payload[0] == 1  # jsonb's version
    return json.loads(payload[1:].decode())


def _read_vector(payload: bytes) -> list[float]:
    dimension, unused = struct.unpack_from(">hh", payload)
    assert unused == 0
    return list(struct.unpack(f">{dimension}f", payload[4:]))


def _read_array(payload: bytes, oid: int, read: Callable[[bytes], object]) -> list[object]:
    dimensions, has_null, found = struct.unpack_from(">iiI", payload)
    assert (has_null, found) == (0, oid)
    if dimensions == 0:
        assert len(payload) == 12
        return []
    assert dimensions == 1
    count, lower = struct.unpack_from(">ii", payload, 12)
    assert lower == 1
    elements: list[object] = []
    at = 20
    for _ in range(count):
        (length,) = struct.unpack_from(">i", payload, at)
        assert length >= 0
        elements.append(read(payload[at + 4 : at + 4 + length]))
        at += 4 + length
    assert at == len(payload)
    return elements


def _read_text(payload: bytes) -> str:
    return payload.decode()


def _read_uuid(payload: bytes) -> UUID:
    return UUID(bytes=payload)


READERS: dict[str, Callable[[bytes], object]] = {
    "text": _read_text,
    "uuid": _read_uuid,
    "jsonb": _read_json,
    "timestamptz": _read_time,
    "float8": lambda payload: struct.unpack(">d", payload)[0],
    "int4": lambda payload: struct.unpack(">i", payload)[0],
    "int2": lambda payload: struct.unpack(">h", payload)[0],
    "vector": _read_vector,
    "text[]": lambda payload: _read_array(payload, TEXT_OID, _read_text),
    "uuid[]": lambda payload: _read_array(payload, UUID_OID, _read_uuid),
}


def read_field(pg_type: str, written: bytes) -> object:
    """The Python value of one COPY field."""
    payload = payload_of(written)
    return None if payload is None else READERS[pg_type](payload)


def read_fields(pg_type: str, written: Sequence[bytes | None]) -> list[object]:
    """The values of a column in which no field is missing."""
    return [read_field(pg_type, item) for item in written if item is not None]


moments = st.datetimes(timezones=st.just(UTC) | st.integers(-840, 840).map(lambda m: timezone(timedelta(minutes=m))))


def test_null_is_the_length_minus_one() -> None:
    assert payload_of(field.NULL) is None


@SEVERAL
@given(st.text())
def test_a_text_is_its_utf8(value: str) -> None:
    assert read_field("text", field.text(value)) == value


@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 70_000])
def test_lengths_are_right_on_both_sides_of_the_table_of_lengths(length: int) -> None:
    assert read_field("text", field.text("x" * length)) == "x" * length


@SEVERAL
@given(st.uuids())
def test_a_uuid_is_its_16_bytes(value: UUID) -> None:
    assert read_field("uuid", field.uuid(value)) == value


@SEVERAL
@given(moments)
def test_a_time_keeps_its_moment_to_the_microsecond(value: datetime) -> None:
    try:
        expected = value.astimezone(UTC)
    except OverflowError:
        return
    assert read_field("timestamptz", field.timestamptz(value)) == expected


def test_time_counts_from_2000() -> None:
    assert payload_of(field.timestamptz(Y2000)) == bytes(8)


@SEVERAL
@given(st.floats(allow_nan=False))
def test_a_double_keeps_every_bit(value: float) -> None:
    assert payload_of(field.float8(value)) == struct.pack(">d", value)


@SEVERAL
@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**15), 2**15 - 1))
def test_integers_are_big_endian(wide: int, narrow: int) -> None:
    assert read_field("int4", field.int4(wide)) == wide
    assert read_field("int2", field.int2(narrow)) == narrow


@SEVERAL
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_a_vector_keeps_every_bit(values: list[float]) -> None:
    payload = payload_of(field.vector(np.array(values, dtype="<f4")))
    assert payload == struct.pack(f">hh{len(values)}f", len(values), 0, *values)


@SEVERAL
@given(st.lists(st.text(max_size=20), max_size=5), st.lists(st.uuids(), max_size=5))
def test_arrays_hold_their_elements_in_order(texts: list[str], ids: list[UUID]) -> None:
    assert read_field("text[]", field.text_array(texts)) == texts
    assert read_field("uuid[]", field.uuid_array(ids)) == ids


def test_an_empty_array_has_no_dimension() -> None:
    assert payload_of(field.text_array(())) == struct.pack(">iiI", 0, 0, TEXT_OID)
    assert payload_of(field.uuid_array(())) == struct.pack(">iiI", 0, 0, UUID_OID)


def test_jsonb_is_version_one_and_the_text_to_the_letter() -> None:
    assert payload_of(field.jsonb('{"a": 1.10}')) == b'\x01{"a": 1.10}'
