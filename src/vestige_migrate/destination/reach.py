"""The first connection of a run: what to do where there is none, or where a pooler would share it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from vestige_migrate.destination.connect import (
    Connection,
    connection_string,
    display_url,
    prepare_session,
    watch,
)
from vestige_migrate.destination.faults import describe
from vestige_migrate.destination.watched import SILENCE_SECONDS, WatchedConnection
from vestige_migrate.errors import DestinationUnusable

_SESSION_PROBES = 10


def reach(url: str, application_name: str, silence_seconds: float = SILENCE_SECONDS) -> WatchedConnection:
    """Like `connect`, for the first time. Raises `DestinationUnusable` with what to do."""
    string = connection_string(url, application_name)
    try:
        connection = WatchedConnection.connect(string, autocommit=True)
        try:
            refuse_shared_sessions(connection, url, string)
            prepare_session(connection)
            watch(connection, url, application_name, silence_seconds)
        except BaseException:
            connection.close()
            raise
    except psycopg.Error as error:
        raise unreachable(url, error) from None
    return connection


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
    reason = (str(error).splitlines() or [type(error).__name__])[0].removeprefix("connection failed: ")
    advice = next((advice for pattern, advice in _ADVICE if pattern.search(reason)), _CHECK)
    return DestinationUnusable(f"cannot connect to {display_url(url)}: {reason}. {advice}")


_CHECK = "Check that the server runs and that host, port, user and database are right"
_ADVICE = [
    (
        re.compile("too many (clients|connections)|connection slots are reserved|no more connections"),
        "End other sessions, or raise max_connections or the role's or database's CONNECTION LIMIT, then run again",
    ),
    (
        re.compile("certificate|sslmode|SSL"),
        "Check sslmode, and that the file in sslrootcert (or PGSSLROOTCERT) has the CA of this server and the host is "
        "called as in its certificate",
    ),
    (
        re.compile("password|authentication"),
        "Check user and password; it is taken from the URL, PGPASSWORD, or the file in PGPASSFILE (~/.pgpass), which "
        "only its owner may be able to read",
    ),
    (re.compile("service"), "Check the service's name and the file in PGSERVICEFILE (~/.pg_service.conf)"),
    (
        re.compile("startup parameter"),
        "A connection pooler refuses it: give the URL of PostgreSQL itself (usually port 5432)",
    ),
]
"""What to do about reasons by their English words; in another language the general advice has to do."""
