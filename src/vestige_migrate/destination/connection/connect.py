"""Connections to the destination, and how a connection string is shown."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo
from psycopg.rows import TupleRow

from vestige_migrate.destination.connection.extension_path import put_on_path
from vestige_migrate.destination.connection.server_identity import Home, settle
from vestige_migrate.destination.connection.target_schema import Target, enter
from vestige_migrate.destination.connection.url_parameters import SCHEMES, SHOWN, Unknown, unknown_parameters
from vestige_migrate.destination.connection.watched_connection import SILENCE_SECONDS, WatchedConnection
from vestige_migrate.errors import PlanError

Connection = psycopg.Connection[TupleRow]

MASK = "***"
LARGEST_PORT = 65_535
_PATHS = ("sslcert", "sslkey")
"""Shown as long as they are paths: a PKCS #11 URI may have the token's PIN in it (RFC 7512)."""

# A server that stops answering is noticed, not waited for: 10 s idle, then 3 probes 5 s apart, and unacknowledged
# data for 30 s at the most (libpq, "Parameter Key Words").
_DEFAULTS: dict[str, str | int] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

# The ones of the server that are 0 where none is set, with the version that has them first.
_TIMEOUTS = {
    "statement_timeout": 0,
    "lock_timeout": 0,
    "idle_in_transaction_session_timeout": 0,
    "idle_session_timeout": 140_000,
    "transaction_timeout": 170_000,
}


def parse_url(url: str) -> dict[str, Any]:
    """The parameters of a libpq URL or keyword string. Raises `PlanError`, which quotes names of parameters alone."""
    try:
        if b"\0" not in url.encode():
            return _parsed(url)
    except UnicodeError:  # a byte of the command line, or one behind a %
        pass
    raise PlanError(
        "--postgres-url has bytes that are no UTF-8, also where they are written as %, or a NUL character: give a "
        "password of such bytes in PGPASSWORD or ~/.pgpass, and names in UTF-8"
    )


def _parsed(url: str) -> dict[str, Any]:
    try:
        parameters = conninfo_to_dict(url)
    except psycopg.Error:
        unknown = _unknown(url)
        if unknown is not None:
            raise PlanError(f"--postgres-url {unknown}") from None
        # libpq's message quotes the part it stumbled over, which may be the password.
        raise PlanError(
            "--postgres-url is no connection string that libpq can read: give a URL such as "
            "postgresql://user@host:5432/database, or keywords such as 'host=... dbname=...'"
        ) from None
    if _may_have_cut_a_password(url, parameters):
        raise PlanError(
            "--postgres-url cannot be told apart into its parts: in a URL's user, password and parameters, write "
            "@ as %40, : as %3A, / as %2F, ? as %3F, # as %23 and % as %25, or leave the password out and give it "
            "in PGPASSWORD or ~/.pgpass; a port is a number up to 65535"
        )
    return parameters


def _unknown(url: str) -> Unknown | None:
    """The parameters that libpq does not know, where the string is fine but for these."""
    found = unknown_parameters(url)
    if found is None:
        return None
    try:
        rest = conninfo_to_dict(found.rest)
    except psycopg.Error:
        return None
    cut = _may_have_cut_a_password(url, rest) or _may_have_cut_a_password(found.rest, rest)
    return None if cut else found


def _may_have_cut_a_password(url: str, parameters: dict[str, Any]) -> bool:
    """Whether libpq may have taken a piece of a password for something else, which would then be shown.

    libpq looks for the credentials before the first `@`, and only where no `/` stands before it. So an `@` or `/` in a
    password moves its rest into host, port, database or parameters, and an `@` is left over behind the credentials;
    where the host was forgotten, the password is taken for the port.
    """
    if url.startswith(SCHEMES):
        rest = url.partition("://")[2]
        before, _, after = rest.partition("@")
        if "@" in after or ("/" in before and "@" in rest):
            return True
    elif any("://" in str(parameters.get(name, "")) for name in ("host", "dbname")):
        return True
    ports = str(parameters.get("port", "")).split(",")
    return any(port.strip() and not (port.strip().isdecimal() and int(port) <= LARGEST_PORT) for port in ports)


def display_url(url: str) -> str:
    """The destination as a URL without its secrets, whatever form it was given in."""
    parameters = parse_url(url)
    user = str(parameters.pop("user", ""))
    secret = f":{MASK}" if parameters.get("password") else ""
    parameters.pop("password", None)
    for name, value in parameters.items():
        if value and (name not in SHOWN or (name in _PATHS and ":" in str(value))):
            parameters[name] = MASK
    host = str(parameters.pop("host", ""))
    port = parameters.pop("port", None)
    database = str(parameters.pop("dbname", ""))
    if host.startswith("/") or "," in host:
        parameters["host"] = host
        host = ""
    who = f"{quote(user, safe='')}{secret}@" if user or secret else ""
    where = f"[{host}]" if ":" in host else host
    at = f"{where}:{port}" if port and where else where
    if port and not where:
        parameters["port"] = port
    query = "&".join(f"{name}={quote(str(value), safe='/*,')}" for name, value in sorted(parameters.items()))
    return f"postgresql://{who}{at}/{quote(database, safe='')}" + (f"?{query}" if query else "")


def display_reached(url: str, connection: psycopg.Connection[Any]) -> str:
    """The same where a connection was made: with the host, port, user and database that libpq chose by itself."""
    info = connection.info
    given = {name: value for name, value in parse_url(url).items() if name != "hostaddr"}
    chosen: dict[str, Any] = {"host": info.host, "port": info.port, "user": info.user, "dbname": info.dbname}
    if info.hostaddr and "hostaddr" in parse_url(url) and info.hostaddr != info.host:
        chosen["hostaddr"] = info.hostaddr
    return display_url(make_conninfo("", **{**given, **chosen}))


def connection_string(url: str, application_name: str) -> str:
    """The given string with timeouts, keepalives and our name where it does not set them itself.

    And in UTF8 whatever it sets, or the environment, the role or the database: what comes is read as that, from the
    first answer on.
    """
    given = parse_url(url)
    known = given.keys() | _from_outside()
    ours = {name: value for name, value in _DEFAULTS.items() if name not in known}
    ours["client_encoding"] = "UTF8"
    if "application_name" not in given:
        ours["application_name"] = application_name
    return make_conninfo(url, **ours)


def _from_outside() -> set[str]:
    """Parameters that the environment sets (PGCONNECT_TIMEOUT, or the service in PGSERVICE)."""
    return {option.keyword.decode() for option in Conninfo.get_defaults() if option.val is not None}


def connect(
    url: str,
    application_name: str,
    answer_timeout: float = SILENCE_SECONDS,
    home: Home | None = None,
    target: Target | None = None,
) -> WatchedConnection:
    """An autocommit connection that notices when it hangs; with `home` it is there, wherever `url` leads.

    Its search_path begins with the target: that of `home`, else `target`.

    Raises psycopg.OperationalError where there is no server (`NotConnected`), or it is not the one (`WrongServer`).
    """
    string = connection_string(home.url if home else url, application_name)
    connection = settle(
        lambda: WatchedConnection.connect(string, autocommit=True), home.server if home is not None else None
    )
    try:
        prepare_session(connection, home.target if home is not None else target)
        watch(connection, home, url, application_name, answer_timeout)
    except BaseException:
        connection.close()
        raise
    return connection


def watch(
    connection: WatchedConnection, home: Home | None, url: str, application_name: str, answer_timeout: float
) -> None:
    """Begins to watch a connection; the second one that asks about it goes to `home` as well."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    connection.server_pid = row[0] if row else None
    connection.answer_timeout = answer_timeout
    connection.home = home
    connection.probe = connection_string(home.url if home is not None else url, f"{application_name} probe")


def prepare_session(connection: Connection, target: Target | None = None) -> None:
    """Settings that the copy relies on, whatever the role or the database sets by default.

    Names are looked for in the target first. No timeout of theirs ends a copy in the middle, as none ends pg_dump; what
    it waits for is said (`watched_connection`).
    """
    names = [name for name, since in _TIMEOUTS.items() if connection.info.server_version >= since]
    connection.execute(
        "SELECT set_config('client_encoding', 'UTF8', false), set_config('standard_conforming_strings', 'on', false),"
        " set_config('quote_all_identifiers', 'off', false), set_config(name, '0', false) FROM unnest(%s::text[]) AS"
        " n(name)",
        (names,),
    )
    # Under another role no foreign key and no ordinary trigger is heard. Who may not set it is told (rights.py).
    with suppress(psycopg.errors.InsufficientPrivilege):
        connection.execute(
            "SELECT set_config('session_replication_role', 'origin', false)"
            " WHERE current_setting('session_replication_role') <> 'origin'"
        )
    # A server process that waits for a lock or builds an index looks for its client only if told to; without this
    # it would go on, and keep its transaction, after we were killed. A server on a system without POLLRDHUP refuses.
    with suppress(psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedObject):
        connection.execute("SET client_connection_check_interval = '2s'")
    if target is not None:
        enter(connection, target)
    else:
        put_on_path(connection)
