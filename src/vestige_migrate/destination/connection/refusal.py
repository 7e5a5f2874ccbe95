"""Why a connection could not be made, found out by looking, and what to do about it.

libpq tells the reason in words alone, and these may be in any language: the server's are in its own (`lc_messages`),
and hosts, users and databases may be called "password" or "service". So words decide nothing here. The server's
SQLSTATE is asked for in a second attempt; without one the files, names and ports are looked at that libpq needed.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from select import select
from typing import Any

import psycopg
from psycopg import errors, pq
from psycopg.conninfo import conninfo_to_dict

from vestige_migrate.destination.connection.service_files import service_files

_ATTEMPT_SECONDS = 5.0
_REACH_SECONDS = 3.0
_SQLSTATE_ONLY = 3
"""PQERRORS_SQLSTATE: a server's error is its severity and its SQLSTATE, whatever language it speaks (libpq 12)."""
_STATE = re.compile(r": +([0-9A-Z]{5})$", re.MULTILINE)
"""At the end of a line: one for each host, and libpq may add which file a password is from."""

_PERMANENT = {
    errors.InvalidPassword.sqlstate,
    errors.InvalidAuthorizationSpecification.sqlstate,
    errors.InvalidCatalogName.sqlstate,
    errors.InsufficientPrivilege.sqlstate,
}
"""What stays so until somebody changes it. Anything else may pass: poolers have their own ideas of codes."""


class NotConnected(psycopg.OperationalError):
    """No connection could be made. The message is libpq's; it names host, user and database only.

    `state` is the server's SQLSTATE where it answered with one, `advice` what to do. `answered`: some server did.
    """

    def __init__(self, message: str, state: str | None, advice: str, answered: bool) -> None:
        super().__init__(message)
        self.state = state
        self.advice = advice
        self.answered = answered

    def __reduce__(self) -> tuple[type[NotConnected], tuple[str, str | None, str, bool]]:
        return type(self), (str(self), self.state, self.advice, self.answered)

    @property
    def may_pass(self) -> bool:
        """Whether the same attempt may succeed later."""
        return self.state not in _PERMANENT

    @property
    def reason(self) -> str:
        """The first line of the message."""
        return first_line(self)


def first_line(error: psycopg.Error) -> str:
    """Of libpq's text about a connection that was never made."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line.removeprefix("connection failed: ").removeprefix("connection is bad: ")


def not_connected(error: psycopg.Error, string: str) -> NotConnected:
    """The failure of an attempt to connect with this string, with its SQLSTATE and what to do."""
    given = _parameters(string)
    needs_password = bool(error.pgconn is not None and error.pgconn.needs_password)
    if error.sqlstate is not None:
        return NotConnected(str(error), error.sqlstate, _ADVICE.get(error.sqlstate, _REFUSED), True)
    # A second attempt that only times out again tells nothing.
    asked = not needs_password and not isinstance(error, errors.ConnectionTimeout)
    state = _ask_state(string) if asked else None
    if state is not None:
        return NotConnected(str(error), state, _ADVICE.get(state, _REFUSED), True)
    if needs_password:
        return NotConnected(str(error), None, _PASSWORD, True)
    unreached = _missing_service(given) or _unreachable(given)
    return NotConnected(str(error), None, unreached or _other_advice(given), False)


CHECK = "Check that the server runs and that host, port, user and database are right"
_REFUSED = "The server, or a pooler before it, refuses the session: its log says why. " + CHECK
_PASSWORD = (
    "Check user and password; it is taken from the URL, PGPASSWORD, or the file in PGPASSFILE (~/.pgpass), which "
    "only its owner may be able to read"
)
_TLS = (
    "Check sslmode, and that the file in sslrootcert (or PGSSLROOTCERT) has the CA of this server and the host is "
    "called as in its certificate; a certificate of yours is in sslcert, and its key in sslkey (or PGSSLCERT, PGSSLKEY)"
)
_SLOTS = "End other sessions, or raise max_connections or the role's or database's CONNECTION LIMIT, then run again"
_ADVICE = {
    errors.InvalidPassword.sqlstate: _PASSWORD,
    errors.InvalidAuthorizationSpecification.sqlstate: (
        "Check the user (there may be no such role), and that pg_hba.conf on the server lets it into this database "
        "from here, with or without TLS as it is asked for, or with the certificate in sslcert (or PGSSLCERT)"
    ),
    errors.InvalidCatalogName.sqlstate: (
        "Check the database's name, which is the user's where the URL has none, or make it with CREATE DATABASE"
    ),
    errors.InsufficientPrivilege.sqlstate: (
        "Let the database's owner GRANT CONNECT ON DATABASE to this role, or connect as another"
    ),
    errors.TooManyConnections.sqlstate: _SLOTS,
    errors.CannotConnectNow.sqlstate: "The server starts, stops or recovers: wait for it, then run again",
    errors.AdminShutdown.sqlstate: "The server stops: wait for it, then run again",
    errors.ProtocolViolation.sqlstate: (
        "A connection pooler refuses it (its log says why): give the URL of PostgreSQL itself (usually port 5432)"
    ),
    errors.UndefinedObject.sqlstate: "Check the names in options= and PGOPTIONS: the server has no such setting",
    errors.InvalidParameterValue.sqlstate: "Check the values in options= and PGOPTIONS",
    errors.FeatureNotSupported.sqlstate: (
        "Where it cannot convert the database's encoding: memories need UTF8, so make another database with "
        "createdb -T template0 -E UTF8 --locale=C NAME"
    ),
    errors.ObjectNotInPrerequisiteState.sqlstate: (
        "The database takes no connections (ALLOW_CONNECTIONS is off): give another, or let its owner allow them"
    ),
}


def _parameters(string: str) -> Mapping[str, str]:
    """What libpq will use: the string's, then those of the environment and its defaults."""
    defaults = {
        option.keyword.decode(): option.val.decode(errors="replace")
        for option in pq.Conninfo.get_defaults()
        if option.val is not None
    }
    given = {name: str(value) for name, value in conninfo_to_dict(string).items() if value is not None}
    return {**defaults, **given}


def _missing_service(given: Mapping[str, str]) -> str | None:
    name = given.get("service") or os.environ.get("PGSERVICE")
    if not name:
        return None
    for file in service_files(given):
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        if any(line.strip() == f"[{name}]" for line in lines):
            return None
    return "Check the service's name and the file in PGSERVICEFILE (~/.pg_service.conf)"


def _unreachable(given: Mapping[str, str]) -> str | None:
    """What keeps every host from being reached at all; None where one can be, or libpq knows better which they are."""
    advice = None
    if given.get("service"):  # the file names the hosts
        return None
    for host, port in _places(given):
        advice = _try(host, port)
        if advice is None:
            return None
    return advice


def _places(given: Mapping[str, str]) -> list[tuple[str, str]]:
    hosts, addresses = given.get("host", "").split(","), given.get("hostaddr", "").split(",")
    ports = given.get("port", "5432").split(",")
    count = max(len(hosts), len(addresses))
    hosts, addresses, ports = (_spread(items, count) for items in (hosts, addresses, ports))
    return [(address or host, port or "5432") for host, address, port in zip(hosts, addresses, ports, strict=True)]


def _spread(items: list[str], count: int) -> list[str]:
    return items * count if len(items) == 1 else (items + [""] * count)[:count]


def _try(host: str, port: str) -> str | None:
    """What to do where nothing answers there; None where something does, or it cannot be tried."""
    if not host:
        return None  # libpq's own default, a folder that was compiled in
    if host.startswith(("/", "@")):
        return _try_socket(f"{host}/.s.PGSQL.{port}")
    try:
        socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError):
        return f"The name {host} cannot be resolved on this machine: check how the host is spelt, and DNS"
    try:
        socket.create_connection((host, int(port)), _REACH_SECONDS).close()
    except ConnectionRefusedError:
        return f"Nothing listens on {host} at port {port}. {CHECK}"
    except TimeoutError:
        return f"{host} does not answer at port {port}: a firewall may be in the way. {CHECK}"
    except OSError as error:
        return f"{host} cannot be reached from this machine ({error.strerror or type(error).__name__}). {CHECK}"
    return None


def _try_socket(path: str) -> str | None:
    if path.startswith("@") or not hasattr(socket, "AF_UNIX"):
        return None
    try:
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as trial:
            trial.settimeout(_REACH_SECONDS)
            trial.connect(path)
    except FileNotFoundError:
        return f"There is no server's socket {path}. {CHECK}"
    except PermissionError:
        return f"This account may not use the server's socket {path}: its owner has to allow that"
    except OSError:
        return f"No server listens on the socket {path}. {CHECK}"
    return None


def _other_advice(given: Mapping[str, str]) -> str:
    """Something answers there, and libpq itself went no further."""
    if given.get("sslmode") in ("require", "verify-ca", "verify-full"):
        return _TLS
    wanted = given.get("target_session_attrs", "any")
    if wanted != "any":
        return f"No host of the URL may be {wanted}, as target_session_attrs asks. {CHECK}"
    return CHECK


def _ask_state(string: str) -> str | None:
    """The SQLSTATE with which the server refuses this string; None where it does not, or libpq cannot be asked."""
    set_verbosity = _verbosity_setter()
    if set_verbosity is None:
        return None
    deadline = time.monotonic() + _ATTEMPT_SECONDS
    connection = pq.PGconn.connect_start(string.encode())
    try:
        # Every implementation has it, and psycopg's own description of them leaves it out.
        set_verbosity(getattr(connection, "pgconn_ptr"), _SQLSTATE_ONLY)  # noqa: B009
        while connection.status != pq.ConnStatus.BAD:
            state = connection.connect_poll()
            if state == pq.PollingStatus.OK:
                return None
            left = deadline - time.monotonic()
            if state == pq.PollingStatus.FAILED or left <= 0:
                break
            reading = state == pq.PollingStatus.READING
            sockets = [connection.socket]
            select(sockets if reading else [], [] if reading else sockets, [], left)
        found = _STATE.findall(connection.get_error_message())
        return str(found[-1]) if found else None
    finally:
        connection.finish()


def _verbosity_setter() -> Callable[[Any, int], int] | None:
    """libpq's PQsetErrorVerbosity, which psycopg does not offer, out of the very library that psycopg uses."""
    module = getattr(sys.modules.get(pq.PGconn.__module__), "__file__", None)
    if module is None or module.endswith(".py"):
        return None  # psycopg in Python: which file it loaded cannot be known
    try:
        function = ctypes.CDLL(module).PQsetErrorVerbosity
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_int]
    function.restype = ctypes.c_int
    return function
