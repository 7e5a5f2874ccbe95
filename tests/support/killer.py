"""A host that kills worker processes: each so many seconds after its start, or only some, or for a while."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from multiprocess import process


@dataclass
class Killer:
    """Ends workers `delay` seconds after they were first seen, each with this probability, for `seconds` in all.

    `workers`: the numbers of the worker processes that there are now.
    """

    workers: Callable[[], list[int]]
    delay: Callable[[], float] = lambda: 0.012
    probability: float = 1.0
    seconds: float = float("inf")
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    killed: int = 0
    _due: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began = time.monotonic()

    def strike(self) -> None:
        """One look at the workers that there are now."""
        now = time.monotonic()
        if now - self._began > self.seconds:
            return
        for worker in self.workers():
            if worker not in self._due:
                is_doomed = self.chance.random() < self.probability
                self._due[worker] = now + self.delay() if is_doomed else float("inf")
            if now >= self._due[worker]:
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
                self._due[worker] = float("inf")
                self.killed += 1

    def until(self, is_over: Callable[[], object], limit_seconds: float = float("inf")) -> float:
        """Strikes until the run is over; returns how long that took. Fails where it takes longer than the limit."""
        while not is_over():
            assert time.monotonic() - self._began < limit_seconds, "the run did not end"
            self.strike()
            time.sleep(0.005)
        return time.monotonic() - self._began


@contextmanager
def killing_own_workers(
    delay: Callable[[], float], probability: float = 1.0, seconds: float = float("inf"), chance: int = 1
) -> Iterator[Killer]:
    """Kills the workers of a run of this very process, from a thread of its own, while the context lasts."""
    over = threading.Event()
    killer = Killer(_own_workers, delay, probability, seconds, random.Random(chance))
    thread = threading.Thread(target=killer.until, args=(over.is_set,))
    thread.start()
    try:
        yield killer
    finally:
        over.set()
        thread.join()


def _own_workers() -> list[int]:
    """Without `active_children`, which waits for the dead: that is the run's own business."""
    return [child.pid for child in list(process._children) if child.pid is not None]
