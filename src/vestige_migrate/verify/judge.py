"""Rows that are not in the destination: lost, or rows that the copy could not place there?"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from uuid import UUID

import psycopg
from psycopg import errors

from vestige_migrate.decode.ids import spellings
from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.load.droppable_values import without_refused
from vestige_migrate.destination.load.staging import RowFields
from vestige_migrate.encode.careful import BatchEncoder
from vestige_migrate.report.rows import Outcome, RowError
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.read.counts import is_any_stale
from vestige_migrate.source.read.rows import read_by_key
from vestige_migrate.tables import TABLES
from vestige_migrate.tables.base import Parent, Table
from vestige_migrate.verify.row_acceptance import Trial, objection
from vestige_migrate.wire import field

_PARENTS_AT_ONCE = 50
"""Whole rows of the parent table are read: few at a time, since nothing bounds their bytes."""
_KNOWN_PARENTS = 10_000
_LENGTH_BYTES = 4


class Judge:
    """Judges rows of one table, by what the source, the destination and PostgreSQL's own rules say."""

    def __init__(self, sqlite: sqlite3.Connection, postgres: Connection, layout: Layout, table: Table) -> None:
        self._sqlite = sqlite
        self._postgres = postgres
        self._layout = layout
        self._table = table
        self._trial = Trial(postgres, table)
        self._placeable: dict[tuple[str, bytes], bool] = {}

    def not_placeable(self, rows: Sequence[RowFields], ids: Sequence[str]) -> dict[int, RowError]:
        """The positions of those rows (absent in the destination) that a copy cannot place, each with its error."""
        found: dict[int, RowError] = {}
        for parent in reversed(self._table.parents):  # the copy names the last one of several
            self._find_orphans(parent, rows, ids, found)
        self._find_refused(rows, ids, found)
        unique = self._table.unique
        if unique is not None:
            at = self._table.index(unique)
            for row in self._trial.taken([fields[at] for fields in rows]) - found.keys():
                message = f'violates unique constraint "{self._table.name}_{unique}_key"'
                state = errors.UniqueViolation.sqlstate
                found[row] = self._error(ids[row], None, message, state)
        return found

    def lacks(self, fields: RowFields, column: int) -> psycopg.Error | None:
        """Why a row stands without this droppable column's value: PostgreSQL's objection, None where it has none."""
        if self._objection(fields) is None:
            return None
        found = without_refused(self._table, fields, self._objection)
        return found[1].get(column) if found is not None else None

    def is_stale(self, key: bytes) -> bool:
        """Whether the source says of this memory, by its key's field, that its vector is of an earlier text."""
        return self._table.name == "knowledge_nodes" and is_any_stale(self._sqlite, self._layout, _spellings(key))

    def _objection(self, fields: RowFields) -> psycopg.Error | None:
        return self._trial.refused([fields]).get(0)

    def _error(self, id_: str, column: str | None, message: str, state: str | None) -> RowError:
        return RowError(self._table.name, id_, column, message, Outcome.NOT_COPIED, state)

    def _find_orphans(
        self, parent: Parent, rows: Sequence[RowFields], ids: Sequence[str], found: dict[int, RowError]
    ) -> None:
        at = self._table.index(parent.column)
        orphans = sorted(self._trial.orphans(parent, [fields[at] for fields in rows]) - found.keys())
        lost = self._lost_parents(parent, {rows[row][at] for row in orphans})
        message = f'violates foreign key "{parent.constraint}": what it refers to is not there'
        for row in orphans:
            # A parent that the destination lost takes its dependents along: those are lost as well.
            if rows[row][at] not in lost:
                found[row] = self._error(ids[row], parent.column, message, errors.ForeignKeyViolation.sqlstate)

    def _lost_parents(self, parent: Parent, keys: set[bytes]) -> set[bytes]:
        """Those of the keys whose row is in the source and could be in the destination."""
        if len(self._placeable) > _KNOWN_PARENTS:
            self._placeable.clear()
        unknown = sorted(key for key in keys if (parent.table, key) not in self._placeable)
        for start in range(0, len(unknown), _PARENTS_AT_ONCE):
            some = unknown[start : start + _PARENTS_AT_ONCE]
            placeable = self._placeable_parents(TABLES[parent.table], some)
            self._placeable.update({(parent.table, key): key in placeable for key in some})
        return {key for key in keys if self._placeable[parent.table, key]}

    def _placeable_parents(self, table: Table, keys: Sequence[bytes]) -> set[bytes]:
        source = table.source_in(self._layout)
        if source is None:
            return set()
        rows_found = read_by_key(self._sqlite, source, [spelling for key in keys for spelling in _spellings(key)])
        if not rows_found:
            return set()
        batch = BatchEncoder(table, source, self._layout, None).encode(rows_found)
        if not len(batch):
            return set()
        rows = batch.rows()
        judge = Judge(self._sqlite, self._postgres, self._layout, table)
        refused = judge.not_placeable(rows, [""] * len(rows))
        at = table.index(table.key[0])
        return {fields[at] for row, fields in enumerate(rows) if row not in refused}

    def _find_refused(self, rows: Sequence[RowFields], ids: Sequence[str], found: dict[int, RowError]) -> None:
        left = [row for row in range(len(rows)) if row not in found]
        for at, error in self._trial.refused([rows[row] for row in left]).items():
            row = left[at]
            # One that is taken without a value it has is lost, too: the copy would have brought the rest of it.
            if without_refused(self._table, rows[row], self._objection) is None:
                found[row] = self._error(ids[row], error.diag.column_name, objection(error), error.sqlstate)


def _spellings(key: bytes) -> tuple[str, ...]:
    """The ways in which a source may write a UUID."""
    return spellings(str(UUID(bytes=key[_LENGTH_BYTES:])))


def is_unknown(value: bytes) -> bool:
    """Whether the field stands for the start of a copy, which a comparison cannot know."""
    return value == field.UNKNOWN_TIME
