"""Rows of a table as ours, however the destination keeps them (`tables.base.Stored`): read as ours, and inserted."""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours, relation
from vestige_migrate.tables.base import Stored, Table

INSERT_LOCK_KEY = 0x7665737469676502
"""Advisory lock of whoever inserts where no constraint keeps one key's rows apart, until its batch is committed."""
# A role or a database may have been given fewer digits, with which a float8 would come into jsonb rounded.
_BEFORE_INSERT = sql.SQL("SELECT pg_advisory_xact_lock({}), set_config('extra_float_digits', '1', true)").format(
    sql.Literal(INSERT_LOCK_KEY)
)


def rows_of(connection: Connection, table: Table) -> sql.Composable:
    """What stands behind FROM, with an alias after it: the table, or its rows with the columns that ours has.

    The server sees through to the stored columns, so an index on one of those is used.
    """
    name = ours(connection, table.name)
    if table.stored is None:
        return name
    columns = [
        sql.SQL("{} AS {}").format(_expression(text), sql.Identifier(column))
        for text, column in zip(table.stored.read, table.column_names, strict=True)
    ]
    return sql.SQL("(SELECT {} FROM {} AS o)").format(sql.SQL(", ").join(columns), name)


def insertion(connection: Connection, table: Table, stage: sql.Identifier) -> sql.Composed:
    """Inserts the staged rows, without the ordinals of its one parameter, whose key is not there."""
    key = _names(table.key)
    if table.stored is None:
        columns = _names(table.column_names)
        return sql.SQL(
            "INSERT INTO {} ({}) SELECT {} FROM {} WHERE ordinal <> ALL(%s::int[]) ORDER BY ordinal"
            " ON CONFLICT ({}) DO NOTHING"
        ).format(ours(connection, table.name), columns, columns, stage, key)
    # Of several rows with one key the first one goes in, as it does by ON CONFLICT.
    first = sql.SQL("SELECT DISTINCT ON ({}) * FROM {} WHERE ordinal <> ALL(%s::int[]) ORDER BY {}, ordinal").format(
        key, stage, key
    )
    return sql.SQL("{} FROM ({}) AS s WHERE NOT EXISTS (SELECT FROM {} AS t WHERE {}) ORDER BY s.ordinal").format(
        _insert(ours(connection, table.name), table.stored), first, rows_of(connection, table), same_key(table, "s")
    )


def insert_all(into: sql.Identifier, stored: Stored, stage: sql.Identifier) -> sql.Composed:
    """Inserts all staged rows into a table of the stored form."""
    return sql.SQL("{} FROM {} AS s").format(_insert(into, stored), stage)


def keep_others_from_inserting(connection: Connection) -> None:
    """Before `insertion` into a table that has no constraint for it, in the transaction of the batch."""
    connection.execute(_BEFORE_INSERT)


def has_key_index(connection: Connection, table: Table) -> bool:
    """Whether an index leads to a row by the first column of its key."""
    row = connection.execute(
        sql.SQL(
            "SELECT EXISTS (SELECT FROM pg_index AS i JOIN pg_attribute AS a"
            " ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
            " WHERE i.indrelid = {} AND i.indisvalid AND i.indpred IS NULL AND a.attname = %s)"
        ).format(relation("%s")),
        (table.name, table.key[0]),
    ).fetchone()
    return row == (True,)


def go_by_index(connection: Connection) -> None:
    """For this transaction: row by row through an index, where the planner would rather read a whole table."""
    connection.execute("SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)")


def _insert(into: sql.Identifier, stored: Stored) -> sql.Composed:
    return sql.SQL("INSERT INTO {} ({}) SELECT {}").format(
        into,
        _names([column.name for column in stored.columns]),
        sql.SQL(", ").join(_expression(column.written) for column in stored.columns),
    )


def same_key(table: Table, other: str) -> sql.Composed:
    """Whether a row `t` of the table and the row `other` have one key."""
    return sql.SQL(" AND ").join(
        sql.SQL("t.{0} = {1}.{0}").format(sql.Identifier(name), sql.Identifier(other)) for name in table.key
    )


def _expression(text: LiteralString) -> sql.SQL:
    return sql.SQL(text)


def _names(names: tuple[str, ...] | list[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
