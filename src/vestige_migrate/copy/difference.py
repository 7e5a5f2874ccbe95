"""What is to be done with the rows of a range: asked of both sides by key, before any row is read."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from vestige_migrate.decode.problem import Raw
from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.load.presence import PresenceCheck
from vestige_migrate.encode.encoders import encoder_of
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.aggregates import SEPARATOR, split_rowids
from vestige_migrate.source.read.chunks import can_read_chunks, join_keys
from vestige_migrate.source.read.ranges import Range
from vestige_migrate.source.read.rows import Row, list_keys
from vestige_migrate.tables.base import Refresh, Table
from vestige_migrate.wire import field as wire
from vestige_migrate.wire.block import Block
from vestige_migrate.wire.column import UUID_CHARS as _UUID_CHARS
from vestige_migrate.wire.column import Encoder, texts, uuids
from vestige_migrate.wire.plain import uuids as uuid_block


@dataclass(frozen=True)
class Answer:
    """Rows of a range: rowids that the destination lacks, rowid and first key column of those that are outdated
    there, and how many stay as they are.

    `alike` are, where that was asked for, rowids of those that stay and are neither outdated nor later there.
    `unusual`: a key is written otherwise than Vestige writes it, so another row may have the same in its usual form.
    """

    new: Sequence[int]
    outdated: list[tuple[int, Raw]] = field(default_factory=list)
    kept: int = 0
    alike: Sequence[int] = ()
    unusual: bool = False


class KeyAsker:
    """Asks for one table. With `refresh` the columns that decide are read and compared together with the keys.

    `with_alike` asks for the rows that stay as well.
    """

    def __init__(
        self, table: Table, source: TableSource, refresh: Refresh | None, layout: Layout, with_alike: bool = False
    ) -> None:
        self._table = table
        self._source = source
        self._refresh = refresh
        self._with_alike = with_alike
        self._encoders: list[Encoder] = [uuids if kind == "uuid" else texts for kind in table.key_types]
        self._more: list[str] = []
        if refresh is not None:
            for at in map(table.index, refresh.decides):
                expression = source.values[at]
                assert expression is not None  # `Table.refresh_from` gives no rule without it
                self._more.append(expression)
                self._encoders.append(encoder_of(table.columns[at], layout))

    def ask(self, sqlite: sqlite3.Connection, postgres: Connection, range_: Range) -> Answer:
        """What the destination says of the range."""
        answer = self._ask_at_once(sqlite, postgres, range_)
        if answer is not None:
            return answer
        rows = list_keys(sqlite, self._source, range_, *self._more)
        if not rows:
            return Answer([])
        keys = self._encode(rows)
        parts = len(self._table.key)
        askable = _askable(keys[:parts])
        asked = keys if len(askable) == len(rows) else [[column[at] for at in askable] for column in keys]
        found = PresenceCheck(postgres, self._table, self._refresh).find(asked)
        absent = [askable[at] for at in found.absent]
        outdated = self._first_of_each_key(keys[:parts], [askable[at] for at in found.outdated])
        unusual = not self._are_usual(rows)
        alike: list[int] = []
        if self._with_alike:
            judged = {at for some in found for at in some}
            alike = self._first_of_each_key(keys[:parts], [row for at, row in enumerate(askable) if at not in judged])
        # A key that cannot be written (no UUID, NULL) is not there for certain: the row goes its normal way.
        unasked = set(range(len(rows))).difference(askable)
        return Answer(
            new=[_rowid(rows[at]) for at in sorted(unasked.union(absent))],
            outdated=[(_rowid(rows[at]), rows[at][1]) for at in outdated],
            kept=len(askable) - len(absent) - len(outdated),
            alike=[_rowid(rows[at]) for at in alike],
            unusual=unusual,
        )

    def _ask_at_once(self, sqlite: sqlite3.Connection, postgres: Connection, range_: Range) -> Answer | None:
        """The same without an object a key; None where that does not do: a key is no plain UUID, or more is asked."""
        if self._refresh is not None or set(self._table.key_types) != {"uuid"} or not can_read_chunks(sqlite):
            return None
        joined = join_keys(sqlite, self._source, range_)
        if not joined.count:
            return Answer([])
        keys = [uuid_block(part, SEPARATOR, joined.count) for part in joined.parts]
        asked = [key for key in keys if key is not None]
        if len(asked) < len(keys):
            return None
        absent = PresenceCheck(postgres, self._table).find(asked).absent
        unusual = joined.with_blob or any(part != part.lower() for part in joined.parts)
        rowids = split_rowids(joined.rowids) if absent or self._with_alike else []
        alike: Sequence[int] = ()
        if self._with_alike:
            new = set(absent)
            alike = [rowid for at, rowid in enumerate(rowids) if at not in new]
        kept = joined.count - len(absent)
        return Answer([rowids[at] for at in sorted(absent)], kept=kept, alike=alike, unusual=unusual)

    def _are_usual(self, rows: Sequence[Row]) -> bool:
        parts = list(zip(*rows, strict=True))[1 : 1 + len(self._table.key)]
        return all(map(_is_usual, self._table.key_types, parts))

    def _encode(self, rows: Sequence[Row]) -> list[Sequence[bytes]]:
        """The keys' columns, then those that decide; NULL where a value cannot be written."""
        columns = list(zip(*rows, strict=True))[1:]
        return [_writable(encode(values).fields) for encode, values in zip(self._encoders, columns, strict=True)]

    def _first_of_each_key(self, keys: Sequence[Sequence[bytes]], outdated: Sequence[int]) -> list[int]:
        """Of rows that are one row to the destination (ids in two spellings), only the first may replace it."""
        if not outdated:
            return []
        first: dict[tuple[bytes, ...], int] = {}
        for at, key in enumerate(zip(*keys, strict=True)):
            first.setdefault(key, at)
        return sorted(set(outdated).intersection(first.values()))


def _is_usual(kind: str, values: Sequence[Raw]) -> bool:
    """Whether all values of a part of the key are written as Vestige writes them; a NULL is of no key."""
    present = [value for value in values if value is not None]
    try:
        joined = "".join(present)  # type: ignore[arg-type]  # a TypeError is the test for "all are text"
        joined.encode()
    except (TypeError, UnicodeEncodeError):
        return False
    if kind != "uuid":
        return "\0" not in joined
    return {len(value) for value in present} <= {_UUID_CHARS} and "{" not in joined and joined == joined.lower()  # type: ignore[arg-type]


def _writable(fields: list[bytes | None] | Block) -> Sequence[bytes]:
    return fields if isinstance(fields, Block) else [wire.NULL if value is None else value for value in fields]


def _askable(keys: Sequence[Sequence[bytes]]) -> Sequence[int]:
    """The rows whose key can be written whole."""
    if all(isinstance(column, Block) for column in keys):
        return range(len(keys[0]))
    return [at for at, fields in enumerate(zip(*keys, strict=True)) if wire.NULL not in fields]


def _rowid(row: Row) -> int:
    rowid = row[0]
    assert isinstance(rowid, int)
    return rowid
