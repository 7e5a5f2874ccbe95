"""The first connection of a run: what to do where there is none, or where a pooler would share it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
from loguru import logger

from vestige_migrate.destination.connection.connect import (
    Connection,
    connection_string,
    display_reached,
    display_url,
    prepare_session,
    watch,
)
from vestige_migrate.destination.connection.encoding import check_encoding
from vestige_migrate.destination.connection.faults import describe
from vestige_migrate.destination.connection.refusal import CHECK, NotConnected, first_line
from vestige_migrate.destination.connection.required_functions import check_functions
from vestige_migrate.destination.connection.server_identity import Home, WrongServer, identify, pin, settle
from vestige_migrate.destination.connection.target_schema import find_target
from vestige_migrate.destination.connection.watched_connection import SILENCE_SECONDS, WatchedConnection
from vestige_migrate.errors import DestinationUnusable

_SESSION_PROBES = 10


def open_first_session(
    url: str,
    application_name: str,
    answer_timeout: float = SILENCE_SECONDS,
    schema: str | None = None,
    only_reads: bool = False,
) -> WatchedConnection:
    """Like `connect`, for the first time: where it arrives is the run's `home`, which the connection then has.

    The home's target is decided here, by `schema` where it is given; `only_reads`: it has to be there.
    Raises `DestinationUnusable` with what to do.
    """
    string = connection_string(url, application_name)
    try:
        connection = WatchedConnection.connect(string, autocommit=True)
        try:
            check_functions(connection)
            home = Home(pin(url, connection), identify(connection))
            refuse_shared_sessions(connection, url, connection_string(home.url, application_name))
            target = find_target(connection, schema, only_reads)
            home = replace(home, target=target)
            prepare_session(connection, target)
            watch(connection, home, url, application_name, answer_timeout)
            _say_what_libpq_chose(url, connection)
            check_encoding(connection)
        except BaseException:
            connection.close()
            raise
    except psycopg.Error as error:
        raise unreachable(url, error) from None
    return connection


def _say_what_libpq_chose(url: str, connection: Connection) -> None:
    """Before anything is refused: what the URL leaves open comes from the environment, from files, from defaults."""
    chosen = display_reached(url, connection)
    if chosen != display_url(url):
        logger.info("the destination is {}", chosen)


def check_second(home: Home, application_name: str) -> None:
    """Raises `DestinationUnusable` where a second session does not arrive at the first one's server.

    Asked before anything is written: the workers' sessions would have to, and rows on two servers are nowhere together.
    """
    string = connection_string(home.url, application_name)
    try:
        settle(lambda: WatchedConnection.connect(string, autocommit=True), home.server).close()
    except NotConnected as error:
        if not error.may_pass:
            raise
        # Perhaps no slot is free at the moment: the workers wait for one.
    except WrongServer as error:
        raise DestinationUnusable(f"{error}. Nothing was written") from None


@contextmanager
def looking_at(display: str) -> Iterator[None]:
    """A failure of the server while it is only being looked at, in the operator's terms."""
    try:
        yield
    except psycopg.Error as error:
        raise DestinationUnusable(
            f"{display} failed while it was being looked at: {describe(error)}. Nothing was written; run again"
        ) from None


def refuse_shared_sessions(connection: Connection, url: str, string: str) -> None:
    """Raises `DestinationUnusable` where a pooler gives each transaction another session of the server.

    There the lock of the run would stay behind in a session that belongs to nobody, our settings would reach other
    programs, and temporary tables would be gone between two statements. Changes nothing in any session.
    """
    # A pooler makes up a process id for its clients; only then is a second connection asked as well.
    if _session(connection) == connection.info.backend_pid:
        return
    seen: set[int] = set()
    with psycopg.connect(string, autocommit=True) as other:
        for _ in range(_SESSION_PROBES):
            own, others = _session(connection), _session(other)
            seen.add(own)
            if others in seen or len(seen) > 1:
                break
        else:
            return
    raise DestinationUnusable(
        f"{display_url(url)} is a connection pooler that shares its sessions between clients (PgBouncer with pool_mode "
        "transaction or statement): the copy needs sessions of its own, for its lock, its settings and its temporary "
        "tables. Give the URL of PostgreSQL itself (usually port 5432), or of a pool with pool_mode = session"
    )


def _session(connection: Connection) -> int:
    """The process id of the server's session behind the connection."""
    row = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
    assert row is not None
    return int(row[0])


def unreachable(url: str, error: psycopg.Error) -> DestinationUnusable:
    """The error for a destination that cannot be reached; libpq's text names host, user and database only."""
    reason = describe(error) if error.sqlstate is not None else first_line(error)
    advice = error.advice if isinstance(error, NotConnected) else CHECK
    return DestinationUnusable(f"cannot connect to {display_url(url)}: {reason}. {advice}")
