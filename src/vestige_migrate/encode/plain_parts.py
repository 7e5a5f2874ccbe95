"""What is read for each column of a table where its rows are plain, and how it is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from vestige_migrate.decode.vector import FLOAT_BYTES
from vestige_migrate.encode.encoders import encoder_of
from vestige_migrate.limits import MAX_DIMENSION
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.read.aggregates import NULL, SEPARATOR, joined, joined_blobs, lengths_marked
from vestige_migrate.tables.base import Column, Null, Special
from vestige_migrate.tables.column_types import PlainForm
from vestige_migrate.wire import field, plain
from vestige_migrate.wire.batch import Fields
from vestige_migrate.wire.block import Block
from vestige_migrate.wire.column import plain_floats, plain_integers

Write = Callable[..., Fields | None]
"""(number of rows, what each expression gave) -> fields; None where a value is not plain."""
WriteList = Callable[[Sequence[Any]], Fields | None]
"""A value a row -> fields; None where a value is not plain."""

_EMPTY_OBJECT = field.jsonb("{}")


@dataclass(frozen=True)
class Part:
    """What is read for one column, and how it is written.

    `listed` makes a value a row, which `write_list` writes, of what `write` is given; None where it cannot be told
    which value is whose.
    """

    expressions: tuple[str, ...]
    write: Write
    listed: Callable[..., Sequence[Any] | None]
    write_list: WriteList


@dataclass(frozen=True)
class PartMaker:
    """What the parts of one table have in common. `texts` are its columns with TEXT affinity."""

    layout: Layout
    run_start: datetime
    joined: bool
    texts: frozenset[str]

    def part(self, item: Column, expression: str | None, of_column: str | None) -> Part | None:
        """None where the column is never plain."""
        if expression is None:
            constant = field.NULL if item.null is Null.KEPT else self._default(item)
            return Part((), partial(Block.repeat, constant), lambda _: None, lambda values: None)
        if self.joined:
            return self._joined_part(item, expression, of_column)
        null = {Null.KEPT: field.NULL, Null.DEFAULT: self._default(item), Null.ERROR: None}[item.null]
        if item.form is PlainForm.FEW:
            return _listed_part(expression, plain.FewValues(encoder_of(item, self.layout), None, null))
        write = _LISTED.get(item.form)
        return write and _listed_part(expression, partial(plain.with_nulls, write, null))

    def _joined_part(self, item: Column, expression: str, of_column: str | None) -> Part | None:
        if item.form in (PlainForm.TEXT, PlainForm.FEW) and of_column is not None and of_column not in self.texts:
            return None  # any other expression of these (`knowledge_nodes.source_in`) yields texts and NULLs alone
        if item.form is PlainForm.FEW:
            null = _marker()
            null_fields = {Null.KEPT: field.NULL, Null.DEFAULT: self._default(item), Null.ERROR: None}
            few = plain.FewValues(encoder_of(item, self.layout), null, null_fields[item.null])
            return Part((joined(expression, null),), partial(_write_split, few), _split, few)
        if item.form is PlainForm.VECTOR:
            return _vectors(expression, self.layout.dimension)
        if item.form is PlainForm.JSON and item.null is Null.DEFAULT and item.default == _EMPTY_OBJECT:
            return Part((joined(expression, b"{}"),), _objects, _split, plain.objects)
        found = _JOINED.get(item.form)
        return found and Part((joined(expression),), found[0], _split, found[1])

    def _default(self, item: Column) -> bytes:
        return field.timestamptz(self.run_start) if item.default is Special.RUN_START else item.default


def _marker() -> bytes:
    """Stands for NULL among joined values: no UTF-8, and a value that nobody can have foreseen."""
    while SEPARATOR in (marker := b"\xff" + os.urandom(15)):
        pass
    return marker


def _listed_part(expression: str, write: WriteList) -> Part:
    return Part((expression,), lambda count, values: write(values), lambda count, values: values, write)


def _vectors(expression: str, dimension: int | None) -> Part | None:
    if dimension is None or dimension > MAX_DIMENSION:
        return None
    size = dimension * FLOAT_BYTES

    def write(count: int, blobs: Any, marks: bytes) -> Fields | None:
        if b"2" in marks:
            return None
        of_right_length = marks.count(b"1")
        found = plain.vectors(blobs or b"", of_right_length, dimension)
        if found is None or of_right_length == count:
            return found
        following = iter(found)
        return [field.NULL if mark == ord("0") else next(following) for mark in marks]

    def listed(count: int, blobs: Any, marks: bytes) -> Sequence[Any] | None:
        if len(blobs or b"") != marks.count(b"1") * size:
            return None
        vectors = (blobs[start : start + size] for start in range(0, len(blobs or b""), size))
        return [None if mark == ord("0") else next(vectors) if mark == ord("1") else b"" for mark in marks]

    def write_list(values: Sequence[Any]) -> Fields | None:
        marks = b"".join([b"0" if value is None else b"1" if value else b"2" for value in values])
        return write(len(values), b"".join(value for value in values if value is not None), marks)

    return Part((joined_blobs(expression, size), lengths_marked(expression, size)), write, listed, write_list)


def _split(count: int, value: Any) -> list[bytes] | None:
    parts = value.split(SEPARATOR) if isinstance(value, bytes) else ()
    return list(parts) if len(parts) == count else None


def _write_split(write: WriteList, count: int, value: Any) -> Fields | None:
    parts = _split(count, value)
    return None if parts is None else write(parts)


def _uuids(count: int, value: Any) -> Fields | None:
    return plain.uuids(value, SEPARATOR, count) if isinstance(value, bytes) else None


def _times(count: int, value: Any) -> Fields | None:
    return plain.times(value, SEPARATOR, count) if isinstance(value, bytes) else None


def _texts(count: int, value: Any) -> Fields | None:
    parts = _split(count, value)
    return None if parts is None else _written_texts(parts, value)


def _list_of_texts(values: Sequence[bytes]) -> Fields | None:
    return _written_texts(values, SEPARATOR.join(values))


def _written_texts(values: Sequence[bytes], together: bytes) -> Fields | None:
    return plain.texts(values) if NULL not in values and plain.are_storable(together) else None


def _objects(count: int, value: Any) -> Fields | None:
    parts = _split(count, value)
    return None if parts is None else plain.objects(parts, value)


def _list_of_uuids(values: Sequence[bytes]) -> Fields | None:
    return plain.uuids(SEPARATOR.join(values), SEPARATOR, len(values))


def _list_of_times(values: Sequence[bytes]) -> Fields | None:
    return plain.times(SEPARATOR.join(values), SEPARATOR, len(values))


_JOINED: dict[PlainForm | None, tuple[Write, WriteList]] = {
    PlainForm.UUID: (_uuids, _list_of_uuids),
    PlainForm.TIME: (_times, _list_of_times),
    PlainForm.TEXT: (_texts, _list_of_texts),
    PlainForm.JSON: (_objects, plain.objects),
}

_LISTED: dict[PlainForm | None, WriteList] = {
    PlainForm.UUID: _list_of_uuids,
    PlainForm.TIME: _list_of_times,
    PlainForm.TEXT: _list_of_texts,
    PlainForm.JSON: plain.objects,
    PlainForm.FLOAT: plain_floats,
    PlainForm.INT4: partial(plain_integers, bits=32),
    PlainForm.INT2: partial(plain_integers, bits=16),
}
