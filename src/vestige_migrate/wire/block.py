"""Fields of one size: a column, or several side by side, as one array instead of an object a field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import overload

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


class Block(Sequence[bytes]):
    """COPY fields of equal size, shape (rows, bytes a field with its length prefix).

    A sequence of fields to whoever wants them one by one; `rows` to the writer, which puts neighbouring blocks into
    one piece: cutting 100,000 fields of a column into objects and joining them again costs 30 ms.
    """

    def __init__(self, rows: Bytes) -> None:
        self.rows = rows

    @classmethod
    def of(cls, prefix: bytes, payloads: Bytes) -> Block:
        """Payloads, shape (n, size), each behind the same prefix."""
        count, size = payloads.shape
        rows = np.empty((count, len(prefix) + size), dtype=np.uint8)
        rows[:, : len(prefix)] = np.frombuffer(prefix, dtype=np.uint8)
        rows[:, len(prefix) :] = payloads
        return cls(rows)

    @cached_property
    def fields(self) -> list[bytes]:
        """The fields as objects."""
        return cut(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> bytes: ...

    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...

    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        return self.fields[at]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.fields)


def cut(rows: Bytes) -> list[bytes]:
    """Each row of the array as bytes."""
    joined, width = rows.tobytes(), rows.shape[1]
    return [joined[at : at + width] for at in range(0, len(joined), width)]
