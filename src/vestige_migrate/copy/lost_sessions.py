"""Where the coordinator loses its session, everything is gone through again, and what is missing is written."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import psycopg
from loguru import logger

from vestige_migrate.destination.connection.faults import describe, is_session_lost
from vestige_migrate.prepare.session import MainSession
from vestige_migrate.workers.backlog import backoff_seconds


def through_lost_sessions(
    session: MainSession, retries: int, write: Callable[[bool], None], start_over: Callable[[], None] = lambda: None
) -> None:
    """Calls `write(again)` until the session lasts to its end; `again` is False the first time, and `start_over` is
    called before every other.

    Raises what `write` raises otherwise, and `Stopped` where the server stays away.
    """
    for recoveries in itertools.count():
        try:
            write(recoveries > 0)
            break
        except psycopg.Error as error:
            if not is_session_lost(error) or recoveries >= retries:
                raise
            if recoveries:
                time.sleep(backoff_seconds(recoveries))
            _recover(session, error)
            start_over()


def _recover(session: MainSession, error: psycopg.Error) -> None:
    """A new session with the lock; then everything is gone through again.

    The workers' commits are not flushed one by one: a server that crashed may have lost the last ones, of a phase
    that had ended too. So every range asks the destination what it has, and sends what is missing.
    """
    logger.warning("the coordinator lost its session ({}) and will begin again with another", describe(error))
    session.recover()
    logger.info("connected again: what the destination has already is not sent a second time")
