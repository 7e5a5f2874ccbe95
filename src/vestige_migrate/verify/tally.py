"""Adds up what workers say, also when a range is compared a second time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from loguru import logger

from vestige_migrate.progress import OnProgress, Progress
from vestige_migrate.report.rows import Outcome, RowError
from vestige_migrate.report.verification import Difference, Kind, TableComparison, VerifyReport
from vestige_migrate.source.read.ranges import Range
from vestige_migrate.verify.messages import BatchCompared, NeighboursFound
from vestige_migrate.verify.neighbours import Nearest, merged
from vestige_migrate.workers.messages import Message, RangeFault, WorkerLost


@dataclass
class _PartFound:
    """What is known about one range, or about the rows that are in none."""

    same: int = 0
    altered: int = 0
    not_copied: int = 0
    matched: int = 0
    key_sum: int = 0
    differences: list[Difference] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)
    nearest: tuple[tuple[tuple[float, bytes], ...], ...] = ()

    @property
    def rows(self) -> int:
        return self.same + self.altered + self.not_copied + len(self.differences)

    def add(self, batch: BatchCompared) -> None:
        self.same += batch.same
        self.altered += batch.altered
        self.not_copied += batch.not_copied
        self.matched += batch.matched
        self.key_sum += batch.key_sum
        self.differences += batch.differences
        self.errors += batch.errors


class VerifyTally:
    """Turns messages into counts, differences and progress."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        self._parts: dict[tuple[int, tuple[str, Range | None]], _PartFound] = {}
        """By source, and by table and range."""
        self._totals: dict[str, int] = {}
        self._done: Counter[str] = Counter()

    def begin(self, table: str, total: int) -> None:
        """A table's rows, of one source, are about to be compared."""
        self._totals[table] = self._totals.get(table, 0) + total
        self._advance(table, 0)

    def handle(self, source: int, message: Message) -> None:
        """Takes one message about a range of the source of this number."""
        place = (source, (message.range.table, message.range))
        if isinstance(message, BatchCompared):
            self._parts.setdefault(place, _PartFound()).add(message)
            self._advance(message.range.table, message.rows)
        elif isinstance(message, NeighboursFound):
            self._parts.setdefault(place, _PartFound()).nearest = message.nearest
        elif isinstance(message, (RangeFault, WorkerLost)):
            # Nothing was changed, so the next try starts from nothing.
            lost = self._parts.pop(place, _PartFound())
            self._advance(message.range.table, -lost.rows)

    def unreadable(self, source: int, table: str, rows: int, errors: Sequence[RowError]) -> None:
        """So many rows of a table are lost in a damaged source: dealt with by being named."""
        self._parts[source, (table, None)] = _PartFound(not_copied=rows, errors=list(errors))
        self._advance(table, rows)

    def rows(self, source: int, table: str) -> int:
        """How many rows of a table of one source were read."""
        return sum(part.rows for (at, (of, _)), part in self._parts.items() if (at, of) == (source, table))

    def matched(self, table: str) -> tuple[int, int]:
        """How many rows of the source have their key in the destination, and the sum of those keys."""
        found = self._of(table)
        return sum(part.matched for part in found), sum(part.key_sum for part in found)

    def nearest(self, query: int) -> Nearest:
        """The exact nearest neighbours of a sampled memory."""
        return merged([part.nearest[query] for part in self._of("knowledge_nodes") if part.nearest])

    def different(self, table: str) -> list[Difference]:
        """The rows found on both sides that differ."""
        return [item for part in self._of(table) for item in part.differences if item.kind is Kind.DIFFERENT]

    def settle(self, report: VerifyReport) -> None:
        """Writes counts, differences and errors into the report."""
        for name in report.tables:
            found = self._of(name)
            kinds = Counter(item.kind for part in found for item in part.differences)
            report.tables[name] = TableComparison(
                source_rows=sum(part.rows for part in found),
                same=sum(part.same for part in found),
                altered=sum(part.altered for part in found),
                not_copied=sum(part.not_copied for part in found),
                different=kinds[Kind.DIFFERENT],
                missing=kinds[Kind.MISSING],
                forgotten=kinds[Kind.FORGOTTEN],
            )
        report.differences = [item for part in self._parts.values() for item in part.differences]
        errors = [error for part in self._parts.values() for error in part.errors]
        report.altered = [error for error in errors if error.outcome is not Outcome.NOT_COPIED]
        report.not_copied = [error for error in errors if error.outcome is Outcome.NOT_COPIED]

    def _of(self, table: str) -> list[_PartFound]:
        return [part for (_, (of, _)), part in self._parts.items() if of == table]

    def _advance(self, table: str, rows: int) -> None:
        self._done[table] += rows
        if self._on_progress is not None:
            self._on_progress(Progress(table, self._done[table], self._totals[table]))


def log_findings(report: VerifyReport) -> None:
    """A line for each difference, each row that was not copied, and each altered row."""
    for difference in report.differences:
        logger.warning("{}", difference)
    for error in report.not_copied:
        logger.warning("{} {}: {} ({})", error.table, error.id, error.message, error.outcome)
    for error in report.altered:
        logger.info("{} {}: {} ({})", error.table, error.id, error.message, error.outcome)
