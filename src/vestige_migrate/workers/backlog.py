"""The ranges that are still to be dealt with, and what became of them so far."""

from __future__ import annotations

import heapq
import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from vestige_migrate.source.read.ranges import Range

FIRST_BACKOFF_SECONDS = 1.0
BACKOFF_FACTOR = 2.5
LONGEST_BACKOFF_SECONDS = 30.0
_STEPS_TO_LONGEST = math.ceil(math.log(LONGEST_BACKOFF_SECONDS / FIRST_BACKOFF_SECONDS, BACKOFF_FACTOR))
_JITTER = (0.8, 1.2)


def backoff_seconds(attempt: int) -> float:
    """The wait before try number `attempt + 1`: exponential, with jitter so that workers do not return in step."""
    steps = min(attempt - 1, _STEPS_TO_LONGEST)  # a float overflows at some 770 steps
    wait_seconds = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * BACKOFF_FACTOR**steps)
    return wait_seconds * random.uniform(*_JITTER)


@dataclass
class Backlog:
    """Ranges that are due, in order; ones that wait for their next try; ones that wait for a control."""

    due: list[Range]
    unfinished: int
    attempts: Counter[Range] = field(default_factory=Counter)
    kills: Counter[Range] = field(default_factory=Counter)
    lived_seconds: dict[Range, float] = field(default_factory=dict)
    """How long a worker lived with the range, at the longest."""
    suspects: list[Range] = field(default_factory=list)
    """They lost enough workers. Which of them is done next needs a worker that has proved that it could live."""
    _waiting: list[tuple[float, int, Range]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=itertools.count)

    def next(self) -> Range | None:
        """The next one that is due."""
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            self.due.append(heapq.heappop(self._waiting)[2])
        return self.due.pop(0) if self.due else None

    def put_back(self, range_: Range, delay: float) -> None:
        """It is due again so many seconds from now."""
        heapq.heappush(self._waiting, (time.monotonic() + delay, next(self._order), range_))

    def wait_seconds(self) -> float | None:
        """Until the next one is due; None where none waits."""
        return max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None

    def killed(self, range_: Range, lived_seconds: float) -> int:
        """Notes that it lost a worker; returns how many by now."""
        self.kills[range_] += 1
        self.lived_seconds[range_] = max(lived_seconds, self.lived_seconds.get(range_, 0.0))
        return self.kills[range_]

    def split(self, range_: Range, parts: Sequence[Range]) -> None:
        """These parts, which are next, stand for the range from now on."""
        self.due[:0] = parts
        self.unfinished += len(parts) - 1
