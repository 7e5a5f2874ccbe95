"""pgvector in the destination database: is it there and new enough, can this role name its type, may it be installed?

The extension may lie in any schema (managed services have one called `extensions`). Where the connection's search_path
lacks that schema it is put behind all others (`connection.extension_path`), so that the type, its operators and
operator classes are found by their names alone; tables are still made, and looked for, in the schemas that come first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from loguru import logger
from psycopg import sql
from psycopg.rows import TupleRow

from vestige_migrate.destination.connection.extension_path import put_on_path
from vestige_migrate.destination.connection.faults import is_transient, server_words
from vestige_migrate.destination.connection.table_names import relation
from vestige_migrate.destination.connection.target_schema import Target, enter
from vestige_migrate.destination.schema import event_triggers
from vestige_migrate.destination.schema.vector_index import Form
from vestige_migrate.errors import DestinationUnusable
from vestige_migrate.report.endpoints import USUAL_SCHEMA

if TYPE_CHECKING:
    from vestige_migrate.destination.schema.schema import ServerInfo

_Connection = psycopg.Connection[TupleRow]

OLDEST_PGVECTOR = (0, 5)
_OLDEST = ".".join(map(str, OLDEST_PGVECTOR))

_FIND = sql.SQL(
    "SELECT quote_ident(n.nspname), quote_ident(pg_get_userbyid(e.extowner)), quote_ident(current_user),"
    " quote_ident(current_database()),"
    " has_schema_privilege(n.oid, 'USAGE'), {} IS NOT NULL OR"
    " has_type_privilege(t.oid, 'USAGE'), coalesce(to_regtype('vector') = t.oid, true),"
    " (SELECT quote_ident(s.nspname) FROM pg_type AS o JOIN pg_namespace AS s ON s.oid = o.typnamespace"
    "   WHERE o.oid = to_regtype('vector'))"
    " FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace"
    " JOIN pg_type AS t ON t.typname = 'vector' AND t.typnamespace = n.oid WHERE e.extname = 'vector'"
).format(relation("'knowledge_nodes'"))
# What is called by the role itself: of what an index or COPY calls, the server asks no right.
_GRANTS = sql.SQL(
    "SELECT format('GRANT EXECUTE ON FUNCTION %I.%I(%s) TO %I', n.nspname, p.proname, (SELECT"
    "   string_agg(format('%I.%I', s.nspname, a.typname), ', ' ORDER BY u.ordinal)"
    "   FROM unnest(p.proargtypes) WITH ORDINALITY AS u(id, ordinal) JOIN pg_type AS a ON a.oid = u.id"
    "   JOIN pg_namespace AS s ON s.oid = a.typnamespace), current_user)"
    " FROM pg_extension AS e JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid"
    " AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e' JOIN pg_proc AS p ON p.oid = d.objid"
    " JOIN pg_namespace AS n ON n.oid = p.pronamespace"
    " JOIN pg_type AS t ON t.oid = p.proargtypes[0]"
    " WHERE e.extname = 'vector' AND ({}) AND NOT has_function_privilege(p.oid, 'EXECUTE') ORDER BY 1"
)
_FUNCTION_GRANTS = _GRANTS.format(
    sql.SQL(
        "p.proname IN ('vector_in', 'vector_recv', 'vector_typmod_in') OR t.typname = 'vector' AND p.proname IN"
        " ('vector', 'vector_dims', 'vector_out', 'vector_send', 'cosine_distance')"
    )
)
_HALVES_GRANTS = _GRANTS.format(
    sql.SQL("t.typname = 'vector' AND p.proname = 'vector_to_halfvec' OR p.proname = 'halfvec'")
)
_BITS_GRANTS = _GRANTS.format(sql.SQL("t.typname = 'vector' AND p.proname = 'binary_quantize'"))
"""An index on an expression calls as the role that writes, and not as it pleases itself."""
_ALLOWED = sql.SQL(
    "SELECT name, current_setting(name, true) FROM"
    " unnest(ARRAY['azure.extensions', 'rds.allowed_extensions', 'extwlist.extensions']) AS n(name)"
)
"""Settings of platforms that list what may be installed; the second one may be `*`."""


@dataclass(frozen=True)
class Extension:
    """The installed extension: its schema and owner, who asks and where, and what keeps the type from being used.

    Names are quoted where SQL wants that. `shadowed_by` is the schema of the type of that name which the search_path
    finds; `is_found`: that is the extension's own one, or there is no schema at all on the path, which others say.
    """

    schema: str
    owner: str
    role: str
    database: str
    may_use_schema: bool
    may_use_type: bool
    is_found: bool
    shadowed_by: str | None


def find(connection: _Connection) -> Extension | None:
    """The extension of this database; None where it has none."""
    row = connection.execute(_FIND).fetchone()
    return Extension(*row) if row is not None else None


def check(connection: _Connection, server: ServerInfo, only_look: bool = False) -> None:
    """Raises `DestinationUnusable` where the type cannot be used, or is not there and cannot be installed.

    With `only_look` nothing will try to: what would refuse it is looked for.
    """
    if server.pgvector is not None:
        _check_version(connection, server)
        _check_usable(connection)
        return
    _check_offered(server)
    if only_look:
        _look_for_refusals(connection)


def _check_version(connection: _Connection, server: ServerInfo) -> None:
    assert server.pgvector is not None
    if not _is_old(server.pgvector):
        return
    has = f"the destination database has pgvector {server.pgvector}, and {_OLDEST} or newer is needed"
    found = find(connection)
    where = f"in the database {found.database}, as {found.owner} or a superuser" if found is not None else "there"
    update = f"run ALTER EXTENSION vector UPDATE {where}, then run this command again"
    offered = server.pgvector_available
    if offered is not None and not _is_old(offered):
        raise DestinationUnusable(f"{has}: the server has the files of {offered}, so {update}")
    raise DestinationUnusable(f"{has}: install a newer package pgvector on the server, then {update}")


def _is_old(version: str) -> bool:
    numbers = [int(part) for part in re.findall(r"\d+", version)]
    return bool(numbers) and tuple(numbers[:2]) < OLDEST_PGVECTOR


def _check_usable(connection: _Connection) -> None:
    found = find(connection)
    if found is None:
        return
    grants = [] if found.may_use_schema else [f"GRANT USAGE ON SCHEMA {found.schema} TO {found.role}"]
    if not found.may_use_type:
        grants.append(f"GRANT USAGE ON TYPE {found.schema}.vector TO {found.role}")
    grants += [grant for (grant,) in connection.execute(_FUNCTION_GRANTS)]
    if grants:
        raise DestinationUnusable(
            f"pgvector is in the schema {found.schema} of the destination, and {found.role} may not use it there: let "
            f"the schema's owner or a superuser run: {'; '.join(grants)}"
        )
    if not found.is_found:
        raise DestinationUnusable(
            f"pgvector is in the schema {found.schema} of the destination, and another type called vector, in the "
            f"schema {found.shadowed_by}, comes before it on the search_path: rename that one, or take its schema from "
            f"the path (ALTER ROLE {found.role} SET search_path = ...), then run this command again"
        )


def check_index(connection: _Connection, form: Form | None) -> None:
    """Raises `DestinationUnusable` where the role may not call what an index of this form calls for each vector."""
    if form is None or form is Form.WHOLE:
        return
    rows = connection.execute(_HALVES_GRANTS if form is Form.HALVES else _BITS_GRANTS)
    grants = [grant for (grant,) in rows]
    if grants:
        raise DestinationUnusable(
            "this role may not call what the HNSW index of so long vectors calls: let pgvector's owner or a superuser "
            f"run: {'; '.join(grants)}"
        )


def _check_offered(server: ServerInfo) -> None:
    offered = server.pgvector_available
    if offered is None:
        raise DestinationUnusable(
            "the destination server does not have the pgvector extension: install the package pgvector "
            f"({_OLDEST} or newer) on the server, or use the image pgvector/pgvector:pg18"
        )
    if _is_old(offered):
        raise DestinationUnusable(
            f"the destination server offers pgvector {offered}: install version {_OLDEST} or newer there"
        )
    if not server.may_create_extension:
        raise DestinationUnusable(
            "pgvector is not installed in the destination database and this role may not install it: "
            "let a superuser run CREATE EXTENSION vector there once, then run this command again"
        )


def _look_for_refusals(connection: _Connection) -> None:
    """What CREATE EXTENSION would meet, as far as it can be seen; `install` has the server's own words."""
    for name, listed in connection.execute(_ALLOWED).fetchall():
        allowed = {entry.strip().lower() for entry in (listed or "*").split(",")}
        if not allowed & {"*", "vector"}:
            raise _not_installed(f"the platform's setting {name} does not have vector in it")
    for trigger in event_triggers.on(connection, ("ddl_command_start", "ddl_command_end"), ("CREATE EXTENSION",)):
        verdict = trigger.refuses("CREATE EXTENSION", "vector")
        if verdict:
            raise _not_installed(f"the event trigger {trigger.name} refuses CREATE EXTENSION")
        if verdict is None:
            logger.warning(
                "the event trigger {} watches CREATE EXTENSION: whether it lets pgvector be installed cannot be known "
                "without trying",
                trigger.name,
            )


def install(connection: _Connection, target: Target | None) -> None:
    """CREATE EXTENSION, in the caller's transaction. Raises `DestinationUnusable` with what the server says to it.

    In public where the session's own search_path leads there: every other copy in this database needs it too, and it
    would go with a schema of ours that somebody drops.
    """
    command: sql.SQL | sql.Composed = sql.SQL("CREATE EXTENSION IF NOT EXISTS vector")
    if target is not None:
        place = USUAL_SCHEMA if USUAL_SCHEMA in target.path else target.schema
        command += sql.SQL(" SCHEMA {}").format(sql.Identifier(place))
    try:
        connection.execute(command)
    except psycopg.Error as error:
        if is_transient(error) and not event_triggers.is_raised(error):
            raise
        raise _not_installed(server_words(error)) from None
    if target is None:
        put_on_path(connection)
    else:
        enter(connection, target)


def _not_installed(why: str) -> DestinationUnusable:
    return DestinationUnusable(
        f"the extension pgvector cannot be installed in the destination database: {why}. Allow it where the platform "
        "lists what may be installed, or let an administrator run CREATE EXTENSION vector in that database, then run "
        "this command again"
    )
