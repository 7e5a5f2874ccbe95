"""The job of a worker that compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.tables.overrides import Overrides
from vestige_migrate.tables.shapes import Shapes
from vestige_migrate.verify.messages import Queries
from vestige_migrate.workers.job import Job, Send, WorkerConfig

if TYPE_CHECKING:
    from vestige_migrate.workers.worker import RangeWorker

NO_QUERIES = Queries()


@dataclass(frozen=True)
class CompareJob(Job):
    """Every row of each range with what the destination has, and the nearest neighbours of some on the way."""

    done: ClassVar[str] = "compared"
    after_stop: ClassVar[str] = "Nothing was changed; run again"

    layout: Layout
    batch_bytes: int
    overrides: Overrides
    shapes: Shapes
    queries: Queries = NO_QUERIES
    forgets: bool = False
    """Whether the destination has tombstones of memories that were deleted there."""

    def make_worker(self, config: WorkerConfig, send: Send) -> RangeWorker:
        from vestige_migrate.verify.worker import RangeVerifier

        return RangeVerifier(config, self, send)
