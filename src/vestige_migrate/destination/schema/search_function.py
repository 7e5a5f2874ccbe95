"""`vestige_search(query, query_embedding, k)`: one search by words and by nearness, in the schema of our tables.

Each of the two searches goes through its own index, and their ranks are fused: 1 / (60 + rank) of both, added up
(reciprocal rank fusion: Cormack, Clarke and Buettcher, SIGIR 2009). One statement that asks both at once, with the
vector as a column of its own, reads the whole table instead.

It runs with the rights of whoever calls it, and all that it names has its schema. The vectors' form in the index is
written into it, so it is made after the indexes, and made anew where that has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from loguru import logger
from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.faults import is_transient, server_words
from vestige_migrate.destination.connection.table_names import ours, qualified
from vestige_migrate.destination.schema import event_triggers
from vestige_migrate.destination.schema.registry import column_dimension
from vestige_migrate.destination.schema.schema import read_sql
from vestige_migrate.destination.schema.vector_index import (
    MOST_FROM_INDEX,
    SHORTLIST,
    Form,
    existing_form,
    schema_of_pgvector,
    select_nearest,
)

FUNCTION = "vestige_search"

_MARK = "-- Made by vestige-migrate"
_SHORTLISTED = 3
"""Of an index of bits, so many times what is wanted of it."""
_FIND = sql.SQL(
    "SELECT p.prosrc, pg_has_role(p.proowner, 'USAGE'), pg_get_userbyid(p.proowner)::text FROM pg_proc AS p"
    " JOIN pg_namespace AS n ON n.oid = p.pronamespace AND n.nspname = current_schema() WHERE p.proname = {}"
)
_MAY_CREATE = sql.SQL("SELECT has_schema_privilege(current_schema(), 'CREATE')")


@dataclass(frozen=True)
class _Found:
    body: str
    is_own: bool
    owner: str

    @property
    def is_ours(self) -> bool:
        return self.body.lstrip().startswith(_MARK)


def keep_search_function(connection: Connection) -> None:
    """Makes the function where this role may, and replaces one of ours that would search otherwise.

    One that somebody else has made under its name stays. A line in the log says where a copy goes without.
    """
    schema = schema_of_pgvector(connection)
    body = _body(connection, schema)
    found = [_Found(*row) for row in connection.execute(_FIND.format(sql.Literal(FUNCTION)))]
    if [one.body for one in found] == [body]:
        return
    reason = _why_not(connection, found)
    if reason is None:
        reason = _make(connection, schema, body)
    if reason is not None:
        logger.info("the function {} for searches (docs/schema.md) was not made: {}", FUNCTION, reason)


def _why_not(connection: Connection, found: Sequence[_Found]) -> str | None:
    if not all(one.is_ours for one in found):  # whatever it takes: calls of it could become ambiguous
        return "there is another one of that name, which stays as it is"
    if not found:
        may = connection.execute(_MAY_CREATE).fetchone() == (True,)
        return None if may else "this role may not CREATE in the schema. Its owner gets it from a run of this command"
    if not found[0].is_own:
        return f"an earlier one belongs to {found[0].owner}, who gets a new one from a run of this command"
    return None


def _make(connection: Connection, schema: str, body: str) -> str | None:
    """Makes it; why that could not be, in the server's words. A command that makes something holds no row content."""
    statement = sql.SQL(read_sql("search.sql")).format(
        function=ours(connection, FUNCTION), vector=qualified(schema, "vector"), body=sql.Literal(body)
    )
    try:
        with connection.transaction():
            connection.execute(statement)
    except psycopg.Error as error:
        if is_transient(error) and not event_triggers.is_raised(error):
            raise
        return server_words(error)
    return None


def _body(connection: Connection, schema: str) -> str:
    dimension = column_dimension(connection)
    form = existing_form(connection, dimension) or Form.WHOLE
    shortlist: sql.Composable = sql.SQL("depth")
    if form is Form.BITS:
        shortlist = sql.SQL("greatest({} * depth, {})").format(sql.Literal(_SHORTLISTED), sql.Literal(SHORTLIST))
    composed = sql.SQL(read_sql("search_body.sql")).format(
        shortlist=shortlist,
        most=sql.Literal(MOST_FROM_INDEX),
        vector_dims=qualified(schema, "vector_dims"),
        indexed=_ranks(connection, form, dimension, schema),
        exact=_ranks(connection, None, dimension, schema),
    )
    return composed.as_string(connection)


def _ranks(connection: Connection, form: Form | None, dimension: int | None, schema: str) -> sql.Composed:
    memories = ours(connection, "knowledge_nodes")
    limit = sql.SQL("depth") if form is None else sql.SQL("shortlist")
    asked = sql.SQL("query_embedding")
    return sql.SQL(read_sql("search_ranks.sql")).format(
        memories=memories, nearest=select_nearest(form, dimension, schema, memories, asked, limit)
    )
