"""Keys of rows: summed up, so that two sets of them can be told apart without holding either, and written out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from uuid import UUID

import numpy as np

from vestige_migrate.tables.base import Table
from vestige_migrate.verify.row_digests import SUM_BITS

_LENGTH_BYTES = 4
_NUMBERS_BYTES = 16
_UUID_FIELD_BYTES = _LENGTH_BYTES + _NUMBERS_BYTES
_HALF_BITS = 32


def key_sum(types: Sequence[str], keys: Sequence[Sequence[bytes]]) -> int:
    """The sums over rows of the two 64-bit numbers of each key column, side by side in one number; `keys` are COPY
    fields, column by column.

    All of a UUID is in it: where the file has one row twice, the row of the destination's own that makes up for it
    would have to have its id. `verify.row_digests.count_and_sum` computes the same on the server.
    """
    sums = [
        total
        for kind, fields in zip(types, keys, strict=True)
        for total in (_uuid_sums(fields) if kind == "uuid" else _text_sums(fields))
    ]
    return sum(total << (SUM_BITS * at) for at, total in enumerate(sums))


def _uuid_sums(fields: Sequence[bytes]) -> list[int]:
    rows = np.frombuffer(b"".join(fields), dtype=np.uint8).reshape(-1, _UUID_FIELD_BYTES)
    return _sums(rows[:, _LENGTH_BYTES:].tobytes())


def _text_sums(fields: Sequence[bytes]) -> list[int]:
    return _sums(b"".join(hashlib.sha256(value[_LENGTH_BYTES:]).digest()[:_NUMBERS_BYTES] for value in fields))


def _sums(joined: bytes) -> list[int]:
    numbers = np.frombuffer(joined, dtype=">i8").reshape(-1, 2)
    # In halves: the sum of whole ones does not fit into 64 bits.
    high, low = (numbers >> _HALF_BITS).sum(axis=0), (numbers & (2**_HALF_BITS - 1)).sum(axis=0)
    return [(int(upper) << _HALF_BITS) + int(lower) for upper, lower in zip(high, low, strict=True)]


def key_id(table: Table, payloads: Sequence[bytes]) -> str:
    """A key as reports write it, from COPY payloads without their length."""
    parts = [
        str(UUID(bytes=payload)) if kind == "uuid" else payload.decode()
        for name, kind, payload in zip(table.key, table.key_types, payloads, strict=True)
        if table.names_rows_by(name)
    ]
    return " -> ".join(parts)
