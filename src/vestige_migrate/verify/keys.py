"""Keys of rows: summed up, so that two sets of them can be told apart without holding either, and written out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from uuid import UUID

import numpy as np

from vestige_migrate.tables.base import Table

_LENGTH_BYTES = 4
_NUMBER_BYTES = 6
_UUID_FIELD_BYTES = 20
_POWERS = 256 ** np.arange(_NUMBER_BYTES - 1, -1, -1, dtype=np.int64)


def key_sum(types: Sequence[str], keys: Sequence[Sequence[bytes]]) -> int:
    """The sum over rows of 48 bits of each key column, the n-th times n; `keys` are COPY fields, column by column.

    `destination.compare.count_and_sum` computes the same on the server.
    """
    return sum(
        (at + 1) * (_uuid_sum(fields) if kind == "uuid" else _text_sum(fields))
        for at, (kind, fields) in enumerate(zip(types, keys, strict=True))
    )


def _uuid_sum(fields: Sequence[bytes]) -> int:
    rows = np.frombuffer(b"".join(fields), dtype=np.uint8).reshape(-1, _UUID_FIELD_BYTES)
    return int((rows[:, -_NUMBER_BYTES:] @ _POWERS).sum()) if len(rows) else 0


def _text_sum(fields: Sequence[bytes]) -> int:
    digests = (hashlib.sha256(value[_LENGTH_BYTES:]).digest() for value in fields)
    return sum(int.from_bytes(digest[:_NUMBER_BYTES], "big") for digest in digests)


def key_id(table: Table, payloads: Sequence[bytes]) -> str:
    """A key as reports write it, from COPY payloads without their length."""
    parts = [
        str(UUID(bytes=payload)) if kind == "uuid" else payload.decode()
        for kind, payload in zip(table.key_types, payloads, strict=True)
    ]
    return " -> ".join(parts)
