"""Names of our tables as statements have them: with the schema that the run was decided to write to."""

from __future__ import annotations

from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.abc import AdaptContext
from psycopg.rows import TupleRow

from vestige_migrate.destination.connection.target_schema import Target
from vestige_migrate.destination.connection.watched_connection import WatchedConnection
from vestige_migrate.report.endpoints import USUAL_SCHEMA

TEMPORARY = "pg_temp"


def target_of(connection: psycopg.Connection[TupleRow]) -> Target | None:
    """The run's target; None for a session that no run has opened."""
    home = connection.home if isinstance(connection, WatchedConnection) else None
    return home.target if home is not None else None


def ours(connection: psycopg.Connection[TupleRow], name: str) -> sql.Identifier:
    """A table or index of ours. Wherever search_path leads for a session that no run has opened."""
    target = target_of(connection)
    return sql.Identifier(name) if target is None else qualified(target.schema, name)


def qualified(*parts: str) -> sql.Identifier:
    """A name with its schema, in a statement that may have parameters."""
    return _InAnyStatement(*parts) if any("%" in part for part in parts) else sql.Identifier(*parts)


class _InAnyStatement(sql.Identifier):
    """psycopg takes a % in a name for a placeholder, in a statement that has parameters: here it is written as its
    code (https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS)."""

    def __init__(self, *parts: str) -> None:
        super().__init__(*parts)
        self._parts = [sql.Identifier(part) for part in parts]

    def as_bytes(self, context: AdaptContext | None = None) -> bytes:
        """psycopg's own, as UTF-8, in which neither character is a part of another one."""
        quoted = (part.as_bytes(context).replace(b"\\", b"\\\\") for part in self._parts)
        return b".".join(b"U&" + part.replace(b"%", b"\\0025") for part in quoted)


def in_advice(connection: psycopg.Connection[TupleRow], name: str) -> str:
    """A table of ours as a statement has it that somebody is advised to run; in the usual schema by its name alone."""
    target = target_of(connection)
    if target is None or target.schema == USUAL_SCHEMA:
        return name
    return sql.Identifier(target.schema, name).as_string(connection)


def relation(name: LiteralString) -> sql.Composed:
    """The OID of our relation of that name, an expression in SQL; NULL where the target has none of it.

    `current_schema()` is the target (`target.enter`), and NULL where it is not there.
    """
    return sql.SQL("to_regclass(quote_ident(current_schema()) || '.' || quote_ident({}))").format(sql.SQL(name))


def temporary(name: str) -> sql.Identifier:
    """A temporary table: no other of its name is ever taken for it."""
    return sql.Identifier(TEMPORARY, name)
