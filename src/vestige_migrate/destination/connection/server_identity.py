"""Which server a session is on. A URL may lead to several: two hosts, a name with two addresses, a proxy that spreads.

The coordinator's first session says which one it is; every other session of the run is led there (`pin`), and proves
that it arrived (`settle`). Rows that land on two servers would be counted as copied, and be nowhere together.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from vestige_migrate.destination.connection.target_schema import Target

_TRIES = 10
"""Sessions on other servers that are closed again: a proxy that spreads them over two sends each there at odds of 2."""
_PAUSE_SECONDS = 0.2

_SYSTEM = sql.SQL(
    "(SELECT system_identifier FROM pg_control_system()), (SELECT timeline_id FROM pg_control_checkpoint())"
)
_UNKNOWN = sql.SQL("NULL::bigint, NULL::int")
_QUESTION = sql.SQL(
    "SELECT {}, extract(epoch FROM pg_postmaster_start_time())::text, current_database()::text,"
    " (SELECT oid::bigint FROM pg_database WHERE datname = current_database()), pg_is_in_recovery()"
)

_Connection = TypeVar("_Connection", bound="psycopg.Connection[Any]")


@dataclass(frozen=True)
class Server:
    """A running server and a database of it, by what any role may ask.

    `system` is written when a data directory is made, and every copy of it has the same one; `started` (seconds since
    1970, with microseconds) tells such copies, and a server before and after its restart, from each other. `system`
    and `timeline` are None where the role may not see them.
    """

    place: str
    system: int | None
    timeline: int | None
    started: str
    database: str
    database_oid: int
    in_recovery: bool

    def is_same(self, other: Server) -> bool:
        """Whether it is the same server, not restarted since, and the same database."""
        return self.started == other.started and self.is_same_data(other)

    def is_same_data(self, other: Server) -> bool:
        """Whether it is the same database of the same data directory, or of a copy of it (a standby, a new primary)."""
        return (self.system, self.database, self.database_oid) == (other.system, other.database, other.database_oid)

    def __str__(self) -> str:
        system = f"system identifier {self.system}, " if self.system is not None else ""
        return f"{self.place} ({system}database {self.database})"


@dataclass(frozen=True)
class Home:
    """Where all sessions of a run have to be: `url` leads to one address alone, `server` is what is there, and `target`
    is the schema in it; None where nobody looked for one."""

    url: str = field(repr=False)
    server: Server
    target: Target | None = None


class WrongServer(psycopg.OperationalError):
    """A session is not where the run's coordinator is; the message names both, and holds no row content.

    `may_pass`: the server was only restarted, or another of the same data took its place, and the coordinator will
    notice too.
    """

    def __init__(self, message: str, may_pass: bool) -> None:
        super().__init__(message)
        self.may_pass = may_pass

    def __reduce__(self) -> tuple[type[WrongServer], tuple[str, bool]]:
        return type(self), (str(self), self.may_pass)


def identify(connection: psycopg.Connection[TupleRow]) -> Server:
    """The server that this autocommit connection is on."""
    try:
        row = connection.execute(_QUESTION.format(_SYSTEM)).fetchone()
    except (errors.InsufficientPrivilege, errors.UndefinedFunction):
        # Everybody may call these two, unless somebody took that right away.
        row = connection.execute(_QUESTION.format(_UNKNOWN)).fetchone()
    assert row is not None
    return Server(_place(connection), *row)


def _place(connection: psycopg.Connection[Any]) -> str:
    info = connection.info
    if info.host.startswith(("/", "@")):
        return f"{info.host} (port {info.port})"
    address = f" [{info.hostaddr}]" if info.hostaddr and info.hostaddr != info.host else ""
    return f"{info.host}:{info.port}{address}"


def pin(url: str, connection: psycopg.Connection[Any]) -> str:
    """The URL with the one address that this connection reached, as the user and to the database that libpq chose.

    The host's name stays, for its certificate. A worker may have another environment: that of the process's first run.
    """
    info = connection.info
    # An empty hostaddr counts as given: none of the environment or of a service takes its place.
    there: dict[str, Any] = {"host": info.host, "hostaddr": info.hostaddr, "port": info.port}
    there |= {"user": info.user, "dbname": info.dbname}
    given = {name: value for name, value in conninfo_to_dict(url).items() if name != "load_balance_hosts"}
    return make_conninfo("", **{**given, **there})


def settle(open_: Callable[[], _Connection], server: Server | None) -> _Connection:
    """A connection to this very server; others are closed, and some more opened. Raises `WrongServer` after those."""
    if server is None:
        return open_()
    for left in reversed(range(_TRIES)):
        connection = open_()
        try:
            found = identify(connection)
        except BaseException:
            connection.close()
            raise
        if found.is_same(server):
            return connection
        connection.close()
        if left:
            time.sleep(_PAUSE_SECONDS)
    raise _elsewhere(found, server)


def check_successor(found: Server, before: Server) -> None:
    """Raises `WrongServer` where the run cannot go on at `found` after it lost `before`, at least not now."""
    if not found.is_same_data(before) or (found.system is None and found.place != before.place):
        raise _elsewhere(found, before)
    if found.in_recovery and not before.in_recovery:
        raise WrongServer(f"{found} is a standby, which takes no rows", True)
    if found.timeline is not None and before.timeline is not None and found.timeline < before.timeline:
        raise WrongServer(
            f"{found} was left behind by a failover: it is on timeline {found.timeline}, the copy was on "
            f"{before.timeline}",
            True,
        )


def _elsewhere(found: Server, expected: Server) -> WrongServer:
    if not found.is_same_data(expected):
        return WrongServer(
            f"a session reached {found}, and the run's coordinator is on {expected}: these are two servers or "
            "databases, and all rows belong on one. Give a URL that leads to one of them alone",
            False,
        )
    if found.place == expected.place:
        return WrongServer(
            f"{expected} was restarted, or several servers of the same data take turns behind that address", True
        )
    return WrongServer(f"a session reached {found}, a server of the same data as the coordinator's, {expected}", True)
