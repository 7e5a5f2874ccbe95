"""What workers need to know to compare, and what they say."""

from __future__ import annotations

from dataclasses import dataclass

from vestige_migrate.report.rows import RowError
from vestige_migrate.report.verification import Difference
from vestige_migrate.workers.messages import JobMessage


@dataclass(frozen=True)
class Queries:
    """Sampled memories whose nearest neighbours are looked for: ids of 16 bytes, and their vectors as float32 of unit
    length, one after the other, `dimension` numbers each."""

    ids: tuple[bytes, ...] = ()
    vectors: bytes = b""
    dimension: int = 0


@dataclass(frozen=True)
class BatchCompared(JobMessage):
    """A batch of source rows, counted. `matched` rows have their key in the destination; `key_sum` is over those."""

    same: int
    altered: int
    not_copied: int
    differences: tuple[Difference, ...]
    errors: tuple[RowError, ...]
    matched: int
    key_sum: int

    @property
    def rows(self) -> int:
        """Rows of the source that this batch stands for."""
        return self.same + self.altered + self.not_copied + len(self.differences)


@dataclass(frozen=True)
class NeighboursFound(JobMessage):
    """The best candidates of a whole range for each query: (similarity, id) with the most similar first."""

    nearest: tuple[tuple[tuple[float, bytes], ...], ...]
