"""The source's rows that have no place in the destination: are they in `vestige_archive`, or only in the file?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import in_advice
from vestige_migrate.destination.load.archive_table import ARCHIVE
from vestige_migrate.errors import SourceIncomplete
from vestige_migrate.limits import BATCH_BYTES
from vestige_migrate.prepare.archive_rows import encode
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.progress import OnProgress, Progress
from vestige_migrate.report.archive_comparison import ArchiveComparison, ArchiveDemand, ArchiveState
from vestige_migrate.report.verification import Difference, Kind
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.layout.vectors import unplaced_condition
from vestige_migrate.source.read.any_table import AnyTable
from vestige_migrate.source.read.counts import CACHES, left_behind
from vestige_migrate.source.sqlite.connect import open_source
from vestige_migrate.tables.unreadable_rows import tables_of_lost
from vestige_migrate.verify import archived_rows as archived

_BATCH_ROWS = 2000
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass
class _Leftover:
    """What one source leaves behind: rows by table, and those of them that a damaged file has lost."""

    source: PreparedSource
    rows: dict[str, int]
    lost: Counter[str]

    @property
    def to_archive(self) -> dict[str, int]:
        """What `--archive` would keep of it."""
        return {name: rows for name, rows in self.rows.items() if name not in CACHES}


@dataclass
class _Evidence:
    """Was this source archived at all? UUIDs tell; numbers and rows of settings are alike in all files."""

    telling: int = 0
    telling_known: int = 0
    others: int = 0
    others_known: int = 0
    others_same: int = 0

    def add(self, keys: Sequence[str], looked: archived.Looked) -> None:
        """Takes a batch."""
        absent = set(looked.absent)
        for at, key in enumerate(keys):
            if _UUID.search(key):
                self.telling += 1
                self.telling_known += at in looked.known
            else:
                self.others += 1
                self.others_known += at in looked.known
                self.others_same += at not in absent

    @property
    def is_of_this_source(self) -> bool:
        """Whether rows of it were archived once: one of its UUIDs is there, or half of its other rows as they are."""
        if self.telling_known or not self.telling:
            return bool(self.telling_known or self.others_known)
        return 0 < self.others <= 2 * self.others_same


class ArchiveCheck:
    """Looks into the archive for all that the sources leave behind. `found` and `differences` are what it found."""

    def __init__(
        self,
        postgres: Connection,
        sources: Sequence[tuple[PreparedSource, Mapping[str, TableSource]]],
        demand: ArchiveDemand,
        on_progress: OnProgress | None,
    ) -> None:
        self._postgres = postgres
        self._demand = demand
        self._on_progress = on_progress
        self._leftovers = [_leftover(source, tables) for source, tables in sources]
        self._expected = sum(sum(leftover.to_archive.values()) for leftover in self._leftovers)
        self._read: int | None = None
        """None where no row was looked for."""
        self.found = ArchiveComparison(demand)
        self.differences: list[Difference] = []

    def run(self) -> None:
        """Looks for every row."""
        absent = _why_not_looked_at(self._postgres)
        # One without any row may have been emptied, so it is not taken for one that never had these.
        emptied = absent is None and archived.is_empty(self._postgres)
        self._read = None if absent else 0
        total: Counter[str] = Counter()
        for leftover in self._leftovers:
            total.update(leftover.rows)
            total.update(leftover.lost)
            self._run(leftover, absent, emptied)
        self.found.rows = {name: rows for name, rows in sorted(total.items()) if name not in CACHES}
        left = {name: rows - self.found.archived.get(name, 0) for name, rows in sorted(total.items())}
        self.found.left_behind = {name: rows for name, rows in left.items() if rows > 0}

    def check_complete(self) -> None:
        """Raises `SourceIncomplete` where other rows were read than the sources hold. Not for one that changed."""
        if self._read is not None and self._read != self._expected:
            raise SourceIncomplete(
                f"{self._read} rows without a place in the destination were read, and the source holds "
                f"{self._expected}: the comparison is not complete. Check the file with PRAGMA integrity_check"
            )

    def _run(self, leftover: _Leftover, absent: ArchiveState | None, emptied: bool) -> None:
        differences: list[Difference] = []
        evidence = _Evidence()
        if absent is None:
            for name in leftover.to_archive:
                self._look(leftover.source, name, differences, evidence)
        else:
            archive = in_advice(self._postgres, ARCHIVE)
            differences = [_none_archived(name, rows, absent, archive) for name, rows in leftover.to_archive.items()]
        differences += [_lost(name, rows) for name, rows in leftover.lost.items()]
        compared = emptied or not differences or evidence.is_of_this_source
        state = absent or (ArchiveState.COMPARED if compared else ArchiveState.NONE_OF_THIS_SOURCE)
        if not leftover.to_archive and not leftover.lost:
            state = ArchiveState.NOTHING_TO_ARCHIVE
        self.found.states.append(state)
        of_this_source = state in (ArchiveState.COMPARED, ArchiveState.UNREADABLE)
        if self._demand is ArchiveDemand.ALL or (self._demand is ArchiveDemand.OF_THIS_SOURCE and of_this_source):
            self.differences += differences

    def _look(self, source: PreparedSource, name: str, differences: list[Difference], evidence: _Evidence) -> None:
        """Looks for the rows of one table."""
        reader = archived.ArchiveReader(self._postgres, name)
        there = 0
        for keys, looked in self._batches(source, name, reader):
            evidence.add(keys, looked)
            there += len(keys) - len(looked.absent)
            differences += [_not_archived(name, keys[at], looked.reasons.get(at)) for at in looked.absent]
        self.found.archived[name] = self.found.archived.get(name, 0) + there

    def _batches(
        self, source: PreparedSource, name: str, reader: archived.ArchiveReader
    ) -> Iterator[tuple[list[str], archived.Looked]]:
        with closing(open_source(source.file)) as connection:
            table = AnyTable(connection, name)
            for batch in table.batches(unplaced_condition(source.layout, name), _BATCH_ROWS, BATCH_BYTES):
                rows = [encode(table, row) for row in batch]
                looked = reader.look(rows)
                yield [row.key for row in rows], looked
                self._tell(len(rows))

    def _tell(self, rows: int) -> None:
        self._read = (self._read or 0) + rows
        if self._on_progress is not None:
            self._on_progress(Progress("archive", self._read, max(self._read, self._expected)))


def _leftover(source: PreparedSource, tables: Mapping[str, TableSource]) -> _Leftover:
    rows = left_behind(source.connection, source.layout, {table.base for table in tables.values()})
    named = tables_of_lost(source.lost, tables) - CACHES.keys()
    return _Leftover(source, rows, Counter(row.table for row in source.lost if row.table in named))


def _why_not_looked_at(postgres: Connection) -> ArchiveState | None:
    if not archived.is_there(postgres):
        return ArchiveState.NO_ARCHIVE
    return None if archived.is_readable(postgres) else ArchiveState.UNREADABLE


def _not_archived(table: str, key: str, reason: str | None) -> Difference:
    detail = f"not in {ARCHIVE}: jsonb does not hold it ({reason})" if reason else ""
    return Difference(table, key, Kind.NOT_ARCHIVED, detail=detail)


def _none_archived(table: str, rows: int, state: ArchiveState, archive: str) -> Difference:
    unreadable = f"cannot be read by this role: let its owner run GRANT SELECT ON {archive}, or connect as its owner"
    reason = unreadable if state is ArchiveState.UNREADABLE else "is not in the destination: copy with --archive"
    return Difference(table, _rows(rows), Kind.NOT_ARCHIVED, detail=f"not archived, {ARCHIVE} {reason}")


def _lost(table: str, rows: int) -> Difference:
    return Difference(table, _rows(rows), Kind.NOT_ARCHIVED, detail="cannot be read, the file is damaged")


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
