"""The pool of writer processes: starts, feeds and watches them; replaces the ones that die; retries their ranges.

`multiprocess.Pool` hangs for ever when a worker is killed (the task is simply gone), so each worker has a pipe and
a sentinel of its own here, and one `wait` watches them all.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from multiprocess.connection import wait

from vestige_migrate.errors import RangeFailed
from vestige_migrate.run import processes, worker
from vestige_migrate.run.messages import Message, RangeDone, RangeFault, Task, Waiting, WorkerConfig, WorkerLost
from vestige_migrate.run.session import MainSession
from vestige_migrate.source.ranges import Range

FIRST_BACKOFF_SECONDS = 1.0
BACKOFF_FACTOR = 2.5
LONGEST_BACKOFF_SECONDS = 30.0
_STEPS_TO_LONGEST = math.ceil(math.log(LONGEST_BACKOFF_SECONDS / FIRST_BACKOFF_SECONDS, BACKOFF_FACTOR))
_JITTER = (0.8, 1.2)
STOP_SECONDS = 5.0
"""How long an idle worker may take to end by itself before it is killed."""


def backoff_seconds(attempt: int) -> float:
    """The wait before try number `attempt + 1`: exponential, with jitter so that workers do not return in step."""
    steps = min(attempt - 1, _STEPS_TO_LONGEST)  # a float overflows at some 770 steps
    wait_seconds = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * BACKOFF_FACTOR**steps)
    return wait_seconds * random.uniform(*_JITTER)


@dataclass
class _Worker:
    process: Any
    pipe: Any
    range: Range | None = None


@dataclass
class _Queue:
    """Ranges to copy: the ones that are due, in order, and the ones that wait for their next try."""

    attempts: dict[Range, int]
    due: list[Range]
    waiting: list[tuple[float, int, Range]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=itertools.count)

    def next(self) -> Range | None:
        while self.waiting and self.waiting[0][0] <= time.monotonic():
            self.due.append(heapq.heappop(self.waiting)[2])
        return self.due.pop(0) if self.due else None

    def put_back(self, range_: Range, delay: float) -> None:
        heapq.heappush(self.waiting, (time.monotonic() + delay, next(self._order), range_))

    def wait_seconds(self) -> float | None:
        return max(0.0, self.waiting[0][0] - time.monotonic()) if self.waiting else None


class WriterPool:
    """Up to `size` writer processes, each with one connection of its own to either side; never more than ranges."""

    def __init__(
        self,
        config: WorkerConfig,
        size: int,
        retries: int,
        warn: Callable[[str], None],
        session: MainSession | None = None,
    ) -> None:
        self._config = config
        self._size = size
        self._retries = retries
        self._warn = warn
        self._session = session
        self._context = processes.context()
        self._workers: list[_Worker] = []

    def _grow(self, size: int) -> None:
        with processes.starting():
            while len(self._workers) < size:
                self._workers.append(self._start())

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=worker.main, args=(theirs, self._config), name="vestige-migrate worker", daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that are alive."""
        return [item.process.pid for item in self._workers if item.process.is_alive()]

    def run(self, ranges: Sequence[Range], ask_first: bool, handle: Callable[[Message], None]) -> None:
        """Copies all ranges and returns when every one is in. `handle` gets every message.

        Raises `RangeFailed` when a range failed for good: at once on a permanent fault, else after `retries` tries; and
        psycopg.OperationalError as soon as `session` is lost.
        """
        self._grow(min(self._size, len(ranges)))
        queue = _Queue(attempts=dict.fromkeys(ranges, 0), due=list(ranges))
        left = len(ranges)
        while left:
            self._feed(queue, ask_first)
            ready = wait(self._watched(), timeout=queue.wait_seconds())
            if self._session is not None and self._session in ready:
                self._session.check()
            for item in list(self._workers):
                if item.pipe in ready:
                    left -= self._receive(item, queue, handle)
                elif item.process.sentinel in ready:
                    left -= self._bury(item, queue, handle)

    def _watched(self) -> list[Any]:
        found = [thing for item in self._workers for thing in (item.pipe, item.process.sentinel)]
        # On Windows `wait` takes no socket of libpq's: there the loss shows at the barrier.
        return [*found, self._session] if self._session is not None and sys.platform != "win32" else found

    def _feed(self, queue: _Queue, ask_first: bool) -> None:
        for item in self._workers:
            if item.range is not None:
                continue
            range_ = queue.next()
            if range_ is None:
                return
            queue.attempts[range_] += 1
            item.range = range_
            with suppress(BrokenPipeError, ConnectionResetError):  # its sentinel tells next
                item.pipe.send(Task(range_, ask_first or queue.attempts[range_] > 1))

    def _receive(self, item: _Worker, queue: _Queue, handle: Callable[[Message], None]) -> int:
        """Takes one message; returns how many ranges it finished."""
        try:
            message: Message = item.pipe.recv()
        except (EOFError, ConnectionResetError):
            return self._bury(item, queue, handle)
        if isinstance(message, Waiting):
            self._warn(f"{message.range}: {message.reason}")
            return 0
        handle(message)
        if isinstance(message, RangeDone):
            item.range = None
            return 1
        if isinstance(message, RangeFault):
            item.range = None
            self._again(queue, message.range, message.reason, message.transient)
        return 0

    def _bury(self, item: _Worker, queue: _Queue, handle: Callable[[Message], None]) -> int:
        """Replaces a worker that ended; its range is tried again."""
        finished = 0
        # What it said before it died still counts: a finished range must not be copied twice.
        while item.range is not None and _has_message(item.pipe):
            before = item.range
            try:
                message: Message = item.pipe.recv()
            except (EOFError, OSError):
                break
            handle(message)
            if isinstance(message, RangeDone):
                item.range = None
                finished += 1
            elif isinstance(message, RangeFault):
                item.range = None
                self._again(queue, before, message.reason, message.transient)
        item.process.join()
        item.pipe.close()
        self._workers.remove(item)
        if item.range is not None:
            reason = _ending(item.process.exitcode)
            handle(WorkerLost(item.range, reason))
            self._again(queue, item.range, f"its worker {reason}", transient=True)
        with processes.starting():
            self._workers.append(self._start())
        return finished

    def _again(self, queue: _Queue, range_: Range, reason: str, transient: bool) -> None:
        attempt = queue.attempts[range_]
        copies = self._config.verify is None
        after = "What was committed stays; run again to resume" if copies else "Nothing was changed; run again"
        if not transient:
            raise RangeFailed(f"{range_} cannot be {'copied' if copies else 'compared'}: {reason}. {after}")
        if attempt >= self._retries:
            raise RangeFailed(f"{range_} failed {attempt} times, the last time because of {reason}. {after}")
        delay = backoff_seconds(attempt)
        self._warn(f"{range_}: {reason}; try {attempt + 1} of {self._retries} in {delay:.1f} s")
        queue.put_back(range_, delay)

    def stop(self) -> None:
        """Lets idle workers end and waits for them."""
        for item in self._workers:
            try:
                item.pipe.send(None)
            except OSError:
                continue
        deadline = time.monotonic() + STOP_SECONDS
        for item in self._workers:
            item.process.join(max(0.0, deadline - time.monotonic()))
        self.kill()

    def kill(self, handle: Callable[[Message], None] | None = None) -> None:
        """Ends every worker at once, whatever it is doing. `handle` gets what they had said before.

        A batch's errors are said before it is committed, and no later run would find them again.
        """
        for item in self._workers:
            if item.process.is_alive():
                item.process.kill()
        for item in self._workers:
            item.process.join()
            while handle is not None and _has_message(item.pipe):
                try:
                    handle(item.pipe.recv())
                except (EOFError, OSError):
                    break
            item.pipe.close()
        self._workers.clear()


def _has_message(pipe: Any) -> bool:
    try:
        return bool(pipe.poll())
    except (OSError, EOFError):
        return False


def _ending(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"was killed by signal {-exitcode}"
    return f"ended with exit code {exitcode}"
