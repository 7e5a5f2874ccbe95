"""Keeps the report while messages come in, also when a range is copied a second time."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from loguru import logger

from vestige_migrate.copy.messages import BatchDone, ErrorsFound
from vestige_migrate.errors import TooManyErrors
from vestige_migrate.progress import OnProgress, Progress
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import NIL_UUID, Outcome, RowError, TableReport
from vestige_migrate.source.ranges import Range
from vestige_migrate.tables import TABLES
from vestige_migrate.workers.messages import Message, RangeDone, RangeFault, RangeSplit, RowGivenUp, WorkerLost

LOG_EVERY_MEMORIES = 1000
_FOREIGN_KEY = "23503"


@dataclass
class _RangeCount:
    """One range. `earlier` rows were inserted by tries that did not finish: the next try finds them there.

    So it is with the `renewed` ones, which they updated. `companions` were updated with their memories: once each,
    because a memory that was replaced is not outdated any more.
    """

    inserted: int = 0
    skipped: int = 0
    failed: int = 0
    updated: int = 0
    earlier: int = 0
    renewed: int = 0
    companions: int = 0
    unfinished: bool = True
    errors: list[RowError] = field(default_factory=list)
    known: Counter[RowError] = field(default_factory=Counter)
    parent: _RangeCount | None = None
    """The range that this one is a half of: it keeps the errors of batches that were committed before it was split."""
    doubtful: list[RowError] = field(default_factory=list)
    """Said before the coordinator lost its session, and perhaps not true any more: see `start_over`."""

    @property
    def rows(self) -> int:
        return self.inserted + self.skipped + self.failed + self.updated

    def restart(self) -> None:
        self.earlier += self.inserted
        self.renewed += self.updated
        self.inserted = self.skipped = self.failed = self.updated = 0
        self.known = Counter(self.errors)

    def inherit(self, error: RowError) -> bool:
        """Takes over an error that the range this one was split from had said already."""
        ancestor = self.parent
        while ancestor is not None:
            if error in ancestor.errors:
                ancestor.errors.remove(error)
                self.errors.append(error)
                return True
            ancestor = ancestor.parent
        return False

    def __add__(self, other: _RangeCount) -> _RangeCount:
        """The counts of two parts of one range."""
        return _RangeCount(
            self.inserted + other.inserted,
            self.skipped + other.skipped,
            self.failed + other.failed,
            self.updated + other.updated,
            self.earlier + other.earlier,
            self.renewed + other.renewed,
            unfinished=self.unfinished or other.unfinished,
        )

    def doubt(self) -> None:
        """Rows that were refused for want of another row, which the server may just have lost: they get a new try."""
        self.doubtful += [error for error in self.errors if error.sqlstate == _FOREIGN_KEY]
        self.errors = [error for error in self.errors if error.sqlstate != _FOREIGN_KEY]
        self.known = Counter(self.errors)

    def as_report(self) -> TableReport:
        found = min(self.earlier, self.skipped)
        renewed = min(self.renewed, self.skipped - found)
        # A run that stops here: these were committed, and no later try has come as far as to find them.
        inserted_before = self.earlier - found if self.unfinished else 0
        updated_before = self.renewed - renewed if self.unfinished else 0
        return TableReport(
            source_rows=self.rows + inserted_before + updated_before,
            inserted=self.inserted + found + inserted_before,
            skipped=self.skipped - found - renewed,
            failed=self.failed,
            updated=self.updated + renewed + updated_before,
        )


class Tally:
    """Turns messages into counts, errors, log lines and progress."""

    def __init__(
        self,
        report: MigrationReport,
        max_errors: int | None,
        on_progress: OnProgress | None,
        errors_before: int = 0,
    ) -> None:
        self._report = report
        self._max_errors = max_errors
        self._on_progress = on_progress
        self._ranges: dict[Range, _RangeCount] = {}
        self._totals: dict[str, int] = {}
        self._done: Counter[str] = Counter()
        self._rows_with_errors: set[tuple[str, str]] = set()
        self._nameless = 0
        self._errors_before = errors_before
        self._logged = 0
        self._not_there: dict[str, int] = {}
        self._gone: dict[str, int] = {}
        self.doubtful: set[str] = set()
        """Tables with a row that was there, and perhaps with another content: see `BatchDone`."""

    @property
    def rows_with_errors(self) -> int:
        """What --max-errors is held against: the rows of this run, and those of the files before it."""
        return self._errors_before + len(self._rows_with_errors) + self._nameless

    def begin(self, table: str, total: int) -> None:
        """A table's rows are about to be copied."""
        self._totals[table] = total
        self._advance(table, 0)

    def handle(self, message: Message) -> None:
        """Takes one message. Raises `TooManyErrors` past --max-errors."""
        count = self._ranges.setdefault(message.range, _RangeCount())
        if isinstance(message, ErrorsFound):
            self._add_errors(count, message.errors)
        elif isinstance(message, BatchDone):
            count.inserted += message.inserted
            count.skipped += message.skipped
            count.failed += message.failed
            count.updated += message.updated
            count.companions += message.companions
            if message.doubtful:
                self.doubtful.add(message.range.table)
            self._advance(message.range.table, message.rows)
        elif isinstance(message, (RangeFault, WorkerLost)):
            self._advance(message.range.table, -count.rows)
            count.restart()
        elif isinstance(message, RangeSplit):
            count.unfinished = False  # its parts are instead
            for part in message.parts:
                self._ranges.setdefault(part, _RangeCount(parent=count))
        elif isinstance(message, RowGivenUp):
            self._add_errors(count, (message.error,))
            count.failed += 1
            self._advance(message.range.table, 1)
            self._end(count)
        elif isinstance(message, RangeDone):
            self._end(count)

    def _end(self, count: _RangeCount) -> None:
        count.unfinished = False
        for error in count.doubtful:
            self._rows_with_errors.discard((error.table, error.id))
        count.doubtful.clear()

    def start_over(self) -> None:
        """Everything is gone through again: the server may have lost what was committed last.

        A schedule or an edge whose memory was lost that way was refused, and now is not. Where it is refused again,
        that is said again; where its range does not end, what was said first stands.
        """
        for range_, count in self._ranges.items():
            self._advance(range_.table, -count.rows)
            count.restart()
            count.doubt()
            count.unfinished = False  # what was committed may be lost: only what is found there again counts

    def not_there(self, table: str, rows: int) -> None:
        """So many rows of the table that were counted as skipped are not there: another content is, under their key."""
        self._not_there[table] = rows

    def gone(self, range_: Range, errors: tuple[RowError, ...]) -> None:
        """Rows of the range's table that were counted as there, and are not there any more: these and no others."""
        self._ranges.pop(range_, None)
        self._gone[range_.table] = len(errors)
        self.handle(ErrorsFound(range_, errors))

    def refused(self, table: str) -> Counter[str]:
        """How many errors say of each id of the table that its row was not copied."""
        return Counter(
            error.id
            for range_, count in self._ranges.items()
            for error in count.errors
            if range_.table == table and error.outcome is Outcome.NOT_COPIED
        )

    def handle_last(self, message: Message) -> None:
        """Takes a message of a run that is being stopped already."""
        with suppress(TooManyErrors):
            self.handle(message)

    def settle(self) -> None:
        """Writes the counts into the report."""
        whole: dict[tuple[str, int], _RangeCount] = {}
        for range_, count in self._ranges.items():
            # What a range inserted before it was split, its halves found there.
            key = range_.table, range_.index
            whole[key] = whole.get(key, _RangeCount(unfinished=False)) + count
        for name in self._report.tables:
            counts = [count.as_report() for (table, _), count in whole.items() if table == name]
            self._report.tables[name] = sum(counts, start=TableReport())
        for range_, count in self._ranges.items():
            table = TABLES.get(range_.table)
            refresh = table.refresh if table is not None else None
            if refresh is not None and refresh.companion is not None:
                # Their own table's phase found them there and counted them as skipped.
                self._report.tables[refresh.companion].mark_updated(count.companions)
        for name, rows in self._not_there.items():
            self._report.tables[name].mark_failed(rows)
        for name, rows in self._gone.items():
            self._report.tables[name].mark_gone(rows)
        self._report.errors = [error for count in self._ranges.values() for error in (*count.errors, *count.doubtful)]

    def _advance(self, table: str, rows: int) -> None:
        self._done[table] += rows
        done = self._done[table]
        if self._on_progress is not None and table in self._totals:  # an archived table has a bar of its own
            self._on_progress(Progress(table, done, self._totals[table]))
        if table == "knowledge_nodes" and done // LOG_EVERY_MEMORIES > self._logged:
            self._logged = done // LOG_EVERY_MEMORIES
            logger.info("{} of {} memories", self._logged * LOG_EVERY_MEMORIES, self._totals[table])

    def _add_errors(self, count: _RangeCount, errors: tuple[RowError, ...]) -> None:
        for error in errors:
            if count.known[error] > 0:
                count.known[error] -= 1
                continue
            if count.inherit(error):
                continue
            count.errors.append(error)
            if error in count.doubtful:
                count.doubtful.remove(error)
                continue
            logger.warning("{} {}: {} ({})", error.table, error.id, error.message, error.outcome)
            if error.id == NIL_UUID:
                self._nameless += not error.further
            else:
                self._rows_with_errors.add((error.table, error.id))
        found = self.rows_with_errors
        if self._max_errors is not None and found > self._max_errors:
            raise TooManyErrors(
                f"{found} rows have errors, more than --max-errors {self._max_errors} allows. What was committed "
                "stays; look at the errors above, then run again with a higher limit to resume"
            )
