"""May the role call what every run calls? A hardened server takes EXECUTE away from PUBLIC; asked before all else."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import errors, sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.faults import describe
from vestige_migrate.errors import DestinationUnusable
from vestige_migrate.tables.shapes import Shapes

_FUNCTIONS = (
    # The session and the server.
    "pg_backend_pid()", "pg_postmaster_start_time()", "pg_is_in_recovery()", "current_database()", "current_schema()",
    "current_schemas(boolean)", "current_setting(text)", "current_setting(text,boolean)",
    "set_config(text,text,boolean)", "pg_size_bytes(text)", "pg_terminate_backend(integer,bigint)",
    "pg_blocking_pids(integer)", "pg_logical_emit_message(boolean,text,text)",
    "pg_logical_emit_message(boolean,text,text,boolean)", "pg_stat_get_activity(integer)", "pg_lock_status()",
    "pg_stat_get_progress_info(text)", "pg_show_all_settings()", "host(inet)",
    # The lock of a run.
    "pg_try_advisory_lock(bigint)", "pg_try_advisory_lock_shared(bigint)", "pg_advisory_unlock(bigint)",
    "pg_advisory_unlock_shared(bigint)",
    # The catalog.
    "pg_available_extensions()", "pg_available_extension_versions()", "to_regclass(text)", "to_regtype(text)",
    "quote_ident(text)", "format_type(oid,integer)", "pg_get_expr(pg_node_tree,oid)",
    "pg_get_indexdef(oid,integer,boolean)", "pg_partition_tree(regclass)", "pg_get_userbyid(oid)",
    "to_jsonb(anyelement)",
    "has_table_privilege(oid,text)", "has_schema_privilege(oid,text)", "has_schema_privilege(text,text)",
    "has_database_privilege(text,text)", "has_column_privilege(text,text,text)", "has_type_privilege(oid,text)",
    "pg_has_role(oid,text)", "row_security_active(oid)",
    # What generates search_vec, and what asks it.
    "to_tsvector(regconfig,text)", 'setweight(tsvector,"char")', "tsvector_concat(tsvector,tsvector)",
    '"left"(text,integer)', "array_to_string(anyarray,text)", "to_tsquery(regconfig,text)", "length(tsvector)",
    # Rows, keys and digests.
    "gen_random_uuid()", "now()", "sha256(bytea)", "record_send(record)", "string_agg(bytea,bytea)",
    "string_agg(text,text)", "substr(bytea,integer,integer)", "substr(text,integer)", "encode(bytea,text)",
    "convert_to(text,name)", "uuid_send(uuid)", "get_byte(bytea,integer)", "octet_length(bytea)",
    "regexp_replace(text,text,text)", "array_agg(anynonarray)", "generate_series(integer,integer)",
)  # fmt: skip
_OF_STATES = (
    "pg_advisory_xact_lock(bigint)", 'jsonb_build_object("any")', "jsonb_typeof(jsonb)",
    "jsonb_object_field(jsonb,text)", "jsonb_object_field_text(jsonb,text)", "textregexeq(text,text)",
    "regexp_replace(text,text,text,text)", "lpad(text,integer,text)", '"right"(text,integer)',
)  # fmt: skip
"""What events that are kept as states are written and read with (tables.review_events)."""
_VIEWS = (
    "pg_stat_activity", "pg_locks", "pg_settings", "pg_stat_progress_create_index", "pg_available_extensions",
    "pg_available_extension_versions", "pg_roles",
)  # fmt: skip

# One that this version of PostgreSQL does not have is NULL, and asks for nothing.
_GRANTS = sql.SQL(
    "SELECT format('GRANT EXECUTE ON FUNCTION pg_catalog.%%s TO %%I', f.name, current_user)"
    " FROM unnest(%s::text[]) WITH ORDINALITY AS f(name, ordinal)"
    " WHERE NOT has_function_privilege(to_regprocedure('pg_catalog.' || f.name), 'EXECUTE')"
    " UNION ALL SELECT format('GRANT SELECT ON pg_catalog.%%s TO %%I', v.name, current_user)"
    " FROM unnest(%s::text[]) AS v(name)"
    " WHERE NOT has_table_privilege(to_regclass('pg_catalog.' || v.name), 'SELECT')"
)


def check_functions(connection: Connection) -> None:
    """Raises `DestinationUnusable` where the role may not call one of the server's functions, with what to grant."""
    _check(connection, _FUNCTIONS, _VIEWS)


def check_functions_for(connection: Connection, shapes: Shapes) -> None:
    """The same for what only tables of these shapes ask for."""
    if shapes.events_as_states:
        _check(connection, _OF_STATES)


def _check(connection: Connection, functions: Sequence[str], views: Sequence[str] = ()) -> None:
    try:
        rows = connection.execute(_GRANTS, (list(functions), list(views)))
    except errors.InsufficientPrivilege as error:
        raise DestinationUnusable(f"{describe(error)}: let a superuser give that right to this role") from None
    grants = [grant for (grant,) in rows]
    if grants:
        raise DestinationUnusable(
            f"this role may not call what every run needs: let a superuser run, in this database: {'; '.join(grants)}"
        )
