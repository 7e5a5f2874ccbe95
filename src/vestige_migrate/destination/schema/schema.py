"""The destination's schema: is it there, is it ours, may we make it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from typing import LiteralString

import psycopg
from psycopg import errors, sql
from psycopg.pq import TransactionStatus

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.faults import describe, is_transient, server_words, stays
from vestige_migrate.destination.connection.table_names import ours, relation, target_of
from vestige_migrate.destination.connection.target_schema import make_schema
from vestige_migrate.destination.connection.watched_connection import brisk
from vestige_migrate.destination.schema import event_triggers, new_tables
from vestige_migrate.destination.schema import pgvector_extension as extension
from vestige_migrate.errors import DestinationBusy, DestinationUnusable
from vestige_migrate.tables import TABLES
from vestige_migrate.tables.base import BOOTSTRAP_USER

OLDEST_SERVER = 14
LOCK_KEY = 0x7665737469676501
"""Advisory lock of a run: "vestige" in ASCII, then 1. Session level, so a lost connection releases it."""


def read_sql(name: LiteralString) -> LiteralString:
    """A file of `destination/sql`: as fixed as if it stood in the code."""
    return resources.files("vestige_migrate.destination").joinpath("sql", name).read_text(encoding="utf-8")


def statements(text: LiteralString) -> list[LiteralString]:
    """The statements of a file without `;` inside of any (indexes.sql, hnsw.sql)."""
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return [part.strip() for part in "\n".join(lines).split(";") if part.strip()]


@dataclass(frozen=True)
class ServerInfo:
    """What is at the other end. `pgvector` is None where it is not installed in this database yet."""

    version: str
    version_number: int
    pgvector: str | None
    pgvector_available: str | None
    may_create_extension: bool
    read_only: bool
    connections: int
    """How many sessions of this role it takes."""


def probe(connection: Connection) -> ServerInfo:
    """Asks the server about itself; writes nothing."""
    row = connection.execute(
        "SELECT current_setting('server_version'), current_setting('server_version_num')::int,"
        " (SELECT extversion FROM pg_extension WHERE extname = 'vector'),"
        " (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'),"
        " (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) OR EXISTS ("
        "   SELECT FROM pg_available_extension_versions WHERE name = 'vector' AND trusted"
        "   AND has_database_privilege(current_database(), 'CREATE')),"
        " pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean,"
        " LEAST(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        "   - COALESCE(current_setting('reserved_connections', true)::int, 0),"
        "   (SELECT NULLIF(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user AND NOT rolsuper),"
        "   (SELECT NULLIF(datconnlimit, -1) FROM pg_database, pg_roles WHERE datname = current_database()"
        "     AND rolname = current_user AND NOT rolsuper))"
    ).fetchone()
    assert row is not None
    return ServerInfo(*row)


def check_server(server: ServerInfo) -> None:
    """Raises `DestinationUnusable` where this server cannot take the data, with what to do about it.

    Of pgvector `extension.check` knows.
    """
    if server.version_number // 10_000 < OLDEST_SERVER:
        raise DestinationUnusable(
            f"the destination is PostgreSQL {server.version}: version {OLDEST_SERVER} or newer is needed"
        )
    if server.read_only:
        raise DestinationUnusable(
            "the destination is read-only (a standby, or default_transaction_read_only is on): give the primary's URL"
        )


def check_connections(server: ServerInfo, workers: int, coordinator: int) -> None:
    """Raises `DestinationUnusable` where the server could never take that many sessions of ours."""
    if workers + coordinator + 1 > server.connections:  # one more holds the lock of the run
        raise DestinationUnusable(
            f"--workers {workers} and --max-connections {coordinator} are too many for the {server.connections} "
            "connections that the destination allows: lower them, or raise the server's max_connections (or the "
            "CONNECTION LIMIT of the role or the database)"
        )


def take_lock(connection: Connection) -> None:
    """Takes the advisory lock, until `release_lock` or the connection ends. Raises `DestinationBusy` if it is held."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone()
    if not (row and row[0]):
        raise DestinationBusy(
            f"another run of vestige-migrate is copying into this destination{_named(connection)}: wait for it to end, "
            "then run again (if none is running, its connection ends within a minute and the lock with it; where the "
            "server's process stands still, end that process on the server)"
        )


@dataclass(frozen=True)
class LockHolder:
    """A session that has the lock of a run; None for what this role may not see of another role's session."""

    pid: int
    application_name: str
    role: str | None
    address: str | None
    since: str | None

    def __str__(self) -> str:
        about = [f'"{self.application_name}"' if self.application_name else "no name"]
        about += [f"role {self.role}"] if self.role else []
        about += [f"from {self.address}"] if self.address else []
        about += [f"since {self.since}"] if self.since else []
        return f"server process {self.pid} ({', '.join(about)})"


def lock_holders(connection: Connection) -> list[LockHolder]:
    """Who has the lock of a run in this database."""
    rows = connection.execute(
        "SELECT l.pid, coalesce(a.application_name, ''), a.usename::text,"
        " coalesce(host(a.client_addr), CASE WHEN a.client_port = -1 THEN 'the server''s machine' END),"
        " to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC')"
        " FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a USING (pid)"
        " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1"
        " AND (l.classid::bigint, l.objid::bigint) = (%s, %s)"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY l.pid",
        (LOCK_KEY >> 32, LOCK_KEY & 0xFFFFFFFF),
    )
    return [LockHolder(*row) for row in rows]


def _named(connection: Connection) -> str:
    """Who has the lock, in brackets; empty where it was let go of meanwhile."""
    holders = lock_holders(connection)
    return f" ({'; '.join(map(str, holders))})" if holders else ""


def missing_tables(connection: Connection) -> list[str]:
    """Our tables that are not there."""
    existing = _existing_columns(connection)
    return [name for name in TABLES if name not in existing]


def take_shared_lock(connection: Connection) -> None:
    """Keeps copies away while the destination is only read; readers do not keep each other away."""
    row = connection.execute("SELECT pg_try_advisory_lock_shared(%s)", (LOCK_KEY,)).fetchone()
    if not (row and row[0]):
        raise DestinationBusy(
            f"a run of vestige-migrate is copying into this destination{_named(connection)}: wait for it to end, then "
            "verify again"
        )


def release_lock(connection: Connection) -> None:
    """Lets go of it now. Closing alone does so when the server sees it, and a run right after this one met the lock."""
    _release(connection, "SELECT pg_advisory_unlock(%s)")


def release_shared_lock(connection: Connection) -> None:
    """The same for `take_shared_lock`."""
    _release(connection, "SELECT pg_advisory_unlock_shared(%s)")


def _release(connection: Connection, statement: LiteralString) -> None:
    # A command that was broken off may still be on its way: then the connection's end has to do.
    if connection.info.transaction_status is TransactionStatus.IDLE:
        with suppress(psycopg.Error), brisk(connection):
            connection.execute(statement, (LOCK_KEY,))


def is_fresh(connection: Connection) -> bool:
    """Whether the destination has no memory yet: indexes are then left for the end."""
    if not _existing_columns(connection).get("knowledge_nodes"):
        return True
    query = sql.SQL("SELECT 1 FROM {} LIMIT 1").format(ours(connection, "knowledge_nodes"))
    return connection.execute(query).fetchone() is None


def _existing_columns(connection: Connection) -> dict[str, dict[str, str]]:
    """Columns and type names of our tables that are there."""
    rows = connection.execute(
        sql.SQL(
            "SELECT c.relname, a.attname, t.typname FROM unnest(%s::text[]) AS wanted(name)"
            " JOIN pg_class AS c ON c.oid = {}"
            " JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
            " JOIN pg_type AS t ON t.oid = a.atttypid"
        ).format(relation("wanted.name")),
        (list(TABLES),),
    )
    found: dict[str, dict[str, str]] = {}
    for table, column, type_name in rows:
        found.setdefault(table, {})[column] = type_name
    return found


def create(connection: Connection, server: ServerInfo, needs_local: bool) -> None:
    """Creates what is missing; a role without DDL rights passes where everything is there already.

    `needs_local`: memories that belong to nobody need the user `local`. Raises `DestinationUnusable` where something
    cannot be created; nothing was written then.
    """
    new_tables.check_temporary(connection)
    try:
        with connection.transaction():
            if server.pgvector is None or not is_complete(connection):
                _create_tables(connection, server)
                new_tables.check_made(connection, [*TABLES, "embedding_model"])
            if not _has_local(connection):
                _make_local(connection, needs_local)
    except psycopg.Error as error:
        if not new_tables.is_closed(error):
            raise
        raise new_tables.closed(connection) from None


def _create_tables(connection: Connection, server: ServerInfo) -> None:
    target = target_of(connection)
    try:
        if target is not None:
            make_schema(connection, target)
        if server.pgvector is None:
            extension.install(connection, target)
        connection.execute(read_sql("schema.sql"))
    except psycopg.Error as error:
        if new_tables.is_closed(error) or (is_transient(error) and not event_triggers.is_raised(error)):
            raise
        advice = ""
        if isinstance(error, errors.InsufficientPrivilege) and not event_triggers.is_raised(error):
            advice = ". Grant this role CREATE on the schema, or let the database's owner run this command once"
        raise DestinationUnusable(
            f"the destination's tables could not be created: {server_words(error)}{advice}"
        ) from None


def _make_local(connection: Connection, needed: bool) -> None:
    """Makes the user again that somebody deleted."""
    reason = "another user has the handle local, or a trigger of the table users dropped it"
    try:
        with connection.transaction():
            connection.execute(_BOOTSTRAP.format(ours(connection, "users"), sql.Literal(BOOTSTRAP_USER)))
    except psycopg.Error as error:
        if not stays(error):
            raise
        reason = describe(error)
    if needed and not _has_local(connection):
        raise DestinationUnusable(
            f"the destination lacks the user {BOOTSTRAP_USER} (local), who owns memories that name no owner, and it "
            f"cannot be made: {reason}. Change that, or copy with --owner"
        )


def _has_local(connection: Connection) -> bool:
    query = sql.SQL("SELECT FROM {} WHERE id = %s").format(ours(connection, "users"))
    return connection.execute(query, (BOOTSTRAP_USER,)).fetchone() is not None


def is_complete(connection: Connection) -> bool:
    """Whether all of our tables are there."""
    names = [*TABLES, "embedding_model"]
    row = connection.execute(
        sql.SQL("SELECT count(*) FROM unnest(%s::text[]) AS wanted(name) WHERE {} IS NOT NULL").format(
            relation("name")
        ),
        (names,),
    ).fetchone()
    return row == (len(names),)


_BOOTSTRAP = sql.SQL("INSERT INTO {} (id, handle) VALUES ({}, 'local') ON CONFLICT DO NOTHING")
"""The last statement of schema.sql, where somebody deleted that user."""
