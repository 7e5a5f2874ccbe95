"""Does something that is no table stand under a name that a copy would make? A type or a function of somebody else's.

A table brings a type of its own name with it, so a type of that name keeps it out. Asked before anything is written, so
that a dry run says what a copy would meet; a relation of our names is judged by its shape (schema_check.py).
"""

from __future__ import annotations

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import relation
from vestige_migrate.destination.load.archive_table import ARCHIVE
from vestige_migrate.destination.schema.schema_check import REGISTRY
from vestige_migrate.errors import DestinationUnusable
from vestige_migrate.tables import TABLES

_TYPES = sql.SQL(
    "SELECT format('%%I (a type)', name) FROM unnest(%s::text[]) WITH ORDINALITY AS n(name, ordinal)"
    " JOIN pg_type ON typname::text = name WHERE typnamespace = to_regnamespace(quote_ident(current_schema()))"
    " AND {} IS NULL ORDER BY ordinal"
).format(relation("name"))
# CREATE OR REPLACE takes one that differs in its body alone, and that is the role's own.
_FUNCTION = sql.SQL(
    "SELECT format('%I(%s) (%s%s)', p.proname, pg_get_function_identity_arguments(p.oid),"
    "   CASE p.prokind WHEN 'f' THEN 'a function' WHEN 'p' THEN 'a procedure' ELSE 'an aggregate' END,"
    "   CASE WHEN pg_has_role(p.proowner, 'USAGE') THEN '' ELSE ' of ' || pg_get_userbyid(p.proowner) END)"
    " FROM pg_proc AS p"
    " WHERE p.oid = to_regprocedure(quote_ident(current_schema()) || '.vestige_tags_text(text[])') AND NOT ("
    "   p.prokind = 'f' AND p.prorettype = 'text'::regtype AND NOT p.proretset AND pg_has_role(p.proowner, 'USAGE')"
    "   AND coalesce(p.proargnames[1], '') IN ('', 'tags'))"
)


def check_taken(connection: Connection, with_archive: bool) -> None:
    """Raises `DestinationUnusable` where a table of ours is missing and could not be made for a name that is taken."""
    made = [*TABLES, REGISTRY]
    names = [*made, ARCHIVE] if with_archive else made
    taken = [name for (name,) in connection.execute(_TYPES, (names,))]
    missing = sql.SQL("SELECT FROM unnest(%s::text[]) AS n(name) WHERE {} IS NULL").format(relation("name"))
    if connection.execute(missing, (made,)).fetchone() is not None:
        taken += [name for (name,) in connection.execute(_FUNCTION)]
    if taken:
        raise DestinationUnusable(
            f"the destination has something else under a name that this program would make: {', '.join(taken)}. "
            "Rename or drop it, or copy into another database or schema (--schema)"
        )
