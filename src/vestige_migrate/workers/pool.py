"""The pool of workers: starts, feeds and watches them; replaces the ones that die; tries their ranges again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from loguru import logger

from vestige_migrate.errors import HostKillsWorkers, HostTooSmall, RangeFailed
from vestige_migrate.source.read.ranges import KeySpan, Range, Rows
from vestige_migrate.workers.backlog import Backlog, backoff_seconds
from vestige_migrate.workers.bisect import KILLS_OF_A_RANGE, Bisector, kills_allowed
from vestige_migrate.workers.engine import Engine, NotStarted, WorkerHandle
from vestige_migrate.workers.evidence import CONTROL_PAUSES_SECONDS, Evidence
from vestige_migrate.workers.hang_watch import LOOK_EVERY_SECONDS, AwakeClock, Vigil, look
from vestige_migrate.workers.job import WorkerConfig
from vestige_migrate.workers.messages import (
    Alive,
    Begun,
    Broken,
    Connected,
    Message,
    Ping,
    Pong,
    RangeDone,
    RangeFault,
    RangeSplit,
    RowGivenUp,
    Sign,
    Task,
    Waiting,
    WorkerLost,
)
from vestige_migrate.workers.process_engine import ProcessEngine

Handle = Callable[[Message], None]

KILL_PAUSE_SECONDS = 0.5
"""Before the next try of a range whose worker was killed: nothing says that the server is in trouble."""
STOP_SECONDS = 5.0
"""How long an idle worker may take to end by itself before it is killed, and a killed one before it is left alone."""
_MOST_HELD = 4
"""So many rows in a row that seem to kill their workers, while nothing else gets done, are the machine's fault."""


@dataclass
class _Worker:
    handle: WorkerHandle
    vigil: Vigil
    range: Range | None = None
    server_pid: int | None = None
    begun: bool = False
    """It could reach both ends and works on its range."""
    given_at: float = 0.0
    control: bool = False
    """It has to prove that a worker can live here, and gets no range before."""
    proved: bool = False
    broken: str | None = None
    """Why it ended itself, in its own words."""
    stood_still: str | None = None
    """Why we ended it."""
    ended_at: float | None = None

    @property
    def is_watched(self) -> bool:
        """Whether it owes signs of life."""
        return self.range is not None or self.control


class Session(Protocol):
    """The run's own session with the server, which is watched while the workers work."""

    def fileno(self) -> int: ...

    def check(self) -> None:
        """Raises psycopg.OperationalError where it is lost."""

    def end(self, server_pid: int | None) -> None:
        """Ends the session of a worker that died: the next try would wait for its locks until the server sees it."""


class WorkerPool:
    """Up to `size` workers, each with one connection of its own to either side; never more than ranges."""

    def __init__(
        self,
        config: WorkerConfig,
        size: int,
        retries: int,
        warn: Callable[[str], None],
        session: Session | None = None,
        bisector: Bisector | None = None,
        engine: Engine | None = None,
    ) -> None:
        self._config = config
        self._size = size
        self._retries = retries
        self._warn = warn
        self._session = session
        self._bisector = bisector
        self._engine: Engine = engine or ProcessEngine()
        self._workers: list[_Worker] = []
        self._clock = AwakeClock()
        self._evidence = Evidence(size)
        self._known: Range | None = None
        """A range that a worker has finished: it kills none."""
        self._held: list[tuple[Range, str]] = []
        """Rows that seem to kill their workers. Said when another range was finished since."""

    @property
    def _after(self) -> str:
        return self._config.job.after_stop

    def _grow(self, size: int) -> None:
        if len(self._workers) >= size:
            return
        try:
            for handle in self._engine.start(self._config, size - len(self._workers)):
                self._workers.append(self._new(handle))
        except NotStarted as error:
            if not self._workers:
                raise self._cannot_start(error) from None
            self._warn(f"going on with {len(self._workers)} of {size} workers: {error}")
            self._size = len(self._workers)

    def _cannot_start(self, error: NotStarted) -> HostTooSmall:
        return HostTooSmall(f"no worker process can be started: {error}. {self._after}")

    def _new(self, handle: WorkerHandle) -> _Worker:
        now = self._clock.tick()
        return _Worker(handle, Vigil(now, now))

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that are alive."""
        return [item.handle.pid for item in self._workers if item.handle.is_alive()]

    def run(self, ranges: Sequence[Range], ask_first: bool, handle: Handle) -> None:
        """Deals with all ranges and returns when every one is done. `handle` gets what the
        workers say of their ranges.

        Raises `RangeFailed` when a range failed for good: at once on a permanent fault, else after `retries` tries;
        `HostKillsWorkers` where workers die whatever they do; `HostTooSmall` where none can be started; and
        psycopg.OperationalError as soon as `session` is lost.
        """
        wanted = min(self._size, len(ranges))
        backlog = Backlog(list(ranges), len(ranges))
        while backlog.unfinished:
            self._judge(backlog, handle)
            self._grow(min(wanted, self._size))
            self._feed(backlog, ask_first)
            self._serve(backlog, handle, LOOK_EVERY_SECONDS)
        self._tell_held(handle, at_end=True)

    def _serve(self, backlog: Backlog, handle: Handle, seconds: float) -> None:
        """Waits for the next thing that happens, at most so long, and deals with it."""
        due = backlog.wait_seconds()
        others = [self._session] if self._session is not None else []
        handles = [item.handle for item in self._workers]
        ready = self._engine.wait(handles, others, seconds if due is None else min(seconds, due))
        now = self._clock.tick()
        if self._session is not None and self._session in ready.others:
            self._session.check()
        for item in list(self._workers):
            if item.handle in ready.speaking:
                self._receive(item, backlog, handle)
            elif item.handle in ready.ended:
                self._bury(item, backlog, handle)
            elif item.is_watched:
                self._look_at(item, now, backlog, handle)

    def _feed(self, backlog: Backlog, ask_first: bool) -> None:
        for item in self._workers:
            if item.range is not None or item.control:
                continue
            range_ = backlog.next()
            if range_ is None:
                return
            self._give(item, range_, backlog, ask_first)

    def _give(self, item: _Worker, range_: Range, backlog: Backlog, ask_first: bool) -> None:
        backlog.attempts[range_] += 1
        item.range, item.begun, item.given_at = range_, False, self._clock.now
        item.vigil.hear(self._clock.now)
        again = backlog.attempts[range_] > 1 or isinstance(range_, Rows)
        last_try = backlog.attempts[range_] >= self._retries
        item.handle.send(Task(range_, ask_first or again, last_try))

    def _receive(self, item: _Worker, backlog: Backlog, handle: Handle) -> None:
        try:
            message = item.handle.receive()
        except EOFError:
            self._bury(item, backlog, handle)
            return
        self._take(item, message, backlog, handle)

    def _take(self, item: _Worker, message: Message | Sign, backlog: Backlog, handle: Handle) -> None:
        """Deals with what a worker said."""
        if isinstance(message, Alive):
            item.vigil.feel(message, self._clock.now)
            return
        item.vigil.hear(self._clock.now)
        if isinstance(message, Waiting):
            self._warn(f"{message.range}: {message.reason}")
        elif isinstance(message, Begun):
            item.begun = True
        elif isinstance(message, Connected):
            item.server_pid = message.server_pid
        elif isinstance(message, Broken):
            item.broken = message.reason
            logger.debug("a worker process ends: {}; {}", message.reason, message.places)
        elif isinstance(message, Pong):
            item.proved = True
        elif not item.control:  # what a control finds was reported before
            handle(message)
            self._advance(item, message, backlog, handle)

    def _advance(self, item: _Worker, message: Message, backlog: Backlog, handle: Handle) -> None:
        if isinstance(message, RangeDone):
            item.range = None
            backlog.unfinished -= 1
            self._known = message.range
            self._evidence.finished()
            self._tell_held(handle)
        elif isinstance(message, RangeFault):
            item.range = None
            self._again(backlog, message.range, message.reason, message.transient)

    def _look_at(self, item: _Worker, now: float, backlog: Backlog, handle: Handle) -> None:
        """Says that a worker stands still, ends it after a limit, and leaves it alone where even that does nothing."""
        if item.ended_at is not None:
            if now - item.ended_at >= STOP_SECONDS:
                self._warn(f"process {item.handle.pid} does not end, though it was killed: going on without it")
                self._bury(item, backlog, handle)
            return
        found = look(item.vigil, item.handle.pid, now, self._config.answer_timeout)
        if found is None:
            return
        who = f"{item.range or 'a new worker'}: its worker (process {item.handle.pid}) {found.what}"
        if found.is_over:
            item.stood_still = f"its worker {found.what} for {found.seconds:.0f} s and was ended"
            item.ended_at = now
            item.handle.kill()
        elif not item.vigil.said:
            item.vigil.said = True
            left = found.limit - found.seconds
            self._warn(f"{who}, for {found.seconds:.0f} s now; in {left:.0f} s it is ended, and its range tried again")

    def _bury(self, item: _Worker, backlog: Backlog, handle: Handle) -> None:
        """Deals with the end of a worker: its range is tried again, unless it speaks against that range."""
        # What it said before it died still counts: a finished range must not be copied twice.
        while item.handle.has_message():
            try:
                message = item.handle.receive()
            except EOFError:
                break
            self._take(item, message, backlog, handle)
        item.handle.let_go(STOP_SECONDS)
        item.handle.close()
        self._workers.remove(item)
        if self._session is not None:
            self._session.end(item.server_pid)
        range_, lived = item.range, self._clock.now - item.given_at
        if range_ is None:
            if not item.control:
                self._evidence.lost(None, 0.0)
            return
        reason = item.stood_still or f"its worker {_ending(item)}"
        handle(WorkerLost(range_, reason))
        if item.stood_still is not None:
            self._again(backlog, range_, reason, True, KILL_PAUSE_SECONDS)
        elif not item.begun:
            self._evidence.lost(None, lived)
            backlog.attempts[range_] -= 1  # no try of it: it had not come so far
            self._warn(f"{range_}: {reason} before it had begun; trying again")
            backlog.put_back(range_, KILL_PAUSE_SECONDS)
        else:
            self._evidence.lost(range_, lived)
            self._suspect(backlog, range_, lived, reason, handle)

    def _suspect(self, backlog: Backlog, range_: Range, lived: float, reason: str, handle: Handle) -> None:
        """A worker died over this range: another try; or its halves, or the verdict on a row, once that is certain."""
        kills = backlog.killed(range_, lived)
        is_whole = not isinstance(range_, Rows)
        if self._bisector is None or (is_whole and kills < KILLS_OF_A_RANGE):
            self._again(backlog, range_, reason, True, KILL_PAUSE_SECONDS)
        elif kills < kills_allowed(range_) or not isinstance(range_, Rows):
            backlog.suspects.append(range_)
        elif len(range_.rowids) > 1:
            self._split(backlog, range_, handle)
        else:
            self._held.append((range_, reason.removeprefix("its worker ")))
            backlog.unfinished -= 1

    def _split(self, backlog: Backlog, range_: Range, handle: Handle) -> None:
        assert self._bisector is not None
        halves = self._bisector.halves(range_)
        handle(RangeSplit(range_, tuple(halves)))
        self._evidence.split(range_, halves)
        backlog.split(range_, halves)

    def _judge(self, backlog: Backlog, handle: Handle) -> None:
        """Workers died: is it the rows or the machine? A control that gets no row decides: where it lives, the rows."""
        if self._evidence.is_against_host or len(self._held) >= _MOST_HELD:
            raise self._host_kills("workers of different ranges ended one after the other, and none was finished")
        while backlog.suspects or self._evidence.is_doubtful:
            suspect = backlog.suspects.pop(0) if backlog.suspects else None
            lived = backlog.lived_seconds[suspect] if suspect is not None else 0.0
            worker = self._prove(suspect, self._evidence.control_seconds(lived), backlog, handle)
            if suspect is None:
                continue
            if not isinstance(suspect, Rows):
                kills = backlog.kills[suspect]
                self._warn(f"{suspect}: it lost its worker {kills} times; looking for the row that does it")
                self._split(backlog, suspect, handle)
            else:
                # The very process that has just lived without it: where it dies now, it is the row's doing.
                self._give(worker, suspect, backlog, True)

    def _prove(self, about: Range | None, seconds: float, backlog: Backlog, handle: Handle) -> _Worker:
        """A fresh worker that has lived so long, and done again what was done before; the others work on meanwhile.

        Raises `HostKillsWorkers` where none lives.
        """
        endings = []
        for pause in (*CONTROL_PAUSES_SECONDS, None):
            control = self._start_control(about)
            until = self._clock.now + seconds
            while control in self._workers and not (control.proved and self._clock.now >= until):
                self._serve(backlog, handle, 0.1)
            if control in self._workers:
                control.control = False
                self._evidence.survived()
                return control
            endings.append(_ending(control))
            if control.broken is not None and len(endings) > 1:
                raise HostTooSmall(f"a worker process {endings[-1]}. {self._after}")
            if pause is not None:
                self._warn(f"a worker that had been given no row {endings[-1]}; trying another in {pause:.0f} s")
                until = self._clock.now + pause
                while self._clock.now < until:
                    self._serve(backlog, handle, 0.1)
        how = f"the last one {endings[-1]}"
        raise self._host_kills(f"{len(endings)} workers in a row that had been given no row ended, {how}")

    def _start_control(self, about: Range | None) -> _Worker:
        try:
            control = self._new(next(iter(self._engine.start(self._config, 1))))
        except NotStarted as error:
            raise self._cannot_start(error) from None
        control.control = True
        self._workers.append(control)
        range_ = about or self._known or KeySpan("knowledge_nodes", 0)
        control.handle.send(Ping(range_, self._known))
        return control

    def _host_kills(self, what: str) -> HostKillsWorkers:
        return HostKillsWorkers(
            f"something on this machine ends the worker processes: {what}. No row is to blame. Usually it is the "
            "kernel's memory killer: its log says so (dmesg, or journalctl -k). Give the machine or the container more "
            f"memory, or use fewer workers (--workers 1). {self._after}"
        )

    def _tell_held(self, handle: Handle, at_end: bool = False) -> None:
        """The verdicts on rows. They waited until a worker had finished something else since, or nothing else is left.

        Raises `HostKillsWorkers` where several rows were lost, and no worker has ever finished anything.
        """
        if at_end and self._known is None and len(self._held) > 1:
            raise self._host_kills("workers of different rows ended one after the other, and none was finished")
        held, self._held = self._held, []
        for range_, reason in held:
            assert self._bisector is not None
            handle(RowGivenUp(range_, self._bisector.verdict(range_, reason, self._config.job.done)))

    def _again(self, backlog: Backlog, range_: Range, reason: str, transient: bool, pause: float | None = None) -> None:
        attempt = backlog.attempts[range_]
        if not transient:
            raise RangeFailed(f"{range_} cannot be {self._config.job.done}: {reason}. {self._after}")
        if attempt >= self._retries:
            raise RangeFailed(f"{range_} failed {attempt} times, the last time because of {reason}. {self._after}")
        delay = backoff_seconds(attempt) if pause is None else pause
        self._warn(f"{range_}: {reason}; try {attempt + 1} of {self._retries} in {delay:.1f} s")
        backlog.put_back(range_, delay)

    def stop(self) -> None:
        """Lets idle workers end and waits for them."""
        for item in self._workers:
            with suppress(OSError):
                item.handle.send(None)
        deadline = time.monotonic() + STOP_SECONDS
        for item in self._workers:
            item.handle.join(max(0.0, deadline - time.monotonic()))
        self.kill()

    def kill(self, handle: Handle | None = None) -> None:
        """Ends every worker at once, whatever it is doing. `handle` gets what they had said before.

        A batch's errors are said before it is committed, and no later run would find them again.
        """
        for item in self._workers:
            if item.handle.is_alive():
                item.handle.kill()
        for item in self._workers:
            item.handle.let_go(STOP_SECONDS)
            while handle is not None and item.handle.has_message():
                try:
                    message = item.handle.receive()
                    if not item.control and not isinstance(message, Sign | Waiting):
                        handle(message)
                except (EOFError, OSError):  # OSError: of whoever hears it
                    break
            item.handle.close()
        self._workers.clear()


def _ending(item: _Worker) -> str:
    """How the worker ended, after "the worker"."""
    return f"ended: {item.broken}" if item.broken else item.handle.ending()
