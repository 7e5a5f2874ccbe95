"""Waiting for a server that is away: connecting again with backoff, for a bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import psycopg

from vestige_migrate.destination.connection.faults import describe, is_transient
from vestige_migrate.destination.connection.refusal import NotConnected, first_line
from vestige_migrate.destination.connection.server_identity import WrongServer

PATIENCE_SECONDS = 75.0
"""How long a worker tries to reach a server that is away: a restart with recovery fits, an outage does not."""
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0

_Opened = TypeVar("_Opened")


class ServerAway(Exception):
    """The server could not be reached for as long as we wait; the message says why, the last time."""


def connect_patiently(
    open_: Callable[[], _Opened], say: Callable[[str], None], patience: float = PATIENCE_SECONDS
) -> _Opened:
    """What `open_` returns, once it does. `say` gets each wait and its reason before it begins.

    Raises `ServerAway` when the patience has run out, and at once what is no use to try again.
    """
    started = time.monotonic()
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return open_()
        except psycopg.Error as error:
            if not is_transient(error):
                raise
            reason = why_not_connected(error)
            advice = f". {error.advice}" if isinstance(error, NotConnected) else ""
        waited = time.monotonic() - started
        if waited + pause > patience:
            raise ServerAway(f"no connection for {waited:.0f} s, the last time because of: {reason}{advice}")
        say(f"no connection: {reason}; trying again in {pause:.1f} s")
        time.sleep(pause)
        pause = min(LONGEST_PAUSE_SECONDS, pause * 2)


def why_not_connected(error: psycopg.Error) -> str:
    """One line. libpq's text about a connection that was never made names host, user and database only."""
    if error.sqlstate is not None or isinstance(error, WrongServer):
        return describe(error)
    return first_line(error)
