"""Keeps the report while messages come in, also when a range is copied a second time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from loguru import logger

from vestige_migrate.copy.error_ledger import Apart, Cause, ErrorLedger, Part
from vestige_migrate.copy.messages import BatchDone, ErrorsFound, RowsForgotten, RowsKept
from vestige_migrate.errors import TooManyErrors
from vestige_migrate.progress import OnProgress, Progress
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import Outcome, RowError, TableReport
from vestige_migrate.source.read.ranges import Range
from vestige_migrate.tables import TABLES
from vestige_migrate.workers.messages import Message, RangeDone, RangeFault, RangeSplit, RowGivenUp, WorkerLost

LOG_EVERY_MEMORIES = 1000


@dataclass(frozen=True)
class Attempt:
    """Rows that one try of a range has dealt with so far."""

    inserted: int = 0
    skipped: int = 0
    failed: int = 0
    updated: int = 0
    forgotten: int = 0

    @property
    def rows(self) -> int:
        """All of them."""
        return self.inserted + self.skipped + self.failed + self.updated + self.forgotten

    def __add__(self, other: Attempt) -> Attempt:
        return Attempt(
            self.inserted + other.inserted,
            self.skipped + other.skipped,
            self.failed + other.failed,
            self.updated + other.updated,
            self.forgotten + other.forgotten,
        )


NOTHING = Attempt()


@dataclass
class _Counts:
    """One range: the try under way or the last one, and all those before it that did not finish.

    What a try inserted or updated and committed, the next one finds there and skips. `companions` were updated with
    their memories: once each, because a memory that was replaced is not outdated any more.
    """

    last: Attempt = NOTHING
    before: Attempt = NOTHING
    companions: int = 0
    is_done: bool = False
    """Its rows are all dealt with; or nothing is counted on but what the next try finds."""

    def restart(self) -> None:
        self.before += self.last
        self.last = NOTHING

    def __add__(self, other: _Counts) -> _Counts:
        """The counts of two parts of one range."""
        return _Counts(self.last + other.last, self.before + other.before, is_done=self.is_done and other.is_done)

    def as_report(self) -> TableReport:
        last = self.last
        inserted = min(self.before.inserted, last.skipped)
        updated = min(self.before.updated, last.skipped - inserted)
        # A run that stops here: these were committed, and no later try has come as far as to find them.
        inserted_unseen = 0 if self.is_done else self.before.inserted - inserted
        updated_unseen = 0 if self.is_done else self.before.updated - updated
        return TableReport(
            source_rows=last.rows + inserted_unseen + updated_unseen,
            inserted=last.inserted + inserted + inserted_unseen,
            skipped=last.skipped - inserted - updated,
            failed=last.failed,
            updated=last.updated + updated + updated_unseen,
            forgotten=last.forgotten,
        )


class Tally:
    """Turns messages into counts, errors, log lines and progress.

    A range is in one of these states:

        under way   counts as far as its last try has come, with what the tries before it are known to have brought
        done        `RangeDone`, `RowGivenUp`: counts as its last try says
        split       `RangeSplit`: its halves count, and what it brought before they find there
        suspended   `start_over`: where the server may have lost any of it, only what the next try finds counts

    `RangeFault` and `WorkerLost` begin another try. What became of each error meanwhile is `ErrorLedger`'s.
    """

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
        self._errors_before = errors_before
        self._ledger = ErrorLedger()
        self._kept: dict[Part, list[RowError]] = {}
        """Rows that differ and stay: a part that is tried again finds them again."""
        self._vectors: list[RowError] = []
        """Rows that were changed in the destination and took the source's vector: another try finds none of them."""
        self._parts: dict[Part, _Counts] = {}
        self._totals: dict[str, int] = {}
        self._done: Counter[str] = Counter()
        self._logged = 0
        self._forgotten: dict[Part, set[str]] = {}
        """Ids of memories, by the range whose last try left them behind."""
        self._not_there: dict[str, int] = {}
        self._gone: dict[str, int] = {}
        self.doubtful: set[str] = set()
        """Tables with a row that was there, and perhaps with another content: see `BatchDone`."""

    @property
    def rows_with_errors(self) -> int:
        """What --max-errors is held against: the rows of this run, and those of the files before it."""
        return self._errors_before + self._ledger.rows

    def begin(self, table: str, total: int) -> None:
        """A table's rows are about to be copied."""
        self._totals[table] = total
        self._advance(table, 0)

    def handle(self, message: Message) -> None:
        """Takes one message. Raises `TooManyErrors` past --max-errors."""
        range_ = message.range
        counts = self._parts.setdefault(range_, _Counts())
        if isinstance(message, ErrorsFound):
            self._say(range_, message.errors)
        elif isinstance(message, RowsKept):
            self._kept.setdefault(range_, []).extend(row for row in message.rows if row.outcome is Outcome.KEPT)
            # These stay through another try, which finds them as they are to be.
            self._vectors += [row for row in message.rows if row.outcome is Outcome.VECTOR_REPLACED]
        elif isinstance(message, BatchDone):
            self._count(range_, Attempt(message.inserted, message.skipped, message.failed, message.updated))
            counts.companions += message.companions
            if message.doubtful:
                self.doubtful.add(range_.table)
        elif isinstance(message, RowsForgotten):
            self._count(range_, Attempt(forgotten=message.rows))
            self._forgotten.setdefault(range_, set()).update(message.memories)
        elif isinstance(message, (RangeFault, WorkerLost)):
            self._restart(range_)
        elif isinstance(message, RangeSplit):
            counts.is_done = True  # its parts are instead
            self._parts.update({part: _Counts() for part in message.parts if part not in self._parts})
            self._ledger.split(range_, message.parts)
            self._forgotten.pop(range_, None)
            self._kept.pop(range_, None)
        elif isinstance(message, RowGivenUp):
            self._say(range_, (message.error,))
            self._count(range_, Attempt(failed=1))
            self._finish(range_)
        elif isinstance(message, RangeDone):
            self._finish(range_)

    def handle_last(self, message: Message) -> None:
        """Takes a message of a run that is being stopped already."""
        with suppress(TooManyErrors):
            self.handle(message)

    def name(self, table: str, cause: Cause, errors: Sequence[RowError], failed: int = 0) -> None:
        """Rows that belong to no range are named; so many of them count as dealt with. Raises `TooManyErrors`."""
        part = Apart(table, cause)
        self._parts.setdefault(part, _Counts())
        self._say(part, errors)
        if failed:
            self._count(part, Attempt(failed=failed))

    def start_over(self, may_be_lost: bool = True) -> None:
        """Everything is gone through again; where it `may_be_lost`, the server may have lost what was committed last.

        A schedule or an edge whose memory was lost that way was refused, and now is not. Where it is refused again,
        that is said again; where its range does not end, what was said first stands.
        """
        for part, counts in self._parts.items():
            self._restart(part)
            counts.is_done = may_be_lost  # then only what is found there again counts
        self._ledger.doubt()

    def not_there(self, table: str, rows: int) -> None:
        """So many rows of the table that were counted as skipped are not there: another content is, under their key."""
        self._not_there[table] = rows

    def gone(self, table: str, errors: Sequence[RowError]) -> None:
        """Rows of the table that were counted as there, and are not there any more: these and no others."""
        self._ledger.forget(Apart(table, Cause.DELETED_LATER))
        self._gone[table] = len(errors)
        self.name(table, Cause.DELETED_LATER, errors)

    def refused(self, table: str) -> Counter[str]:
        """How many errors say of each id of the table that its row was not copied."""
        return self._ledger.refused(table)

    def waiting(self) -> list[RowError]:
        """Errors of rows that refer to one which is not there."""
        return self._ledger.waiting()

    def put_aside(self, errors: Collection[RowError]) -> None:
        """These errors are none; their rows stay among the failed ones, since they are not there."""
        self._ledger.put_aside(errors)

    def settle(self) -> None:
        """Writes the counts into the report."""
        for name in self._report.tables:
            self._report.tables[name] = sum(
                (counts.as_report() for counts in self._whole_ranges(name)), start=TableReport()
            )
        for part, counts in self._parts.items():
            table = TABLES.get(part.table)
            if table is not None and table.refresh is not None and table.refresh.companion is not None:
                # Their own table's phase found them there and counted them as skipped.
                self._report.tables[table.refresh.companion].mark_updated(counts.companions)
        for name, rows in self._not_there.items():
            self._report.tables[name].mark_failed(rows)
        for name, rows in self._gone.items():
            self._report.tables[name].mark_gone(rows)
        self._report.forgotten = sorted(set().union(*self._forgotten.values()))
        self._report.errors = self._ledger.errors()
        self._report.kept = [row for rows in self._kept.values() for row in rows]
        self._report.replaced_vectors = list(self._vectors)
        for row in self._report.kept:
            self._report.tables[row.table].kept += 1

    def _whole_ranges(self, table: str) -> list[_Counts]:
        """What a range inserted before it was split, its halves found there: they count together."""
        whole: dict[object, _Counts] = {}
        for part, counts in self._parts.items():
            if part.table == table:
                of = part if isinstance(part, Apart) else part.number
                whole[of] = whole[of] + counts if of in whole else counts
        return list(whole.values())

    def _count(self, part: Part, rows: Attempt) -> None:
        self._parts[part].last += rows
        self._advance(part.table, rows.rows)

    def _restart(self, part: Part) -> None:
        counts = self._parts[part]
        self._advance(part.table, -counts.last.rows)
        counts.restart()
        self._forgotten.pop(part, None)
        self._ledger.restart(part)
        self._kept.pop(part, None)

    def _finish(self, range_: Range) -> None:
        self._parts[range_].is_done = True
        self._ledger.finish(range_)

    def _advance(self, table: str, rows: int) -> None:
        self._done[table] += rows
        done = self._done[table]
        if self._on_progress is not None and table in self._totals:  # an archived table has a bar of its own
            self._on_progress(Progress(table, done, self._totals[table]))
        if table == "knowledge_nodes" and done // LOG_EVERY_MEMORIES > self._logged:
            self._logged = done // LOG_EVERY_MEMORIES
            logger.info("{} of {} memories", self._logged * LOG_EVERY_MEMORIES, self._totals[table])

    def _say(self, part: Part, errors: Sequence[RowError]) -> None:
        self._ledger.add(part, errors)
        found = self.rows_with_errors
        if self._max_errors is not None and found > self._max_errors:
            raise TooManyErrors(
                f"{found} rows have errors, more than --max-errors {self._max_errors} allows. What was committed "
                "stays; look at the errors above, then run again with a higher limit to resume"
            )
