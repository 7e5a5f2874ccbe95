"""Progress as a value: what a run tells its caller, and how long each phase of it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` rows of a table are dealt with.

    While indexes are built, `table` is `indexes` (counted in indexes) and then `HNSW index` (in vectors), with the
    server's own account of the build in `detail`.
    """

    table: str
    done: int
    total: int
    detail: str = ""


OnProgress = Callable[[Progress], None]


@contextmanager
def timed(phases: dict[str, float], name: str) -> Iterator[None]:
    """Adds the seconds of the block to `phases[name]`: a phase that is gone through again took both times."""
    started = time.monotonic()
    try:
        yield
    finally:
        phases[name] = phases.get(name, 0.0) + time.monotonic() - started
