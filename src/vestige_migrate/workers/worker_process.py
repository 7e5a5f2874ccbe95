"""Where a worker process begins. What it works with is loaded there, by the fork server, and not by the coordinator."""

from __future__ import annotations

import os
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vestige_migrate.host_limits import describe_limit
from vestige_migrate.workers import channel

if TYPE_CHECKING:
    from vestige_migrate.workers.job import WorkerConfig


def main(pipe: Any, config: WorkerConfig) -> None:
    """`worker.main`. What it does not expect is told to the coordinator, and ends this process without a traceback."""
    try:
        from vestige_migrate.workers import worker

        worker.main(pipe, config)
    except Exception as error:
        with suppress(Exception):  # the coordinator sees the end of this process in any case
            from vestige_migrate.workers.messages import Broken

            channel.send(pipe, Broken(_reason(error), _places(error)))
        os._exit(1)


def _reason(error: Exception) -> str:
    """One line. An exception's own text may quote a row."""
    limit = describe_limit(error, starting=True)
    if limit is not None:
        return limit
    if isinstance(error, ImportError):
        return f"{error.name or 'a module'} cannot be loaded ({type(error).__name__})"
    return f"an unexpected {type(error).__name__}, which is a defect: run again with --debug and report what it says"


def _places(error: Exception) -> str:
    """The lines of code that led to it."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
