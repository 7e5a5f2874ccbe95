"""The pool of workers with an engine that is no process: what it does about a worker that is lost is its own."""

from __future__ import annotations

import os
import pickle
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from multiprocess import Pipe

from vestige_migrate.copy.job import CopyJob
from vestige_migrate.copy.messages import ErrorsFound
from vestige_migrate.errors import RangeFailed
from vestige_migrate.source.read.ranges import KeySpan, Range, Rows
from vestige_migrate.verify.job import CompareJob
from vestige_migrate.workers.engine import Ready, Waitable, WorkerHandle
from vestige_migrate.workers.job import Job, WorkerConfig
from vestige_migrate.workers.messages import (
    Begun,
    Message,
    Ping,
    Pong,
    RangeDone,
    RangeFault,
    RowGivenUp,
    Sign,
    Task,
    WorkerLost,
)
from vestige_migrate.workers.pool import WorkerPool
from vestige_migrate.workers.process_engine import WorkerProcess

NOTHING: Any = None
COPY = CopyJob(NOTHING, 1, 1, NOTHING)
COMPARE = CompareJob(NOTHING, 1, NOTHING, NOTHING)
FINE, OTHER, DEADLY = (KeySpan("edges", number) for number in range(3))


class Puppet:
    """A worker without a process: deals with every range but the ones that `deaths` counts a death for."""

    def __init__(self, deaths: dict[Range, int], faults: dict[Range, bool], pid: int) -> None:
        self.pid = pid
        self.said: deque[Message | Sign] = deque()
        self.gone = False
        self._deaths = deaths
        self._faults = faults

    def is_alive(self) -> bool:
        return not self.gone

    def send(self, order: Task | Ping | None) -> None:
        if order is None:
            self.gone = True
        elif isinstance(order, Ping):
            self.said.append(Pong())
        else:
            self.said.append(Begun(order.range))
            if order.range in self._faults:
                self.said.append(RangeFault(order.range, self._faults[order.range], "PostgreSQL: refused"))
            elif self._deaths.get(order.range, 0) > 0:
                self._deaths[order.range] -= 1
                self.gone = True
            else:
                self.said.append(RangeDone(order.range))

    def has_message(self) -> bool:
        return bool(self.said)

    def receive(self) -> Message | Sign:
        if not self.said:
            raise EOFError
        return self.said.popleft()

    def join(self, seconds: float) -> None: ...
    def kill(self) -> None:
        self.gone = True

    def let_go(self, seconds: float) -> None: ...
    def close(self) -> None: ...
    def ending(self) -> str:
        return "was killed by signal 9"


class Puppets:
    """An engine of them."""

    def __init__(self, deaths: dict[Range, int], faults: dict[Range, bool]) -> None:
        self.made: list[Puppet] = []
        self._deaths = deaths
        self._faults = faults

    def start(self, config: WorkerConfig, count: int) -> Iterator[WorkerHandle]:
        for _ in range(count):
            self.made.append(Puppet(self._deaths, self._faults, len(self.made)))
            yield self.made[-1]

    def wait(self, workers: Sequence[WorkerHandle], others: Sequence[Waitable], seconds: float) -> Ready:
        speaking = [each for each in workers if each.has_message()]
        return Ready(speaking, [each for each in workers if not each.is_alive()], ())


class Halves:
    """In the place of a bisector: the range is one row."""

    def halves(self, range_: Range) -> list[Rows]:
        return [Rows(range_.table, range_.number, (7,))]

    def verdict(self, range_: Range, reason: str, done: str) -> Any:
        return f"{range_} {done}: {reason}"


def pool(engine: Puppets, job: Job, warnings: list[str], retries: int = 5) -> WorkerPool:
    halves: Any = Halves()
    return WorkerPool(WorkerConfig(NOTHING, "", "", 30.0, job), 1, retries, warnings.append, None, halves, engine)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vestige_migrate.workers.pool.KILL_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("vestige_migrate.workers.pool.backoff_seconds", lambda attempt: 0.0)
    monkeypatch.setattr("vestige_migrate.workers.evidence.SHORTEST_CONTROL_SECONDS", 0.0)


def test_a_worker_that_is_lost_is_replaced_and_its_range_tried_again() -> None:
    engine, got, warned = Puppets({OTHER: 2}, {}), list[Message](), list[str]()
    pool(engine, COPY, warned).run([FINE, OTHER], False, got.append)
    assert [message.range for message in got if isinstance(message, RangeDone)] == [FINE, OTHER]
    assert [message.range for message in got if isinstance(message, WorkerLost)] == [OTHER, OTHER]
    assert len(engine.made) == 3
    assert len(warned) == 2


@pytest.mark.parametrize(("job", "done"), [(COPY, "copied"), (COMPARE, "compared")])
def test_a_row_that_ends_every_worker_is_given_up_in_the_words_of_the_job(job: Job, done: str) -> None:
    row = Rows("edges", DEADLY.number, (7,))
    got, warned = list[Message](), list[str]()
    pool(Puppets({DEADLY: 99, row: 99}, {}), job, warned).run([DEADLY, FINE], False, got.append)
    [given_up] = [message for message in got if isinstance(message, RowGivenUp)]
    assert (given_up.range, str(given_up.error)) == (row, f"{row} {done}: was killed by signal 9")
    assert [message.range for message in got if isinstance(message, RangeDone)] == [FINE]


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (COPY, r"cannot be copied: PostgreSQL: refused\. What was committed stays; run again to resume$"),
        (COMPARE, r"cannot be compared: PostgreSQL: refused\. Nothing was changed; run again$"),
    ],
)
def test_a_fault_that_stays_ends_the_run_at_once_in_the_words_of_the_job(job: Job, said: str) -> None:
    with pytest.raises(RangeFailed, match=said):
        pool(Puppets({}, {FINE: False}), job, []).run([FINE], False, lambda message: None)


def test_a_fault_that_may_pass_is_tried_so_often_as_was_asked_for() -> None:
    with pytest.raises(RangeFailed, match="failed 3 times, the last time because of PostgreSQL: refused"):
        pool(Puppets({}, {FINE: True}), COPY, [], retries=3).run([FINE], False, lambda message: None)


def test_half_a_message_is_the_end_of_its_worker() -> None:
    ours, theirs = Pipe()
    whole = pickle.dumps(ErrorsFound(FINE, ()))
    os.write(theirs.fileno(), struct.pack("!i", len(whole) + 100_000) + whole)
    theirs.close()
    worker = WorkerProcess(None, ours)
    assert worker.has_message()
    with pytest.raises(EOFError):
        worker.receive()
