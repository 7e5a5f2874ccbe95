"""A table's rows with nothing odd about them: read in chunks and written as COPY fields with few Python objects.

This is the path of nearly all rows, and it decides nothing: whatever is not plain (`base.Form`), and whatever
PostgreSQL refuses of it, is read again and encoded by `careful.BatchEncoder`, which knows what stands for a bad
value (docs/bad-rows.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from vestige_migrate.decode.vector import FLOAT_BYTES
from vestige_migrate.encode.encoders import encoder_of
from vestige_migrate.limits import MAX_DIMENSION
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.aggregates import (
    NULL,
    SEPARATOR,
    count_of_length,
    joined,
    joined_blobs,
    presence,
    rowids,
    split_rowids,
)
from vestige_migrate.source.sqlite.quoting import column
from vestige_migrate.tables.base import Column, Null, Special, Table
from vestige_migrate.tables.column_types import PlainForm
from vestige_migrate.wire import field, plain
from vestige_migrate.wire.batch import Fields
from vestige_migrate.wire.block import Block
from vestige_migrate.wire.column import plain_floats, plain_integers

Write = Callable[..., Fields | None]
"""(number of rows, what each expression gave) -> fields; None where a value is not plain."""

_EMPTY_OBJECT = field.jsonb("{}")
_ROWID = column("rowid")


@dataclass(frozen=True)
class _Part:
    """What is read for one column, and how it is written."""

    expressions: tuple[str, ...]
    write: Write


class PlainRows(NamedTuple):
    """Rows ready for COPY: a sequence of fields a column, in the order of `rowids`."""

    rowids: Callable[[], Sequence[int]]
    columns: list[Fields]

    def __len__(self) -> int:
        return len(self.columns[0])


class PlainEncoder:
    """Encodes the chunks of one table that are plain throughout; `expressions` are what to read for it.

    With `joined` they are aggregates: the table has no column of numbers, whose exact value only SQLite's own has.
    """

    def __init__(self, parts: Sequence[_Part], joined: bool) -> None:
        self._parts = parts
        self.joined = joined
        first = ("count(*)", rowids()) if joined else (_ROWID,)
        self.expressions = (*first, *(expression for part in parts for expression in part.expressions))

    @classmethod
    def of(
        cls, table: Table, source: TableSource, layout: Layout, run_start: datetime, texts: Collection[str]
    ) -> PlainEncoder | None:
        """None where the table has a column that is never plain. `texts` are its columns with TEXT affinity."""
        if source.extras:
            return None
        values = list(zip(table.columns, source.values, source.of_columns, strict=True))
        numbers = any(item.form in _NUMBERS for item, expression, _ in values if expression is not None)
        context = _Context(layout, run_start, not numbers, frozenset(texts))
        parts = [context.part(*value) for value in values]
        found = [part for part in parts if part is not None]
        return cls(found, context.joined) if len(found) == len(parts) else None

    def encode(self, values: Sequence[Any]) -> PlainRows | None:
        """The rows of a chunk; None where a value is not plain."""
        if self.joined:
            count, joined_rowids = values[0], values[1]
            found = partial(split_rowids, joined_rowids)
        else:
            count, found = len(values[0]), partial(list, values[0])
        at, columns = len(self.expressions) - sum(len(part.expressions) for part in self._parts), []
        if not count:
            return PlainRows(list, [[]])
        for part in self._parts:
            end = at + len(part.expressions)
            fields = part.write(count, *values[at:end])
            if fields is None:
                return None
            columns.append(fields)
            at = end
        return PlainRows(found, columns)


@dataclass(frozen=True)
class _Context:
    """What the parts of one table have in common."""

    layout: Layout
    run_start: datetime
    joined: bool
    texts: frozenset[str]

    def part(self, item: Column, expression: str | None, of_column: str | None) -> _Part | None:
        """None where the column is never plain."""
        if expression is None:
            return _Part((), partial(_constant, field.NULL if item.null is Null.KEPT else self._default(item)))
        if self.joined:
            return self._joined_part(item, expression, of_column)
        if item.form is PlainForm.FEW:
            return _Part((expression,), partial(_listed_few, self._few(item, None)))
        write = _LISTED.get(item.form)
        null = {Null.KEPT: field.NULL, Null.DEFAULT: self._default(item), Null.ERROR: None}[item.null]
        return write and _Part((expression,), partial(plain.with_nulls, write, null))

    def _joined_part(self, item: Column, expression: str, of_column: str | None) -> _Part | None:
        if item.form in (PlainForm.TEXT, PlainForm.FEW) and of_column is not None and of_column not in self.texts:
            return None  # any other expression of these (`knowledge_nodes.source_in`) yields texts and NULLs alone
        if item.form is PlainForm.FEW:
            null = _marker()
            return _Part((joined(expression, null),), partial(_joined_few, self._few(item, null)))
        if item.form is PlainForm.VECTOR:
            return _vectors(expression, self.layout.dimension)
        write = _JOINED.get(item.form)
        if item.form is PlainForm.JSON and item.null is Null.DEFAULT and item.default == _EMPTY_OBJECT:
            return _Part((joined(expression, b"{}"),), _objects)
        return write and _Part((joined(expression),), write)

    def _few(self, item: Column, null: bytes | None) -> plain.FewValues:
        null_fields = {Null.KEPT: field.NULL, Null.DEFAULT: self._default(item), Null.ERROR: None}
        return plain.FewValues(encoder_of(item, self.layout), null, null_fields[item.null])

    def _default(self, item: Column) -> bytes:
        return field.timestamptz(self.run_start) if item.default is Special.RUN_START else item.default


def _marker() -> bytes:
    """Stands for NULL among joined values: no UTF-8, and a value that nobody can have foreseen."""
    while SEPARATOR in (marker := b"\xff" + os.urandom(15)):
        pass
    return marker


def _constant(value: bytes, count: int) -> Fields:
    return Block.repeat(value, count)


def _listed_few(few: plain.FewValues, count: int, values: Sequence[Any]) -> Fields | None:
    return few(values)


def _joined_few(few: plain.FewValues, count: int, value: Any) -> Fields | None:
    parts = _split(value, count)
    return None if parts is None else few(parts)


def _vectors(expression: str, dimension: int | None) -> _Part | None:
    if dimension is None or dimension > MAX_DIMENSION:
        return None

    def write(count: int, blobs: Any, of_right_length: int, marks: Any) -> Fields | None:
        if of_right_length != marks.count(b"1"):
            return None
        found = plain.vectors(blobs or b"", of_right_length, dimension)
        if found is None or of_right_length == count:
            return found
        following = iter(found)
        return [field.NULL if mark == ord("0") else next(following) for mark in marks]

    expressions = (
        joined_blobs(expression),
        count_of_length(expression, dimension * FLOAT_BYTES),
        presence(expression),
    )
    return _Part(expressions, write)


def _split(value: Any, count: int) -> list[bytes] | None:
    parts = value.split(SEPARATOR) if isinstance(value, bytes) else ()
    return list(parts) if len(parts) == count else None


def _uuids(count: int, value: Any) -> Fields | None:
    return plain.uuids(value, SEPARATOR, count) if isinstance(value, bytes) else None


def _times(count: int, value: Any) -> Fields | None:
    return plain.times(value, SEPARATOR, count) if isinstance(value, bytes) else None


def _texts(count: int, value: Any) -> Fields | None:
    parts = _split(value, count)
    return None if parts is None or NULL in parts else plain.texts(parts)


def _objects(count: int, value: Any) -> Fields | None:
    parts = _split(value, count)
    return None if parts is None else plain.objects(parts, value)


_JOINED: dict[PlainForm | None, Write] = {
    PlainForm.UUID: _uuids,
    PlainForm.TIME: _times,
    PlainForm.TEXT: _texts,
    PlainForm.JSON: _objects,
}

_LISTED: dict[PlainForm | None, Callable[[Sequence[Any]], Fields | None]] = {
    PlainForm.UUID: lambda values: plain.uuids(SEPARATOR.join(values), SEPARATOR, len(values)),
    PlainForm.TIME: lambda values: plain.times(SEPARATOR.join(values), SEPARATOR, len(values)),
    PlainForm.TEXT: plain.texts,
    PlainForm.JSON: plain.objects,
    PlainForm.FLOAT: plain_floats,
    PlainForm.INT4: partial(plain_integers, bits=32),
    PlainForm.INT2: partial(plain_integers, bits=16),
}
_NUMBERS = (PlainForm.FLOAT, PlainForm.INT4, PlainForm.INT2)
