"""One typed value -> one COPY field: a big-endian int32 length, then the payload of the type's `_recv`."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from vestige_migrate.decode.time import UNIX_EPOCH

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NULL = b"\xff\xff\xff\xff"
"""A field of length -1."""

UNKNOWN_TIME = b"\x00\x00\x00\x08\x7f\xff\xff\xff\xff\xff\xff\xff"
"""A timestamptz of `infinity`, which no source value becomes: stands for the start of a run that is not known."""

UUID_OID = 2950
TEXT_OID = 25
POSTGRES_EPOCH_US = 946_684_800_000_000
"""2000-01-01 in microseconds since 1970: timestamptz counts from there."""

_JSONB_VERSION = b"\x01"
_int32 = struct.Struct(">i").pack
_MICROSECOND = timedelta(microseconds=1)
_LENGTHS = [_int32(size) for size in range(4096)]


def with_length(payload: bytes) -> bytes:
    """The payload behind its length."""
    size = len(payload)
    return (_LENGTHS[size] if size < 4096 else _int32(size)) + payload


def text(value: str) -> bytes:
    """text_recv: UTF-8, no terminator. Raises UnicodeEncodeError on a lone surrogate."""
    return with_length(value.encode())


def uuid(value: UUID) -> bytes:
    """uuid_recv: 16 bytes."""
    return with_length(value.bytes)


def jsonb(value: str) -> bytes:
    """jsonb_recv: version 1, then the JSON text."""
    return jsonb_bytes(value.encode())


def jsonb_bytes(value: bytes) -> bytes:
    """The same of a text that is UTF-8 already."""
    return with_length(_JSONB_VERSION + value)


def timestamptz(value: datetime) -> bytes:
    """timestamptz_recv: int64 microseconds since 2000-01-01 UTC."""
    micros = (value - UNIX_EPOCH) // _MICROSECOND - POSTGRES_EPOCH_US
    return struct.pack(">iq", 8, micros)


def float8(value: float) -> bytes:
    """float8recv."""
    return struct.pack(">id", 8, value)


def int4(value: int) -> bytes:
    """int4recv."""
    return struct.pack(">ii", 4, value)


def int2(value: int) -> bytes:
    """int2recv."""
    return struct.pack(">ih", 2, value)


def vector(value: NDArray[np.float32]) -> bytes:
    """pgvector's vector_recv: int16 dimensions, int16 unused, then big-endian float4s (src/vector.c)."""
    return with_length(struct.pack(">hh", len(value), 0) + value.astype(">f4").tobytes())


def array(element_oid: int, elements: Iterable[bytes], count: int | None = None) -> bytes:
    """array_recv: one dimension of fields without NULLs; no dimension at all where it is empty.

    `count` is the number of fields where `elements` has several of them in one piece.
    """
    fields = list(elements)
    if not fields:
        return with_length(struct.pack(">iiI", 0, 0, element_oid))
    size = len(fields) if count is None else count
    return with_length(struct.pack(">iiIii", 1, 0, element_oid, size, 1) + b"".join(fields))


def text_array(values: Iterable[str]) -> bytes:
    """A text[]."""
    return array(TEXT_OID, map(text, values))


def uuid_array(values: Iterable[UUID]) -> bytes:
    """A uuid[]."""
    return array(UUID_OID, map(uuid, values))
