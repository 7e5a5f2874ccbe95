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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from multiprocess.connection import wait

from vestige_migrate.errors import RangeFailed
from vestige_migrate.run import channel, processes, worker_process
from vestige_migrate.run.isolate import KILLS_OF_A_RANGE, Isolator, kills_allowed
from vestige_migrate.run.messages import (
    BatchDone,
    Connected,
    ErrorsFound,
    Message,
    RangeDone,
    RangeFault,
    RangeSplit,
    Task,
    Waiting,
    WorkerConfig,
    WorkerLost,
)
from vestige_migrate.run.session import MainSession
from vestige_migrate.source.ranges import Range

Handle = Callable[[Message], None]

FIRST_BACKOFF_SECONDS = 1.0
BACKOFF_FACTOR = 2.5
LONGEST_BACKOFF_SECONDS = 30.0
_STEPS_TO_LONGEST = math.ceil(math.log(LONGEST_BACKOFF_SECONDS / FIRST_BACKOFF_SECONDS, BACKOFF_FACTOR))
_JITTER = (0.8, 1.2)
KILL_PAUSE_SECONDS = 0.5
"""Before the next try of a range whose worker was killed: nothing says that the server is in trouble."""
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
    server_pid: int | None = None


@dataclass
class _Queue:
    """Ranges to copy: the ones that are due, in order, and the ones that wait for their next try."""

    due: list[Range]
    unfinished: int
    attempts: Counter[Range] = field(default_factory=Counter)
    kills: Counter[Range] = field(default_factory=Counter)
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
        isolator: Isolator | None = None,
    ) -> None:
        self._config = config
        self._size = size
        self._retries = retries
        self._warn = warn
        self._session = session
        self._isolator = isolator
        self._context = processes.context()
        self._workers: list[_Worker] = []

    def _grow(self, size: int) -> None:
        with processes.starting():
            while len(self._workers) < size:
                self._workers.append(self._start())

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=worker_process.main, args=(theirs, self._config), name="vestige-migrate worker", daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that are alive."""
        return [item.process.pid for item in self._workers if item.process.is_alive()]

    def run(self, ranges: Sequence[Range], ask_first: bool, handle: Handle) -> None:
        """Copies all ranges and returns when every one is in. `handle` gets every message.

        Raises `RangeFailed` when a range failed for good: at once on a permanent fault, else after `retries` tries; and
        psycopg.OperationalError as soon as `session` is lost.
        """
        self._grow(min(self._size, len(ranges)))
        queue = _Queue(list(ranges), len(ranges))
        while queue.unfinished:
            self._feed(queue, ask_first)
            ready = wait(self._watched(), timeout=queue.wait_seconds())
            if self._session is not None and self._session in ready:
                self._session.check()
            for item in list(self._workers):
                if item.pipe in ready:
                    self._receive(item, queue, handle)
                elif item.process.sentinel in ready:
                    self._bury(item, queue, handle)

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
                again = queue.attempts[range_] > 1 or range_.rowids is not None
                last_try = queue.attempts[range_] >= self._retries
                channel.send(item.pipe, Task(range_, ask_first or again, last_try))

    def _receive(self, item: _Worker, queue: _Queue, handle: Handle) -> None:
        try:
            message: Message = channel.receive(item.pipe)
        except EOFError:
            self._bury(item, queue, handle)
            return
        self._take(item, message, queue, handle)

    def _take(self, item: _Worker, message: Message, queue: _Queue, handle: Handle) -> None:
        """Deals with what a worker said."""
        if isinstance(message, Waiting):
            self._warn(f"{message.range}: {message.reason}")
            return
        if isinstance(message, Connected):
            item.server_pid = message.server_pid
            return
        handle(message)
        if isinstance(message, RangeDone):
            item.range = None
            queue.unfinished -= 1
        elif isinstance(message, RangeFault):
            item.range = None
            self._again(queue, message.range, message.reason, message.transient)

    def _bury(self, item: _Worker, queue: _Queue, handle: Handle) -> None:
        """Replaces a worker that ended; its range is tried again."""
        # What it said before it died still counts: a finished range must not be copied twice.
        while item.range is not None and _has_message(item.pipe):
            try:
                message: Message = channel.receive(item.pipe)
            except EOFError:
                break
            self._take(item, message, queue, handle)
        item.process.join()
        item.pipe.close()
        self._workers.remove(item)
        if self._session is not None:
            self._session.end(item.server_pid)
        if item.range is not None:
            reason = _ending(item.process.exitcode)
            handle(WorkerLost(item.range, reason))
            self._after_kill(queue, item.range, reason, handle)
        with processes.starting():
            self._workers.append(self._start())

    def _after_kill(self, queue: _Queue, range_: Range, reason: str, handle: Handle) -> None:
        """Another try; or its halves; or, where it is one row, the verdict on that."""
        queue.kills[range_] += 1
        if self._isolator is None or queue.kills[range_] < kills_allowed(range_):
            if range_.rowids is None:
                self._again(queue, range_, f"its worker {reason}", True, KILL_PAUSE_SECONDS)
            else:
                queue.due.insert(0, range_)
            return
        if range_.rowids is not None and len(range_.rowids) == 1:
            handle(ErrorsFound(range_, (self._isolator.verdict(range_, reason),)))
            handle(BatchDone(range_, 0, 0, 1))
            handle(RangeDone(range_))
            queue.unfinished -= 1
            return
        if range_.rowids is None:
            self._warn(f"{range_}: its worker {reason} {KILLS_OF_A_RANGE} times; looking for the row that does it")
        halves = self._isolator.halves(range_)
        handle(RangeSplit(range_, tuple(halves)))
        queue.due[:0] = halves
        queue.unfinished += len(halves) - 1

    def _again(self, queue: _Queue, range_: Range, reason: str, transient: bool, pause: float | None = None) -> None:
        attempt = queue.attempts[range_]
        copies = self._config.verify is None
        after = "What was committed stays; run again to resume" if copies else "Nothing was changed; run again"
        if not transient:
            raise RangeFailed(f"{range_} cannot be {'copied' if copies else 'compared'}: {reason}. {after}")
        if attempt >= self._retries:
            raise RangeFailed(f"{range_} failed {attempt} times, the last time because of {reason}. {after}")
        delay = backoff_seconds(attempt) if pause is None else pause
        self._warn(f"{range_}: {reason}; try {attempt + 1} of {self._retries} in {delay:.1f} s")
        queue.put_back(range_, delay)

    def stop(self) -> None:
        """Lets idle workers end and waits for them."""
        for item in self._workers:
            try:
                channel.send(item.pipe, None)
            except OSError:
                continue
        deadline = time.monotonic() + STOP_SECONDS
        for item in self._workers:
            item.process.join(max(0.0, deadline - time.monotonic()))
        self.kill()

    def kill(self, handle: Handle | None = None) -> None:
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
                    handle(channel.receive(item.pipe))
                except (EOFError, OSError):  # OSError: of whoever hears it
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
