"""The encoder of each type of column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from vestige_migrate.decode.problem import BadValue, Raw
from vestige_migrate.decode.vector import decode_vector
from vestige_migrate.model_names import MINI, MINI_DIMENSION
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.vectors import MISLABELLED, NO_VECTOR, OTHER_MODEL
from vestige_migrate.tables import column_types as types
from vestige_migrate.tables.base import Column
from vestige_migrate.tables.column_types import ColumnType
from vestige_migrate.wire import column as encode
from vestige_migrate.wire import field
from vestige_migrate.wire.shorten import shorten


def encoder_of(column: Column, layout: Layout) -> encode.Encoder:
    """An encoder of the column's values for one run: it may keep a cache."""
    encoder = _ENCODERS[column.type](layout)
    if column.instead is None:
        return encoder
    written, instead = column.instead

    def encode_otherwise(values: encode.Values) -> encode.Encoded:
        fields, problems = encoder(values)
        return encode.Encoded([instead if value == written else value for value in fields], problems)

    return encode_otherwise


def _embeddings(layout: Layout) -> encode.Encoder:
    """Vectors of the layout's dimension; the SELECT yields a marker for one that cannot come over."""

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
            values = shorten(values, layout.dimension)
        if int in set(map(type, values)):
            return encode.one_by_one(decode, field.vector, values)
        return encode.vectors(values, layout.dimension)

    return encode_vectors


_ENCODERS: dict[ColumnType, Callable[[Layout], encode.Encoder]] = {
    types.UUID: lambda _: encode.uuids,
    types.USER_ID: lambda _: encode.few_uuids(),
    types.KEY_TEXT: lambda _: encode.texts,
    types.TEXT: lambda _: encode.texts,
    types.LABEL: lambda _: encode.labels(),
    types.TIME: lambda _: encode.times,
    types.FLOAT8: lambda _: encode.floats,
    types.INT4: lambda _: encode.int4s,
    types.INT2: lambda _: encode.int2s,
    types.TEXTS: lambda _: encode.string_arrays(),
    types.UUIDS: lambda _: encode.uuid_arrays(),
    types.JSON_OBJECT: lambda _: encode.objects,
    types.ANY_VECTOR: lambda _: partial(encode.vectors, dimension=None),
    types.EMBEDDING: _embeddings,
}
