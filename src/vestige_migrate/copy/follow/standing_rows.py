"""Rows that are named: each as long as it is what it was named for, from pass to pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vestige_migrate.copy.follow.source_changes import WatchedSource
from vestige_migrate.decode.ids import spellings
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import NIL_UUID, Outcome, RowError
from vestige_migrate.source.read.ranges import Rows
from vestige_migrate.source.read.rows import list_keys, read_value_by_key
from vestige_migrate.tables.base import Table
from vestige_migrate.tables.row_names import name_key
from vestige_migrate.tables.shapes import Shapes
from vestige_migrate.verify.extra_rows import count_ids

_BETWEEN_PARTS = " -> "


class StandingRows:
    """Of the run's report, which is kept up to date."""

    def __init__(self, report: MigrationReport, watched: WatchedSource, shapes: Shapes) -> None:
        self._report = report
        self._watched = watched
        self._shapes = shapes

    @property
    def rows_with_errors(self) -> int:
        """Rows that have one."""
        return len({(error.table, error.id) for error in self._report.errors})

    def refused(self) -> dict[str, list[int]]:
        """The rowids of rows that were not copied, by table: what they wait for may have come."""
        found: dict[str, list[str]] = {}
        waiting = [error for error in self._report.errors if error.outcome is Outcome.NOT_COPIED]
        for error in (*waiting, *self._report.still_open):
            if error.id != NIL_UUID:
                found.setdefault(error.table, []).append(error.id)
        return {name: self._rowids(name, ids) for name, ids in found.items() if name in self._watched.sources}

    def _rowids(self, name: str, ids: Sequence[str]) -> list[int]:
        source, table = self._watched.sources[name], self._shapes.table(name)
        connection, wanted = self._watched.prepared.connection, set(ids)
        firsts = dict.fromkeys(id_.split(_BETWEEN_PARTS)[0] for id_ in ids)
        spelt = [way for first in firsts for way in (spellings(first) if table.key_types[0] == "uuid" else (first,))]
        rowids = [rowid for _, rowid in read_value_by_key(connection, source, "n.rowid", spelt) if type(rowid) is int]
        return [rowid for rowid, id_ in self._names(table, rowids).items() if id_ in wanted]

    def _names(self, table: Table, rowids: Sequence[int]) -> dict[int, str]:
        """The rows' names, by rowid."""
        if not rowids:
            return {}
        source = self._watched.sources[table.name].by_rowid()
        rows = list_keys(self._watched.prepared.connection, source, Rows(table.name, 0, tuple(rowids)))
        return {rowid: name_key(table, key) for rowid, *key in rows if type(rowid) is int}

    def take_in(self, found: MigrationReport, rowids: Mapping[str, Sequence[int]], let_go: bool) -> None:
        """What a pass found about these rows takes the place of what was said of them before. `let_go`: the source has
        no more of some rows, of which nothing is to be said then."""
        report = self._report
        before = (*report.errors, *report.kept, *report.still_open)
        tables = {row.table for row in before} & self._watched.sources.keys()
        over = {
            (name, id_)
            for name in tables
            for id_ in self._names(self._shapes.table(name), rowids.get(name, ())).values()
        }
        if let_go:
            for name in tables:
                ids = {row.id for row in before if row.table == name and row.id != NIL_UUID}
                table = self._shapes.table(name)
                there = count_ids(table, [(self._watched.prepared.connection, self._watched.sources[name])], ids)
                over |= {(name, id_) for id_ in ids if not there[id_]}
        report.errors = _joined(report.errors, over, found.errors)
        report.kept = _joined(report.kept, over, found.kept)
        report.still_open = _joined(report.still_open, over, found.still_open)
        report.replaced_vectors = list(dict.fromkeys((*report.replaced_vectors, *found.replaced_vectors)))
        report.forgotten = sorted({*report.forgotten, *found.forgotten})


def _joined(before: Iterable[RowError], over: set[tuple[str, str]], found: Sequence[RowError]) -> list[RowError]:
    """Each once, in the order in which they were said first."""
    standing = [row for row in before if row.id == NIL_UUID or (row.table, row.id) not in over]
    return list(dict.fromkeys((*standing, *found)))
