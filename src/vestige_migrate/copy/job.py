"""The job of a worker that copies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from vestige_migrate.plan import OnConflict
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.tables.overrides import Overrides
from vestige_migrate.tables.shapes import OURS, Shapes
from vestige_migrate.workers.job import Job, Send, WorkerConfig

if TYPE_CHECKING:
    from vestige_migrate.workers.worker import RangeWorker

NO_OVERRIDES = Overrides()


@dataclass(frozen=True)
class CopyJob(Job):
    """Every row of each range to the destination, in batches. `shapes` are those of the destination's tables."""

    done: ClassVar[str] = "copied"
    after_stop: ClassVar[str] = "What was committed stays; run again to resume"

    layout: Layout
    batch_rows: int
    batch_bytes: int
    run_start: datetime
    on_conflict: OnConflict = OnConflict.SKIP
    overrides: Overrides = NO_OVERRIDES
    shapes: Shapes = OURS
    is_only_file: bool = True
    """Of several files that share a memory, each would put its own vector in the place of the others'."""

    def make_worker(self, config: WorkerConfig, send: Send) -> RangeWorker:
        from vestige_migrate.copy.worker import RangeCopier

        return RangeCopier(config, self, send)
