"""A column's plain values, joined or side by side, -> COPY fields, with as few Python objects as can be.

Every function returns None where a value is not plain, and the caller reads and encodes those rows again, one value
after the other (`wire.column`), which also says what is wrong with them. Some of what PostgreSQL itself refuses is not
looked for here: JSON that is none, a vector with NaN, a label with a NUL. The COPY then fails as a whole, and its rows
go the same way.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from vestige_migrate.decode.json import MAX_NESTING
from vestige_migrate.decode.problem import Raw
from vestige_migrate.decode.vector import FLOAT_BYTES
from vestige_migrate.wire import field
from vestige_migrate.wire.batch import Fields
from vestige_migrate.wire.block import Block, Prefixed, split_equal
from vestige_migrate.wire.column import (
    CACHED_CHARS,
    CACHED_VALUES,
    SEPARATOR,
    UUID_CHARS,
    Encoder,
    numbers,
    pack_uuids,
)
from vestige_migrate.wire.repeats import any_repeats_a_key
from vestige_migrate.wire.times import parse_joined

_INT32 = np.dtype(">i4")
_Sizes = np.ndarray[tuple[int], np.dtype[np.int32]]
JSONB_PREFIX_BYTES = 5


def uuids(joined: bytes, separator: bytes, count: int) -> Block | None:
    """uuid."""
    if len(joined) != count * (UUID_CHARS + 1) - 1:
        return None
    rows = split_equal(joined, separator, count)
    packed = None if rows is None else pack_uuids(rows)
    return None if packed is None else Block.of(struct.pack(">i", 16), packed)


def times(joined: bytes, separator: bytes, count: int) -> Block | None:
    """timestamptz."""
    micros = parse_joined(joined, separator, count)
    return None if micros is None else numbers(micros - field.POSTGRES_EPOCH_US, ">i8")


def texts(values: Sequence[bytes]) -> Prefixed:
    """text."""
    return Prefixed(Block(_sizes(values).view(np.uint8).reshape(-1, _INT32.itemsize)), values)


def objects(values: Sequence[bytes], joined: bytes | None = None) -> Prefixed | None:
    """jsonb from JSON objects; `joined` are the same ones with a `SEPARATOR` between them."""
    if any_repeats_a_key(SEPARATOR.join(values) if joined is None else joined, SEPARATOR):
        return None
    sizes = _sizes(values)
    for at in np.flatnonzero(sizes > 2 * MAX_NESTING).tolist():  # every level has two brackets
        if values[at].count(b"[") + values[at].count(b"{") > MAX_NESTING:
            return None
    try:
        if set(map(itemgetter(0), values)) != {ord("{")}:
            return None
    except IndexError:  # an empty one
        return None
    return jsonb(values, sizes)


def jsonb(values: Sequence[bytes], sizes: _Sizes | None = None) -> Prefixed:
    """jsonb from JSON texts, as they are; `sizes` are their lengths where these are known."""
    sizes = _sizes(values) if sizes is None else sizes
    prefixes = np.empty((len(values), JSONB_PREFIX_BYTES), dtype=np.uint8)
    prefixes[:, :-1] = (sizes + 1).astype(_INT32).view(np.uint8).reshape(-1, _INT32.itemsize)
    prefixes[:, -1] = 1
    return Prefixed(Block(prefixes), values)


def are_storable(joined: bytes) -> bool:
    """Whether PostgreSQL takes these bytes as text."""
    if b"\0" in joined:
        return False
    try:
        return joined.isascii() or bool(joined.decode())
    except UnicodeDecodeError:
        return False


def _sizes(values: Sequence[bytes]) -> _Sizes:
    return np.fromiter(map(len, values), dtype=_INT32, count=len(values))


def vectors(joined: bytes, count: int, dimension: int) -> Block | None:
    """vector(dimension) from float32 of this length each, which the caller has made sure of."""
    size = dimension * FLOAT_BYTES
    if len(joined) != count * size:
        return None
    swapped = np.frombuffer(joined, dtype=np.uint32).byteswap()
    return Block.of(struct.pack(">ihh", 4 + size, dimension, 0), swapped.view(np.uint8).reshape(count, size))


def with_nulls(
    write: Callable[[Sequence[Any]], Fields | None], null: bytes | None, values: Sequence[Raw]
) -> Fields | None:
    """The fields that `write` makes, with `null` where a value is NULL; `null` None: a NULL is not plain."""
    if None not in values:
        return _if_of_right_type(write, values)
    if null is None:
        return None
    present = [value for value in values if value is not None]
    if not present:
        return Block.repeat(null, len(values))
    rest = _if_of_right_type(write, present)
    if rest is None:
        return None
    following = iter(rest)
    return [null if value is None else next(following) for value in values]


def _if_of_right_type(write: Callable[[Sequence[Any]], Fields | None], values: Sequence[Raw]) -> Fields | None:
    try:
        return write(values)
    except TypeError:  # a number among texts
        return None


class FewValues:
    """The fields of a column with few distinct values: each is decoded once, by the column's own encoder.

    `null` is what stands for NULL among the values, and becomes `null_field`; None: a NULL is not plain.
    """

    def __init__(self, encode: Encoder, null: Raw, null_field: bytes | None) -> None:
        self._encode = encode
        self._null: dict[Raw, bytes] = {} if null_field is None else {null: null_field}
        self._known = dict(self._null)

    def __call__(self, values: Sequence[Raw]) -> list[bytes] | None:
        """The fields, shape (n,)."""
        try:
            return list(map(self._known.__getitem__, values))
        except KeyError:
            pass  # out of here before anything else can fail: this error names a value
        return self._learn(values)

    def _learn(self, values: Sequence[Raw]) -> list[bytes] | None:
        known = self._known
        if len(known) > CACHED_VALUES:
            known.clear()
            known.update(self._null)
        new = [value for value in dict.fromkeys(values) if value not in known]
        try:
            encoded = self._encode([value.decode() for value in new])  # type: ignore[union-attr]
        except (AttributeError, UnicodeDecodeError):  # a number, NULL, or no UTF-8
            return None
        if encoded.problems:
            return None
        known.update(zip(new, encoded.fields, strict=True))  # type: ignore[arg-type]  # None comes with a problem alone
        fields = list(map(known.__getitem__, values))
        for value in new:
            if len(value) > CACHED_CHARS:  # type: ignore[arg-type]
                del known[value]
        return fields
