"""What a worker that copies says."""

from __future__ import annotations

from dataclasses import dataclass

from vestige_migrate.report.rows import RowError
from vestige_migrate.workers.messages import JobMessage


@dataclass(frozen=True)
class ErrorsFound(JobMessage):
    """Rows of the coming batch that have errors. Sent before its commit, so that none can get lost."""

    errors: tuple[RowError, ...]


@dataclass(frozen=True)
class RowsKept(JobMessage):
    """Rows that differ from the source's and stay as they are, or that took its vector although they were changed."""

    rows: tuple[RowError, ...]


@dataclass(frozen=True)
class BatchDone(JobMessage):
    """A batch is committed. `companions` schedules were updated together with its memories.

    `doubtful`: a skipped row may be there under another row's content, whose key is the same or the same in another
    spelling.
    """

    inserted: int
    skipped: int
    failed: int
    updated: int = 0
    companions: int = 0
    doubtful: bool = False

    @property
    def rows(self) -> int:
        """Rows of the source that this batch stands for."""
        return self.inserted + self.skipped + self.failed + self.updated


@dataclass(frozen=True)
class RowsForgotten(JobMessage):
    """So many rows of the range stay behind, since their memory was deleted in the destination; `memories` are the ids
    of those that are memories themselves."""

    rows: int
    memories: tuple[str, ...]
