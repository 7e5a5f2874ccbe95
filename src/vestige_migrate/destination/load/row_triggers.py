"""What somebody added to a table that decides what becomes of a row: asked once, before rows are written."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import relation

# tgtype is a set of bits; 4 is INSERT, 16 is UPDATE (PostgreSQL's catalog/pg_trigger.h). The triggers of a foreign key
# or of a deferrable unique constraint are internal ones. A partition may have triggers that its table does not have.
_ASK = sql.SQL(
    "SELECT coalesce(bool_or(NOT tgisinternal AND tgtype & 4 <> 0), false),"
    " coalesce(bool_or(NOT tgisinternal AND tgtype & 16 <> 0), false), coalesce(bool_or(tgdeferrable), false)"
    " FROM pg_trigger WHERE tgenabled <> 'D' AND (tgrelid = {table}"
    "   OR tgrelid IN (SELECT relid FROM pg_partition_tree({table})))"
).format(table=relation("%(table)s"))


@dataclass(frozen=True)
class Triggers:
    """`on_insert`, `on_update`: triggers that may drop a row then, change it, or store it elsewhere. `at_commit`:
    something may be checked only when the transaction ends: a deferrable constraint of the table, or of one that a
    trigger writes to."""

    on_insert: bool
    on_update: bool
    at_commit: bool


def triggers_of(connection: Connection, table: str) -> Triggers:
    """What our table of that name has."""
    row = connection.execute(_ASK, {"table": table}).fetchone()
    assert row is not None
    on_insert, on_update, deferrable = row
    return Triggers(on_insert, on_update, on_insert or on_update or deferrable)


def check_now(connection: Connection) -> None:
    """Makes every check of the transaction that its end would make, so that an error is met where it can be halved.

    What follows in the same transaction is checked at its end again.
    """
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    connection.execute("SET CONSTRAINTS ALL DEFERRED")
