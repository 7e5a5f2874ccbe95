"""Where a worker process begins. What it works with is loaded there, by the fork server, and not by the coordinator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vestige_migrate.run.messages import WorkerConfig


def main(pipe: Any, config: WorkerConfig) -> None:
    """`worker.main`."""
    from vestige_migrate.run import worker

    worker.main(pipe, config)
