"""Columns of COPY fields that are not one object a field: of one size, or with lengths apart from contents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from operator import add
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

    @classmethod
    def repeat(cls, field: bytes, count: int) -> Block:
        """The same field in every row."""
        return cls(np.broadcast_to(np.frombuffer(field, dtype=np.uint8), (count, len(field))))

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


class Prefixed(Sequence[bytes]):
    """COPY fields of any size: `prefixes` has their lengths and what else comes before `contents`.

    A sequence of fields to whoever wants them one by one; the writer takes both as they are.
    """

    def __init__(self, prefixes: Block, contents: Sequence[bytes]) -> None:
        self.prefixes = prefixes
        self.contents = contents

    @cached_property
    def fields(self) -> list[bytes]:
        """The fields as objects."""
        return list(map(add, self.prefixes.fields, self.contents))

    def __len__(self) -> int:
        return len(self.contents)

    @overload
    def __getitem__(self, at: int) -> bytes: ...

    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...

    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        return self.fields[at]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.fields)


def split_equal(joined: bytes, separator: bytes, count: int) -> Bytes | None:
    """Joined values of one length as an array, shape (count, length); None where they have not one length."""
    chars = np.frombuffer(joined + separator, dtype=np.uint8)
    if not count or len(chars) % count:
        return None
    rows = chars.reshape(count, -1)
    return rows[:, :-1] if (rows[:, -1] == separator[0]).all() else None


def cut(rows: Bytes) -> list[bytes]:
    """Each row of the array as bytes."""
    joined, width = rows.tobytes(), rows.shape[1]
    return [joined[at : at + width] for at in range(0, len(joined), width)]
