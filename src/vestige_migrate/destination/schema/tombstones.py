"""`deletion_tombstones` in the destination: memories that were deleted there, and the trigger that keeps account of it.

An optional thing: a copy goes on without it where the role may not make it, with a warning. A table of that name which
somebody else has made is read where it has `memory_id`, and filled where it also has what the trigger needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from loguru import logger
from psycopg import errors, sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.faults import is_transient, server_words
from vestige_migrate.destination.connection.table_names import in_advice, ours, relation
from vestige_migrate.destination.schema import event_triggers
from vestige_migrate.destination.schema.schema import read_sql

TOMBSTONES = "deletion_tombstones"
TRIGGER = "vestige_tombstones"
FUNCTION = "vestige_keep_tombstones"
MEMORIES = "knowledge_nodes"

_MARK = "-- Made by vestige-migrate"
_OWN_DELETES = "SELECT set_config('vestige_migrate.deletes', 'on', true)"
_NOT_FOR_LONG = "SET LOCAL lock_timeout = '10s'"
"""A trigger waits for whoever writes to the table, and everybody else waits behind it."""

# A unique index is what ON CONFLICT goes by. Row-level security would hide tombstones, or refuse new ones.
_LOOK = sql.SQL(
    "SELECT c.relkind IN ('r', 'p'), row_security_active(c.oid),"
    " has_table_privilege(c.oid, 'SELECT') OR has_column_privilege(c.oid, a.attnum, 'SELECT'),"
    " EXISTS (SELECT FROM pg_attribute AS d WHERE d.attrelid = c.oid AND d.attname = 'deleted_at'"
    "   AND d.atttypid = 'timestamptz'::regtype AND NOT d.attisdropped AND d.attgenerated = '')"
    " AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')"
    " AND a.attgenerated = '' AND NOT EXISTS (SELECT FROM pg_attribute AS o WHERE o.attrelid = c.oid AND o.attnum > 0"
    "   AND NOT o.attisdropped AND o.attnotnull AND NOT o.atthasdef AND o.attidentity = ''"
    "   AND o.attname <> ALL ('{{memory_id,deleted_at}}'::name[]))"
    " AND EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid"
    "   AND i.indimmediate AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum)"
    " FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'memory_id'"
    "   AND a.atttypid = 'uuid'::regtype AND NOT a.attisdropped WHERE c.oid = {}"
).format(relation("%s"))
_EXISTS = sql.SQL("SELECT {} IS NOT NULL").format(relation("%s"))
_HAS_TRIGGER = sql.SQL("SELECT FROM pg_trigger WHERE tgrelid = {} AND tgname = %s AND NOT tgisinternal").format(
    relation("%s")
)
_FUNCTIONS = (
    "SELECT prosrc FROM pg_proc WHERE pronamespace = to_regnamespace(quote_ident(current_schema())) AND proname = %s"
)


@dataclass(frozen=True)
class Found:
    """What there is under the name. `other`: something that has no memories' ids; nothing is done with it then.

    `fillable`: by a function of this role's, whose rights the trigger has.
    """

    there: bool = False
    other: bool = False
    readable: bool = False
    fillable: bool = False


def look(connection: Connection) -> Found:
    """What the destination has."""
    row = connection.execute(_LOOK, (TOMBSTONES,)).fetchone()
    if row is None:
        there = is_there(connection, TOMBSTONES)
        return Found(there, other=there)
    is_table, hides_rows, may_read, has_all = row
    return Found(True, False, may_read and not hides_rows, is_table and has_all)


def is_there(connection: Connection, table: str) -> bool:
    """Whether the destination has our table of that name."""
    return connection.execute(_EXISTS, (table,)).fetchone() == (True,)


def are_any(connection: Connection) -> bool:
    """Whether the destination has tombstones, as far as this role can see."""
    if not look(connection).readable:
        return False
    query = sql.SQL("SELECT FROM {} LIMIT 1").format(ours(connection, TOMBSTONES))
    return connection.execute(query).fetchone() is not None


def keep(connection: Connection) -> str | None:
    """Makes the table and its trigger where they are missing, within the caller's transaction.

    Returns why memories that are deleted here could come back, with what to do about it; None where all is well.
    """
    found = look(connection)
    table = in_advice(connection, TOMBSTONES)
    if found.other:
        return (
            f"{table} in the destination has no column memory_id of type uuid, and stays as it is: memories that are "
            "deleted there are brought back by the next copy. Rename it, and run again"
        )
    if found.there and not found.readable:
        return (
            f"this role may not read {table} in the destination, or not all of it: memories that were deleted there "
            f"come back. Let its owner run: GRANT SELECT ON {table} TO {_role(connection)}"
        )
    if connection.execute(_HAS_TRIGGER, (MEMORIES, TRIGGER)).fetchone() is not None and found.there:
        return None
    if found.there and not found.fillable:
        return (
            f"{table} in the destination is read, and no trigger fills it: that needs memory_id as a key, deleted_at "
            "of type timestamptz, no other column that must be given, and the rights of this role to INSERT and UPDATE"
        )
    reason = _make(connection)
    if reason is None:
        return None
    return (
        f"what is deleted in the destination from now on comes back with the next copy: the table {table}, or its "
        f"trigger on {in_advice(connection, MEMORIES)}, could not be made ({reason}). Let the owner of the tables run "
        "this command once"
    )


def _make(connection: Connection) -> str | None:
    """Makes both; why that could not be. A command that makes something holds no row content."""
    sources = [source for (source,) in connection.execute(_FUNCTIONS, (FUNCTION,))]
    if not all(str(source).lstrip().startswith(_MARK) for source in sources):
        return f"there is another function {FUNCTION}, which stays as it is"
    names = {
        "memories": ours(connection, MEMORIES),
        "function": ours(connection, FUNCTION),
        "trigger": sql.Identifier(TRIGGER),
        "body": sql.Literal(read_sql("tombstones_body.sql")),
    }
    try:
        with connection.transaction():
            connection.execute(_NOT_FOR_LONG)
            connection.execute(sql.SQL(read_sql("tombstones.sql")).format(table=ours(connection, TOMBSTONES)))
            if connection.execute(_HAS_TRIGGER, (MEMORIES, TRIGGER)).fetchone() is None:
                connection.execute(sql.SQL(read_sql("tombstones_trigger.sql")).format(**names))
            if not look(connection).readable:
                raise _Closed
    except _Closed:
        return "row-level security of new tables closes it"
    except psycopg.Error as error:
        passes = is_transient(error) and not isinstance(error, errors.LockNotAvailable)
        if passes and not event_triggers.is_raised(error):
            raise
        return server_words(error)
    return None


class _Closed(Exception):
    """A table that was made just now cannot be read."""


def own_deletes(connection: Connection) -> None:
    """Memories that this transaction deletes leave no tombstone: the source deleted them, and may have them again."""
    connection.execute(_OWN_DELETES)


def now(connection: Connection) -> object:
    """The time by the server's clock."""
    row = connection.execute("SELECT clock_timestamp()", binary=True).fetchone()  # as text it is of any DateStyle
    assert row is not None
    return row[0]


def drop_outlived(connection: Connection, before: object) -> str | None:
    """Removes the tombstones, older than `before` by the server's clock, of memories that are there again.

    What is deleted while the copy runs keeps its tombstone. Returns why it could not be done.
    """
    query = sql.SQL("DELETE FROM {} AS f USING {} AS m WHERE m.id = f.memory_id AND f.deleted_at < %s").format(
        ours(connection, TOMBSTONES), ours(connection, MEMORIES)
    )
    try:
        with connection.transaction():
            removed = connection.execute(query, (before,)).rowcount
    except psycopg.Error as error:
        if is_transient(error):
            raise
        return server_words(error)
    if removed:
        logger.info("{} tombstones removed: their memories are in the destination again", removed)
    return None


def _role(connection: Connection) -> str:
    row = connection.execute("SELECT quote_ident(current_user)").fetchone()
    assert row is not None
    return str(row[0])
