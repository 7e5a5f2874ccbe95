"""Two contents under one id: of rows that have one key one is stored, and the others must not go without a word.

Looked for where a row was found to be there already, so that a first copy of a file without such rows pays nothing;
compared by the workers of `verify`, which know what the copy would have written.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from loguru import logger

from vestige_migrate.copy.error_ledger import Cause
from vestige_migrate.copy.tally import Tally
from vestige_migrate.decode.ids import spellings
from vestige_migrate.decode.problem import Raw
from vestige_migrate.destination.load.presence import PresenceCheck
from vestige_migrate.plan import OnConflict, SqliteToPostgresPlan
from vestige_migrate.prepare.destination import ReadyDestination
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import RowError
from vestige_migrate.report.verification import Kind
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.layout.unique_keys import has_unique_key
from vestige_migrate.source.read.counts import has_user
from vestige_migrate.source.read.ranges import Range, Rows
from vestige_migrate.source.read.rows import Row, list_keys, read_value_by_key
from vestige_migrate.tables import TABLES
from vestige_migrate.tables.base import BOOTSTRAP_USER, Evidence, Refresh, Table
from vestige_migrate.tables.other_content import other_content_kept
from vestige_migrate.tables.row_names import name_key
from vestige_migrate.verify.comparing_pool import ComparingPool
from vestige_migrate.wire.field import NULL

if TYPE_CHECKING:
    from vestige_migrate.copy.same_keys import SameKey

_ROWS_AT_ONCE = 2000


class RepeatedRows:
    """Names the rows of one file whose content is not there because another content is, under the same key.

    `earlier` are the files of the same copy that came before it.
    """

    def __init__(
        self,
        plan: SqliteToPostgresPlan,
        source: PreparedSource,
        sources: Mapping[str, TableSource],
        destination: ReadyDestination,
        earlier: Sequence[PreparedSource],
    ) -> None:
        self._plan = plan
        self._source = source
        self._sources = sources
        self._destination = destination
        self._earlier = earlier

    def name(self, report: MigrationReport, tally: Tally, pool: Callable[[], ComparingPool]) -> None:
        """Compares, after the load, and tells the tally. `pool` makes workers that compare.

        Raises psycopg.OperationalError where the session is lost.
        """
        for name, source in self._sources.items():
            if self._is_in_doubt(name, source, report.tables[name].skipped, name in tally.doubtful):
                self._name_rows(self._destination.shapes.table(name), source, tally, pool)

    def _is_in_doubt(self, name: str, source: TableSource, skipped: int, is_doubtful: bool) -> bool:
        connection = self._source.connection
        if name == "users" and skipped and has_user(connection, BOOTSTRAP_USER):
            skipped -= 1  # the user `local` is on both sides from the start
        return skipped > 0 and (is_doubtful or bool(self._earlier) or not has_unique_key(connection, source))

    def _name_rows(self, table: Table, source: TableSource, tally: Tally, pool: Callable[[], ComparingPool]) -> None:
        from vestige_migrate.copy.same_keys import find_same_keys  # here: it needs numpy, which most copies do without

        groups = find_same_keys(table, (self._source.connection, source), self._sides(table))
        if not groups:
            return
        logger.info("{}: comparing rows that have one key with what is there", table.name)
        ids = self._find_different(table, source, groups, pool())
        lost = self._lost_by_time(table, source, list(ids)) if self._plan.on_conflict is OnConflict.NEWER else set()
        refused = tally.refused(table.name)
        errors = [
            self._error(table, source, group, rowid, ids[rowid])
            for group in groups
            for rowid in _not_there(group, ids, refused)
            if rowid not in lost
        ]
        tally.name(table.name, Cause.OTHER_CONTENT, errors)
        tally.not_there(table.name, len(errors))

    def _sides(self, table: Table) -> list[tuple[sqlite3.Connection, TableSource]]:
        found = [(earlier.connection, table.source_in(earlier.layout)) for earlier in self._earlier]
        return [(connection, source) for connection, source in found if source is not None]

    def _find_different(
        self, table: Table, source: TableSource, groups: Sequence[SameKey], pool: ComparingPool
    ) -> dict[int, str]:
        """The rowids, each with the id of its row, of rows that are there with another content."""
        connection = self._source.connection
        different: dict[int, str] = {}
        for range_, differences in pool.differences(_ranges(table, groups)).items():
            rowids = {name_key(table, key): _rowid(rowid) for rowid, *key in list_keys(connection, source, range_)}
            for item in differences:
                if item.kind is Kind.DIFFERENT and item.id in rowids:
                    different[rowids[item.id]] = item.id
        return different

    def _lost_by_time(self, table: Table, source: TableSource, rowids: Sequence[int]) -> set[int]:
        """Those of the rows that are older than what is there: `--on-conflict newer` was asked for that.

        A schedule goes by its own reviews, or by the time of its memory.
        """
        if not rowids:
            return set()
        own = table.refresh_from(source)
        if own is None or own.evidence is not Evidence.REVIEWED:
            return self._lost_by_time_of_memory(table, source, rowids)
        values = [value for name in own.decides if (value := source.values[table.index(name)]) is not None]
        listed = list_keys(self._source.connection, source, Rows(table.name, 0, tuple(rowids)), *values)
        return self._older(table, own, listed) | self._lost_by_time_of_memory(table, source, rowids)

    def _lost_by_time_of_memory(self, table: Table, source: TableSource, rowids: Sequence[int]) -> set[int]:
        memories = TABLES["knowledge_nodes"]
        of_memories = self._sources[memories.name]
        refresh = memories.refresh_from(of_memories)
        if refresh is None or table.name not in (memories.name, refresh.companion):
            return set()
        (decides,) = refresh.decides
        expression = of_memories.values[memories.index(decides)]
        assert expression is not None  # or there were no rule
        connection = self._source.connection
        only = Rows(table.name, 0, tuple(rowids))
        if source.base == of_memories.base:
            rows = list_keys(connection, of_memories, only, expression)
        else:
            keys = list_keys(connection, source, only)
            spelt = [spelling for _, key in keys for spelling in spellings(name_key(memories, [key]))]
            times = {
                name_key(memories, [key]): time
                for key, time in read_value_by_key(connection, of_memories, expression, spelt)
            }
            rows = [(rowid, key, times.get(name_key(memories, [key]))) for rowid, key in keys]
        return self._older(memories, refresh, rows)

    def _older(self, table: Table, refresh: Refresh, rows: Sequence[Row]) -> set[int]:
        """The rowids of rows (rowid, id, *what decides) that are before the one that is there."""
        if not rows:
            return set()
        from vestige_migrate.encode.encoders import encoder_of  # here: it needs numpy, which most copies do without

        columns = [table.columns[table.index(name)] for name in (table.key[0], *refresh.decides)]
        rowids, *values = zip(*rows, strict=True)
        encoded = [
            encoder_of(column, self._source.layout)(some).fields for column, some in zip(columns, values, strict=True)
        ]
        # None: it cannot be read, and says nothing of which is older.
        fields = list(zip(*encoded, strict=True))
        known = [at for at, row in enumerate(fields) if None not in row and row[0] != NULL]
        if not known:
            return set()
        asked = [[part[at] or NULL for at in known] for part in encoded]
        later = PresenceCheck(self._destination.main, table, refresh).find(asked).later
        return {_rowid(rowids[known[at]]) for at in later}

    def _error(self, table: Table, source: TableSource, group: SameKey, rowid: int, id_: str) -> RowError:
        file = self._source.info.path if group.before else ""
        return other_content_kept(table, id_, f"row {rowid} of {source.base}", file)


def _ranges(table: Table, groups: Sequence[SameKey]) -> list[Range]:
    """The rows, so that no range has two of one key: what is said of an id is then said of one row."""
    ranges: list[Range] = []
    for turn in range(max(len(group.rowids) for group in groups)):
        rowids = [group.rowids[turn] for group in groups if len(group.rowids) > turn]
        for start in range(0, len(rowids), _ROWS_AT_ONCE):
            some = tuple(rowids[start : start + _ROWS_AT_ONCE])
            ranges.append(Rows(table.name, len(ranges), some))
    return ranges


def _not_there(group: SameKey, ids: Mapping[int, str], refused: Counter[str]) -> list[int]:
    """The rows of one key that are to be named: those whose content is not there.

    Where none of a file's own contents is, the destination has an older or a newer one of its own: the first row stays
    behind like any other row that is there already. Rows that PostgreSQL refused have been named.
    """
    different = [rowid for rowid in group.rowids if rowid in ids]
    if not different:
        return []
    named = min(refused[ids[different[0]]], len(different))
    if len(different) == len(group.rowids) and not group.before:
        return different[max(1, named) :]
    return different[: len(different) - named]


def _rowid(value: Raw) -> int:
    assert isinstance(value, int)
    return value
