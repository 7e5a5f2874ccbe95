"""The encoders of the tables' columns, made when a worker wants them.

They are imported there and not above: `wire` needs numpy, whose import takes 0.1 s of CPU. The coordinator wants only
the columns' names, types and defaults, and does without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from vestige_migrate.decode.problem import BadValue, Raw
from vestige_migrate.model_names import MINI, MINI_DIMENSION
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.vectors import MISLABELLED, NO_VECTOR, OTHER_MODEL
from vestige_migrate.wire import field

if TYPE_CHECKING:
    from vestige_migrate.wire import column as encode

MakeEncoder = Callable[[Layout], "encode.Encoder"]
"""Makes an encoder for one run (it may keep a cache)."""


def uuids(_: Layout) -> encode.Encoder:
    """uuid."""
    from vestige_migrate.wire import column as encode

    return encode.uuids


def few_uuids(_: Layout) -> encode.Encoder:
    """uuid with few distinct values."""
    from vestige_migrate.wire import column as encode

    return encode.few_uuids()


def texts(_: Layout) -> encode.Encoder:
    """text of any content."""
    from vestige_migrate.wire import column as encode

    return encode.texts


def labels(_: Layout) -> encode.Encoder:
    """text with few distinct values."""
    from vestige_migrate.wire import column as encode

    return encode.labels()


def times(_: Layout) -> encode.Encoder:
    """timestamptz."""
    from vestige_migrate.wire import column as encode

    return encode.times


def floats(_: Layout) -> encode.Encoder:
    """float8, finite."""
    from vestige_migrate.wire import column as encode

    return encode.floats


def int4s(_: Layout) -> encode.Encoder:
    """int4."""
    from vestige_migrate.wire import column as encode

    return encode.int4s


def int2s(_: Layout) -> encode.Encoder:
    """int2."""
    from vestige_migrate.wire import column as encode

    return encode.int2s


def string_arrays(_: Layout) -> encode.Encoder:
    """text[] from a JSON array."""
    from vestige_migrate.wire import column as encode

    return encode.string_arrays()


def uuid_arrays(_: Layout) -> encode.Encoder:
    """uuid[] from a JSON array."""
    from vestige_migrate.wire import column as encode

    return encode.uuid_arrays()


def objects(_: Layout) -> encode.Encoder:
    """jsonb from a JSON object."""
    from vestige_migrate.wire import column as encode

    return encode.objects


def any_vectors(_: Layout) -> encode.Encoder:
    """vector of any dimension."""
    from vestige_migrate.wire import column as encode

    return partial(encode.vectors, dimension=None)


def memory_vectors(layout: Layout) -> encode.Encoder:
    """vector of the layout's dimension; the SELECT yields a marker for one that cannot come over."""
    from vestige_migrate.decode.vector import decode_vector
    from vestige_migrate.wire import column as encode

    def decode(raw: Raw) -> object:
        if raw == OTHER_MODEL:
            raise BadValue(f"belongs to another embedding model than {layout.model}")
        if raw == MISLABELLED:
            raise BadValue(
                f"is labelled {MINI}, which has {MINI_DIMENSION} dimensions, and has another number of them: Vestige "
                "does not use such a vector either"
            )
        if raw == NO_VECTOR:
            raise BadValue("is not a BLOB of float32")
        return decode_vector(raw, layout.dimension)

    def encode_vectors(values: Sequence[Raw]) -> encode.Encoded:
        if layout.shortened and layout.dimension is not None:
            from vestige_migrate.wire.shorten import shorten

            values = shorten(values, layout.dimension)
        if int in set(map(type, values)):
            return encode.one_by_one(decode, field.vector, values)
        return encode.vectors(values, layout.dimension)

    return encode_vectors
