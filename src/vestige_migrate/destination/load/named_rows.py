"""Rows of a table that are known by their names (`tables.row_names`): as a list that a statement can join."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from vestige_migrate.tables.base import Table

_BETWEEN_PARTS = " -> "


def named_rows(table: Table) -> sql.Composed:
    """`(ordinal, key columns)`, ordinals from 1 on, for the parameters of `key_parameters`; without an alias.

    Not for a table whose rows are named by a part of their key.
    """
    arrays = [sql.SQL("%s::text[]::uuid[]") if kind == "uuid" else sql.SQL("%s::text[]") for kind in table.key_types]
    names = sql.SQL(", ").join(map(sql.Identifier, table.key))
    return sql.SQL("(SELECT ordinal, {} FROM unnest({}) WITH ORDINALITY AS u({}, ordinal))").format(
        names, sql.SQL(", ").join(arrays), names
    )


def key_parameters(table: Table, names: Sequence[str]) -> list[list[str]]:
    """The key columns of the rows of these names; only a last part, which may be any text, has the separator in it."""
    parts = [name.split(_BETWEEN_PARTS, len(table.key) - 1) for name in names]
    return [[part[at] for part in parts] for at in range(len(table.key))]
