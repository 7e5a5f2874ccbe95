"""A table's rows with nothing odd about them: read in chunks and written as COPY fields with few Python objects.

This is the path of nearly all rows, and it decides nothing: whatever is not plain (`base.Form`), and whatever
PostgreSQL refuses of it, is read again and encoded by `careful.BatchEncoder`, which knows what stands for a bad
value (docs/bad-rows.md). Of a chunk with a few odd rows these alone are left to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from vestige_migrate.encode.odd_rows import Kept, Written, find_all_odd, find_odd
from vestige_migrate.encode.plain_parts import Part, PartMaker
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.aggregates import extra_expression, rowids, split_rowids
from vestige_migrate.source.sqlite.quoting import column
from vestige_migrate.tables.base import Table
from vestige_migrate.tables.column_types import PlainForm
from vestige_migrate.wire import plain
from vestige_migrate.wire.batch import Fields
from vestige_migrate.wire.block import Prefixed
from vestige_migrate.wire.plain_extras import ExtraColumn, Members, join_members, may_be_merged, merge_members

_ROWID = column("rowid")
_NUMBERS = (PlainForm.FLOAT, PlainForm.INT4, PlainForm.INT2)


@dataclass(frozen=True)
class PlainRows:
    """Rows ready for COPY: a sequence of fields a column, in the order of `rowids`; `odd` are rowids of the others."""

    rowids: Callable[[], Sequence[int]]
    columns: list[Fields]
    odd: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.columns[0])

    def without(self, odd: Collection[int], kept: Kept) -> PlainRows:
        """The rest of them where those at `odd` are odd, too."""
        found = self.rowids()
        columns = [kept.fields(fields) for fields in self.columns] if len(kept) else [[]]
        more = [found[at] for at in sorted(odd)]
        return PlainRows(partial(kept.values, found), columns, [*self.odd, *more])


class PlainEncoder:
    """Encodes the rows of one table that are plain; `expressions` are what to read for it.

    With `joined` they are aggregates: the table has no column of numbers, whose exact value only SQLite's own has.
    `extras` are what to read, besides and row by row, of the columns without a place.
    """

    def __init__(self, parts: Sequence[Part], joined: bool, extras: _Extras | None = None) -> None:
        self._parts = parts
        self._extras = extras
        self.joined = joined
        self._first = ("count(*)", rowids()) if joined else (_ROWID,)
        self.expressions = (*self._first, *(expression for part in parts for expression in part.expressions))
        self.extras = (_ROWID, *extras.expressions) if extras is not None else ()

    @classmethod
    def of(
        cls, table: Table, source: TableSource, layout: Layout, run_start: datetime, texts: Collection[str]
    ) -> PlainEncoder | None:
        """None where the table has a column that is never plain. `texts` are its columns with TEXT affinity."""
        values = list(zip(table.columns, source.values, source.of_columns, strict=True))
        numbers = any(item.form in _NUMBERS for item, expression, _ in values if expression is not None)
        maker = PartMaker(layout, run_start, not numbers, frozenset(texts))
        parts = [maker.part(*value) for value in values]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        extras = _Extras(table.index("metadata"), source.extras, texts) if source.extras else None
        return cls(found, maker.joined, extras)

    def encode(self, values: Sequence[Any]) -> PlainRows | None:
        """The plain rows of a chunk; None where it cannot be told which they are, or too many are odd."""
        count = values[0] if self.joined else len(values[0])
        if not count:
            return PlainRows(list, [[]])
        found = partial(split_rowids, values[1]) if self.joined else partial(list, values[0])
        at = len(self._first)
        written = []
        for part in self._parts:
            end = at + len(part.expressions)
            raw = values[at:end]
            written.append(Written(part.write_list, part.write(count, *raw), partial(part.listed, count, *raw)))
            at = end
        extras: list[Written] = []
        if self._extras is not None:
            if list(values[at]) != found():  # two statements, and the rows of one are not those of the other
                return None
            extras = self._extras.written(values[at + 1 :])
        odd = find_all_odd([*written, *extras], count)
        if odd is None:
            return None
        rows = PlainRows(found, [])
        if odd:
            kept = Kept(count, odd)
            rows = rows.without(odd, kept)
            if not len(kept):
                return rows
            written, extras = ([item.keep(kept) for item in some] for some in (written, extras))
        rows = replace(rows, columns=[item.fields for item in written])
        if None in rows.columns:
            return None
        return rows if self._extras is None else self._extras.merge([item.fields for item in extras], rows)


class _Extras:
    """The columns without a place, which go into the column `at`."""

    def __init__(self, at: int, names: Sequence[str], texts: Collection[str]) -> None:
        self._at = at
        self._columns = [ExtraColumn(name, name in texts) for name in names]
        self.expressions = [extra_expression(column(name), name in texts) for name in names]

    def written(self, values: Sequence[Sequence[Any]]) -> list[Written]:
        """Their members of each row, a sequence a column."""
        return [
            Written(write, write(given), partial(tuple, given))
            for write, given in zip(self._columns, values, strict=True)
        ]

    def merge(self, members: Sequence[Members], rows: PlainRows) -> PlainRows | None:
        """The rows with the members added to their own metadata."""
        joined = join_members(members, len(rows))
        own = rows.columns[self._at]
        objects = own.contents if isinstance(own, Prefixed) else [value[plain.JSONB_PREFIX_BYTES :] for value in own]
        if not may_be_merged(objects):
            odd = find_odd(may_be_merged, objects)
            if odd is None:
                return None
            kept = Kept(len(rows), odd)
            rows = rows.without(odd, kept)
            if not len(kept):
                return rows
            objects, joined = kept.values(objects), kept.values(joined)
        rows.columns[self._at] = plain.jsonb(merge_members(objects, joined))
        return rows
