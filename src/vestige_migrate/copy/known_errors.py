"""Errors of earlier runs: does a row that was altered then still stand as it was?

What an earlier run refused is tried by every run. A row that it altered is there, and is not looked at again: its error
holds until a run brings it whole, or somebody else gives it a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg import sql

from vestige_migrate.decode.ids import spellings
from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours
from vestige_migrate.destination.load.named_rows import key_parameters, named_rows
from vestige_migrate.destination.load.stored_form import same_key
from vestige_migrate.destination.schema.run_tables import BATCHES, Run, as_copied
from vestige_migrate.encode.careful import BatchEncoder
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.report.rows import ALTERED, RowError
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.rows import read_by_key
from vestige_migrate.tables.base import Table
from vestige_migrate.tables.shapes import Shapes
from vestige_migrate.verify.batch_comparer import BatchComparer
from vestige_migrate.verify.extra_rows import count_ids
from vestige_migrate.verify.judge import Judge

_AT_ONCE = 500

_Place = tuple[str, str | None]
"""A row's name, and a column."""


class KnownErrors:
    """Settles the errors of earlier runs about rows of one file: those that are `holding`, and those that are `over`.

    `is_whole`: this run has dealt with every row. `looks_at_all`: it has compared those that were there.
    """

    def __init__(
        self,
        postgres: Connection,
        run: Run,
        source: PreparedSource,
        shapes: Shapes,
        is_whole: bool,
        looks_at_all: bool,
    ) -> None:
        self._postgres = postgres
        self._run = run
        self._source = source
        self._shapes = shapes
        self._is_whole = is_whole
        self._looks_at_all = looks_at_all
        self.holding: list[RowError] = []
        self.over: list[RowError] = []
        self.elsewhere: list[RowError] = []
        """Of rows that this file has not."""

    def settle(self, name: str, source: TableSource, known: Sequence[RowError]) -> None:
        """Those of one table. Errors of rows that this file has not may be another file's."""
        table = self._shapes.table(name)
        in_source = count_ids(table, [(self._source.connection, source)], {error.id for error in known})
        mine = [error for error in known if in_source[error.id]]
        self.elsewhere += [error for error in known if not in_source[error.id]] if self._is_whole else []
        altered = {error.id for error in mine if error.outcome in ALTERED}
        there = self._there(table, altered)
        changed = [id_ for id_, is_as_copied in there.items() if self._looks_at_all or not is_as_copied]
        mended = self._mended(table, source, changed, [error for error in mine if error.outcome in ALTERED])
        for error in mine:
            if error.outcome not in ALTERED:
                self.over += [error] if self._is_whole else []
            elif error.id in there and (error.id, error.column) not in mended:
                self.holding.append(error)
            else:
                self.over.append(error)

    def _there(self, table: Table, ids: Iterable[str]) -> dict[str, bool]:
        """Those of the rows that are there, and were not written by this run; whether each is as a copy wrote it."""
        asked = sorted(ids)
        if table.stored is not None:
            return dict.fromkeys(asked, True)  # its rows are never replaced
        if not asked:
            return {}
        query = sql.SQL(
            "SELECT k.ordinal, {} FROM {} AS k JOIN {} AS t ON {}"
            " WHERE NOT EXISTS (SELECT FROM {} AS b WHERE b.row_xmin = t.xmin::text::bigint AND b.table_name = {}"
            " AND b.run_id = %s)"
        ).format(
            as_copied(self._postgres, table.name, self._run),
            named_rows(table),
            ours(self._postgres, table.name),
            same_key(table, "k"),
            ours(self._postgres, BATCHES),
            sql.Literal(table.name),
        )
        found = self._postgres.execute(query, [*key_parameters(table, asked), self._run.id])
        return {asked[ordinal - 1]: is_as_copied for ordinal, is_as_copied in found}

    def _mended(self, table: Table, source: TableSource, ids: Sequence[str], known: Sequence[RowError]) -> set[_Place]:
        """Where the error is none any more: of values that cannot be read the destination has one of its own, or what
        the source has now is there."""
        if not ids:
            return set()
        differing: set[_Place] = set()
        unreadable: set[_Place] = set()
        compared: set[str] = set()
        encoder = BatchEncoder(table, source, self._source.layout, None)
        judge = Judge(self._source.connection, self._postgres, self._source.layout, table)
        comparer = BatchComparer(table, source, self._postgres, judge)
        for start in range(0, len(ids), _AT_ONCE):
            # By the first part of the key: rows that share it and were not asked about make no difference below.
            firsts = dict.fromkeys(key_parameters(table, ids[start : start + _AT_ONCE])[0])
            spelt = [
                way for first in firsts for way in (spellings(first) if table.key_types[0] == "uuid" else (first,))
            ]
            rows = read_by_key(self._source.connection, source, spelt)
            if not rows:
                continue
            batch = encoder.encode(rows)
            verdict = comparer.compare(batch)
            compared.update(batch.id_of(row) for row in range(len(batch)))
            unreadable.update((error.id, error.column) for error in verdict.errors)
            differing.update((item.id, column) for item in verdict.differences.values() for column in item.columns)
        places = {(error.id, error.column) for error in known if error.id in compared}
        return {place for place in places if (place in differing) == (place in unreadable)}
