"""pgvector's schema on a session's search_path, behind all others."""

from __future__ import annotations

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

# Not where no schema of the path is there: tables would be made in the extension's.
_PUT_ON_PATH = sql.SQL(
    "SELECT set_config('search_path', current_setting('search_path') || ', ' || quote_ident(n.nspname), false)"
    " FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace"
    " WHERE e.extname = 'vector' AND current_schema() IS NOT NULL AND n.nspname <> ALL (current_schemas(true))"
    " AND has_schema_privilege(n.oid, 'USAGE')"
)


def put_on_path(connection: psycopg.Connection[TupleRow]) -> None:
    """Lets this session find the extension's type by its name. Changes nothing where it does, or may not use it."""
    connection.execute(_PUT_ON_PATH)
