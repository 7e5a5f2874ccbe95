"""How fast a copy would be on a host with more cores: a small simulation of workers, their backends and the cores.

Every worker goes round: it prepares a batch (client CPU), its backend stores it (server CPU), a part of that alone of
all backends (the serial part: a lock, the log), and then it waits for what takes no CPU. What the server does beside
that, while no worker waits for it (its writers), takes cores too. Whoever wants to compute waits for a free core.

Left out: memory bandwidth, disks, cores that slow down when all are busy. So it says what the host could do if nothing
but cores and the serial part were scarce, and it is printed beside measured points to be judged by them.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

_BATCHES_PER_WORKER, _LEAST_BATCHES = 40, 400
_PIECES = 8
"""In so many turns a batch goes through the serial part: one long one would fall into step with the others'."""
_JITTER = (0.0, 2.0)
"""Times the mean: how long each piece takes."""
_SEED = 4
_SERIAL_SHARES = tuple(step / 50 for step in range(26))
"""Tried by `fit`: 0 to 50% of what the server does for a batch."""
_AS_GOOD = 0.3
"""A serial share whose error is so much larger than the best one's still fits: the waits are known to a third."""
_SAMPLED = 0.001
"""Waits below this are not told from none: of some thousand samples, one a worker."""


@dataclass(frozen=True)
class BatchCost:
    """Seconds a batch. `server` is all that its worker waits for, `serial` a part of it, `behind` comes on top."""

    client: float
    server: float
    serial: float = 0.0
    behind: float = 0.0
    idle: float = 0.0


@dataclass(frozen=True)
class MeasuredPoint:
    """Of a real run: seconds a batch from start to end, CPU seconds a batch of both sides, and the share of the
    workers' time in which their backends waited for a lock."""

    workers: int
    seconds: float
    client_cpu: float
    server_cpu: float
    lock_waits: float


@dataclass(frozen=True)
class Outcome:
    """Of a simulated run."""

    batches_per_second: float
    lock_waits: float


def cost_of(one: MeasuredPoint) -> BatchCost:
    """The cost of a batch, from a run with one worker.

    Time that neither side computed was spent waiting; CPU that does not fit into the time was spent beside it.
    """
    gap = one.seconds * one.workers - one.client_cpu - one.server_cpu
    behind = min(max(0.0, -gap), one.server_cpu)
    return BatchCost(one.client_cpu, one.server_cpu - behind, behind=behind, idle=max(0.0, gap))


@dataclass(frozen=True)
class Fit:
    """The serial share that explains the measured waits for locks best, and the least and the most that also do."""

    best: BatchCost
    lowest: BatchCost
    highest: BatchCost


def fit(points: Sequence[MeasuredPoint], cores: int) -> Fit | None:
    """None without a run of one worker, from which all other costs are taken.

    Only the waits for locks are fitted: on few cores the speed says nothing of the serial part, because the cores are
    full before it is. So the speeds at other numbers of workers are predictions.
    """
    one = next((point for point in points if point.workers == 1), None)
    if one is None:
        return None
    plain = cost_of(one)
    candidates = [replace(plain, serial=plain.server * share) for share in _SERIAL_SHARES]
    errors = [_error(candidate, points, cores) for candidate in candidates]
    fitting = [cost for cost, error in zip(candidates, errors, strict=True) if error <= min(errors) + _AS_GOOD]
    return Fit(candidates[errors.index(min(errors))], fitting[0], fitting[-1])


def _error(cost: BatchCost, points: Sequence[MeasuredPoint], cores: int) -> float:
    """Mean of the logarithms' differences, over the points with more than one worker."""
    several = [point for point in points if point.workers > 1]
    logs = [
        abs(math.log((simulate(cost, point.workers, cores).lock_waits + _SAMPLED) / (point.lock_waits + _SAMPLED)))
        for point in several
    ]
    return sum(logs) / len(logs) if logs else 0.0


@cache
def simulate(cost: BatchCost, workers: int, cores: int) -> Outcome:
    """So many workers on so many cores; the same every time."""
    return _Simulation(cost, workers, cores).run(max(_LEAST_BATCHES, _BATCHES_PER_WORKER * workers))


class _Simulation:
    """One run: `_later` holds what ends when, `_waiting` who wants a core, `_blocked` when each began to want the
    serial part."""

    def __init__(self, cost: BatchCost, workers: int, cores: int) -> None:
        self._cost = cost
        self._workers = workers
        self._free = cores
        self._now = 0.0
        self._done = 0
        self._order = 0
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self._locked = False
        self._blocked: deque[tuple[float, int]] = deque()
        self._lock_seconds = 0.0
        self._random = random.Random(_SEED)

    def run(self, batches: int) -> Outcome:
        """Until so many batches are stored."""
        for _ in range(self._workers):
            self._compute(self._cost.client, self._prepared)
        while self._done < batches:
            self._now, _, action = heapq.heappop(self._later)
            action()
        return Outcome(batches / self._now, self._lock_seconds / self._now / self._workers)

    def _prepared(self) -> None:
        self._store(_PIECES)

    def _store(self, pieces: int) -> None:
        """The rest of a batch: so many times some work of its own, then its share of the serial part."""
        if pieces:
            own = (self._cost.server - self._cost.serial) / _PIECES
            self._compute(own, partial(self._want_serial, pieces - 1))
        else:
            self._stored()

    def _want_serial(self, pieces: int) -> None:
        if not self._cost.serial:
            self._store(pieces)
        elif self._locked:
            self._blocked.append((self._now, pieces))
        else:
            self._locked = True
            self._compute(self._cost.serial / _PIECES, partial(self._leave_serial, pieces))

    def _leave_serial(self, pieces: int) -> None:
        if self._blocked:
            since, waited = self._blocked.popleft()
            self._lock_seconds += self._now - since
            self._compute(self._cost.serial / _PIECES, partial(self._leave_serial, waited), woken=True)
        else:
            self._locked = False
        self._store(pieces)

    def _stored(self) -> None:
        self._done += 1
        if self._cost.behind:
            self._compute(self._cost.behind, lambda: None)
        self._after(self._cost.idle, partial(self._compute, self._cost.client, self._prepared))

    def _compute(self, seconds: float, then: Callable[[], None], woken: bool = False) -> None:
        """Takes a core for so long, at once or when one is free; who was woken comes first, as the kernel has it."""
        if self._free:
            self._free -= 1
            self._after(seconds * self._random.uniform(*_JITTER), partial(self._computed, then))
        elif woken:
            self._waiting.appendleft((seconds, then))
        else:
            self._waiting.append((seconds, then))

    def _computed(self, then: Callable[[], None]) -> None:
        self._free += 1
        then()  # first: whoever goes on computing keeps its core
        while self._free and self._waiting:
            self._compute(*self._waiting.popleft())

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._later, (self._now + seconds, self._order, action))
