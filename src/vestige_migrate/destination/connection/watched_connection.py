"""Connections that notice when they hang: a server that is silent is asked, over a second one, what it is doing.

TCP's keepalives notice a host that is gone. They do not notice a proxy, a tunnel or a stateful firewall that stops
forwarding, whose own kernel goes on acknowledging. And silence alone proves nothing: a server that waits for a lock, or
builds an index for an hour, says nothing either.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import psycopg
from loguru import logger
from psycopg.rows import TupleRow

from vestige_migrate.destination.connection.refusal import NotConnected, not_connected
from vestige_migrate.destination.connection.server_identity import Home, WrongServer, settle
from vestige_migrate.destination.connection.server_waits import SessionState

FIRST_QUESTION_SECONDS = 5.0
"""Silence after which the server is asked for the first time: an operator wants to know of a lock soon."""
SILENCE_SECONDS = 30.0
"""Silence after which a session is given up whose server is not at work for it, or cannot be asked."""
WORK_SECONDS = 30.0
"""Work without a wait that is said, and again after twice as long."""
SAID_AGAIN_SECONDS = 60.0
"""A wait of the same kind in a later statement is said again after these."""
BRISK_SECONDS = 5.0
"""Silence that is enough where nothing may take long: a session is being ended, or a lock let go of."""
_PROBE_TIMEOUT_SECONDS = 5
"""For the second connection to be made, and for each of its answers."""
_ON_ITS_WAY_SECONDS = 1.0
"""For the answer of a session that is no longer at work: it may have ended its work while it was asked about."""

_Result = TypeVar("_Result")


class NoAnswer(psycopg.OperationalError):
    """The connection hangs; the message says how that was found out. It holds no row content."""


class _Silence:
    """The server's, since it was last heard of."""

    def __init__(self, first_question: float) -> None:
        self._first = first_question
        self.said: set[str] = set()
        self.ends()

    def ends(self) -> None:
        """Something came, or went."""
        self.since, self.ask_at = time.monotonic(), self._first
        self.say_work_at = WORK_SECONDS

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.since


class WatchedConnection(psycopg.Connection[TupleRow]):
    """Raises `NoAnswer` where the server has said nothing for `answer_timeout` and is not at work either.

    What it waits for is said once a wait, through `say`.
    """

    answer_timeout = SILENCE_SECONDS
    probe: str | None = None
    """The connection string of the second connection; None: the clock alone decides."""
    home: Home | None = None
    """Where the second connection has to arrive: elsewhere, our process id is somebody else's."""
    server_pid: int | None = None
    long_statements = False
    """Whether its statements take long by nature, as an index build does, and somebody tells how they get on."""
    say: Callable[[str], object] = staticmethod(logger.warning)

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._said: dict[str, float] = {}

    @classmethod
    def connect(cls, conninfo: str = "", **more: Any) -> Self:
        """psycopg's own. Raises `NotConnected`, which knows why and what to do."""
        try:
            return super().connect(conninfo, **more)
        except psycopg.OperationalError as error:
            raise not_connected(error, conninfo) from None

    def wait(self, gen: Generator[Any, Any, _Result], *args: Any, **more: Any) -> _Result:
        """psycopg's own, with an eye on the clock: it wakes ten times a second while nothing comes."""
        return super().wait(self._watch(gen), *args, **more)

    def _watch(self, gen: Generator[Any, Any, _Result]) -> Generator[Any, Any, _Result]:
        silence = _Silence(min(FIRST_QUESTION_SECONDS, self.answer_timeout))
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    silence.ends()
                elif silence.seconds >= silence.ask_at:
                    self._question(silence, int(wanted))
                wanted = gen.send(ready)
        except StopIteration as end:
            result: _Result = end.value
            return result

    def _question(self, silence: _Silence, wanted: int) -> None:
        """Asks the server about this session; raises `NoAnswer` where it is lost.

        `wanted` is what psycopg waits for, as one of `psycopg.waiting.Wait`.
        """
        silent = silence.seconds
        enough = silent >= self.answer_timeout
        why = self._why_silent(enough, silence, wanted)
        if why is not None and enough:
            self.pgconn.finish()
            raise NoAnswer(f"no answer for {silent:.0f} s, and {why}")
        silence.ask_at = (
            silence.seconds + self.answer_timeout
            if enough
            else min(silence.seconds + WORK_SECONDS, self.answer_timeout)
        )

    def _why_silent(self, enough: bool, silence: _Silence, wanted: int) -> str | None:
        """None where the server is at work for this session, else what is wrong."""
        if self.probe is None:
            return "none was due to take so long"
        try:
            with _open_probe(self.probe, self.home) as second:
                state = _state_of(second, self.server_pid)
                if state is not None and state.is_at_work:
                    self._say_what_it_does(state, silence)
                    return None
                if enough:
                    if self._comes_now(wanted):
                        return None
                    # Its transaction would hold its locks until the server notices by itself: the next try would wait
                    # for them.
                    second.execute("SELECT pg_terminate_backend(%s)", (self.server_pid,))
                return "the server was not at work for this connection"
        except WrongServer:
            return "a second connection reached another server, or the same one after a restart"
        except NotConnected as error:
            # Where it did answer, it lives: it has no connection free.
            return None if error.answered else "a second connection got none either"
        except psycopg.Error as error:
            return "a second connection got none either" if error.sqlstate is None else None

    def _comes_now(self, wanted: int) -> bool:
        """Whether what psycopg waits for is there, or comes within a moment.

        The values of `psycopg.waiting.Wait` are those of `selectors`, on which psycopg itself relies.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self.pgconn.socket, wanted)
            return bool(selector.select(_ON_ITS_WAY_SECONDS))

    def _say_what_it_does(self, state: SessionState, silence: _Silence) -> None:
        wait = state.describe_wait(self.long_statements)
        now = time.monotonic()
        if wait is not None:
            # A slow standby is waited for in every commit.
            if now - self._said.get(wait, -SAID_AGAIN_SECONDS) >= SAID_AGAIN_SECONDS and wait not in silence.said:
                silence.said.add(wait)
                self._said[wait] = now
                self.say(wait)
        elif state.wait_type is None and silence.seconds >= silence.say_work_at and not self.long_statements:
            silence.say_work_at = 2 * silence.seconds
            self.say(
                f"the server has been at work for {silence.seconds:.0f} s and waits for nothing: it computes, or its "
                f"process {self.server_pid} stands still"
            )


@contextmanager
def brisk(connection: psycopg.Connection[TupleRow]) -> Iterator[None]:
    """Statements that never take long: silence of some seconds is enough to give the session up."""
    if not isinstance(connection, WatchedConnection):
        yield
        return
    before = connection.answer_timeout
    connection.answer_timeout = min(before, BRISK_SECONDS)
    try:
        yield
    finally:
        connection.answer_timeout = before


def _open_probe(probe: str, home: Home | None) -> WatchedConnection:
    def open_() -> WatchedConnection:
        connection = WatchedConnection.connect(probe, autocommit=True, connect_timeout=_PROBE_TIMEOUT_SECONDS)
        connection.answer_timeout = _PROBE_TIMEOUT_SECONDS
        return connection

    return settle(open_, home.server if home is not None else None)


def _state_of(connection: psycopg.Connection[TupleRow], pid: int | None) -> SessionState | None:
    row = connection.execute(
        "SELECT a.state, a.wait_event_type, a.wait_event,"
        " (SELECT string_agg(format('process %%s (%%s)', b.pid,"
        "     coalesce(nullif(b.application_name, ''), 'unnamed')), ', ')"
        "   FROM pg_stat_activity AS b WHERE b.pid = ANY (pg_blocking_pids(a.pid))),"
        " (SELECT min(l.relation::regclass::text) FROM pg_locks AS l WHERE l.pid = a.pid AND NOT l.granted)"
        " FROM pg_stat_activity AS a WHERE a.pid = %s",
        (pid,),
    ).fetchone()
    return SessionState(*row) if row else None
