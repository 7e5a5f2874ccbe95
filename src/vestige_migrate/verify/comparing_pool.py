"""Rows compared in the middle of a copy: what a range's rows are in the destination, once it was loaded."""

from __future__ import annotations

from collections.abc import Sequence

from loguru import logger

from vestige_migrate.plan import SqliteToPostgresPlan
from vestige_migrate.report.verification import Difference
from vestige_migrate.source.read.ranges import Range
from vestige_migrate.verify.messages import BatchCompared
from vestige_migrate.workers.bisect import Bisector
from vestige_migrate.workers.job import WorkerConfig
from vestige_migrate.workers.messages import Message, RangeFault, WorkerLost
from vestige_migrate.workers.pool import Session, WorkerPool


class ComparingPool:
    """Workers that compare. `config` has a `CompareJob`; `session` holds the lock of the run."""

    def __init__(self, config: WorkerConfig, plan: SqliteToPostgresPlan, session: Session, bisector: Bisector) -> None:
        self._pool = WorkerPool(config, plan.workers, plan.retries, logger.warning, session, bisector)

    def differences(self, ranges: Sequence[Range]) -> dict[Range, list[Difference]]:
        """What differs in each of these ranges; the workers end. Raises what `WorkerPool.run` raises."""
        found: dict[Range, list[Difference]] = {}

        def handle(message: Message) -> None:
            if isinstance(message, BatchCompared):
                found.setdefault(message.range, []).extend(message.differences)
            elif isinstance(message, (RangeFault, WorkerLost)):
                found.pop(message.range, None)

        try:
            self._pool.run(ranges, False, handle)
            self._pool.stop()
        except BaseException:
            self._pool.kill()
            raise
        return found
