"""A host that kills worker processes: each so many seconds after its start, or only some, or for a while."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from tests.support.running import RunningCopy


@dataclass
class Killer:
    """Ends workers `delay` seconds after they were first seen, each with this probability, for `seconds` in all."""

    run: RunningCopy
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
        with suppress(psutil.NoSuchProcess):
            for worker in self.run.workers():
                if worker.pid not in self._due:
                    is_doomed = self.chance.random() < self.probability
                    self._due[worker.pid] = now + self.delay() if is_doomed else float("inf")
                if now >= self._due[worker.pid]:
                    worker.kill()
                    self._due[worker.pid] = float("inf")
                    self.killed += 1

    def until_the_end(self, limit_seconds: float) -> float:
        """Strikes until the run has ended; returns how long that took. Fails where it takes longer than the limit."""
        while self.run.process.poll() is None:
            assert time.monotonic() - self._began < limit_seconds, "the run did not end"
            self.strike()
            time.sleep(0.002)
        return time.monotonic() - self._began
