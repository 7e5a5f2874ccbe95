"""Connections that notice when they hang: a server that is silent is asked, over a second one, what it is doing.

TCP's keepalives notice a host that is gone. They do not notice a proxy, a tunnel or a stateful firewall that stops
forwarding, whose own kernel goes on acknowledging. And silence alone proves nothing: a server that waits for a lock, or
builds an index for an hour, says nothing either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from loguru import logger
from psycopg.rows import TupleRow

FIRST_QUESTION_SECONDS = 5.0
"""Silence after which the server is asked for the first time: an operator wants to know of a lock soon."""
SILENCE_SECONDS = 30.0
"""Silence after which a session is given up whose server is not at work for it, or cannot be asked."""
_PROBE_TIMEOUT_SECONDS = 5
"""For the second connection to be made, and for each of its answers."""

_Result = TypeVar("_Result")


class NoAnswer(psycopg.OperationalError):
    """The connection hangs; the message says how that was found out. It holds no row content."""


@dataclass(frozen=True)
class SessionState:
    """What `pg_stat_activity` says of a session, and who holds the lock that it waits for."""

    state: str | None
    wait_type: str | None
    blockers: str | None
    relation: str | None

    @property
    def is_at_work(self) -> bool:
        """Whether the server owes an answer. In `Client` it waits for us, as it does where it is idle.

        `state` is None where the role may not see it (a session of another role, behind a pooler).
        """
        return self.state is None or self.state == "disabled" or (self.state == "active" and self.wait_type != "Client")


class WatchedConnection(psycopg.Connection[TupleRow]):
    """Raises `NoAnswer` where the server has said nothing for `silence_seconds` and is not at work either.

    Waiting for a lock is said once a wait, through `say`.
    """

    silence_seconds = SILENCE_SECONDS
    probe: str | None = None
    """The connection string of the second connection; None: the clock alone decides."""
    server_pid: int | None = None
    say: Callable[[str], object] = staticmethod(logger.warning)

    def wait(self, gen: Generator[Any, Any, _Result], *args: Any, **more: Any) -> _Result:
        """psycopg's own, with an eye on the clock: it wakes ten times a second while nothing comes."""
        return super().wait(self._watch(gen), *args, **more)

    def _watch(self, gen: Generator[Any, Any, _Result]) -> Generator[Any, Any, _Result]:
        first = min(FIRST_QUESTION_SECONDS, self.silence_seconds)
        since, ask_at = time.monotonic(), first
        said: set[str] = set()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                silent = time.monotonic() - since
                if ready:
                    since, ask_at = time.monotonic(), first
                elif silent >= ask_at:
                    self._question(silent, said)
                    ask_at = self.silence_seconds if silent < self.silence_seconds else silent + self.silence_seconds
                wanted = gen.send(ready)
        except StopIteration as end:
            result: _Result = end.value
            return result

    def _question(self, silent: float, said: set[str]) -> None:
        """Asks the server about this session; raises `NoAnswer` where it is lost."""
        enough = silent >= self.silence_seconds
        why = self._why_silent(enough, said)
        if why is not None and enough:
            self.pgconn.finish()
            raise NoAnswer(f"no answer for {silent:.0f} s, and {why}")

    def _why_silent(self, enough: bool, said: set[str]) -> str | None:
        """None where the server is at work for this session, else what is wrong."""
        if self.probe is None:
            return "none was due to take so long"
        try:
            with _open_probe(self.probe) as second:
                state = _state_of(second, self.server_pid)
                if state is not None and state.is_at_work:
                    self._say_blocked(state, said)
                    return None
                if enough:
                    # Its transaction would hold its locks until the server notices by itself: the next try would wait
                    # for them.
                    second.execute("SELECT pg_terminate_backend(%s)", (self.server_pid,))
                return "the server was not at work for this connection"
        except psycopg.Error as error:
            # With an SQLSTATE it did answer, if only that it has no connection free.
            return "a second connection got none either" if error.sqlstate is None else None

    def _say_blocked(self, state: SessionState, said: set[str]) -> None:
        if state.blockers is None:
            return
        where = f" on {state.relation}" if state.relation else ""
        text = f"waiting for a lock{where} that is held by {state.blockers}"
        if text not in said:
            said.add(text)
            self.say(text)


def _open_probe(probe: str) -> WatchedConnection:
    connection = WatchedConnection.connect(probe, autocommit=True, connect_timeout=_PROBE_TIMEOUT_SECONDS)
    connection.silence_seconds = _PROBE_TIMEOUT_SECONDS
    return connection


def _state_of(connection: psycopg.Connection[TupleRow], pid: int | None) -> SessionState | None:
    row = connection.execute(
        "SELECT a.state, a.wait_event_type,"
        " (SELECT string_agg(format('process %%s (%%s)', b.pid,"
        "     coalesce(nullif(b.application_name, ''), 'unnamed')), ', ')"
        "   FROM pg_stat_activity AS b WHERE b.pid = ANY (pg_blocking_pids(a.pid))),"
        " (SELECT min(l.relation::regclass::text) FROM pg_locks AS l WHERE l.pid = a.pid AND NOT l.granted)"
        " FROM pg_stat_activity AS a WHERE a.pid = %s",
        (pid,),
    ).fetchone()
    return SessionState(*row) if row else None
