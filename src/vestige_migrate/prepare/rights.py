"""Has the role the rights that the run will need? Asked before anything is written; refused with what to grant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import relation, target_of
from vestige_migrate.destination.connection.target_schema import check_skipped
from vestige_migrate.destination.indexes import build as indexes
from vestige_migrate.destination.load.archive_table import ARCHIVE
from vestige_migrate.destination.schema import registry
from vestige_migrate.destination.schema.pgvector_extension import check_index
from vestige_migrate.destination.schema.schema_check import REGISTRY
from vestige_migrate.destination.schema.vector_index import existing_form, forms_here
from vestige_migrate.errors import DestinationUnusable
from vestige_migrate.limits import MAX_DIMENSION
from vestige_migrate.model import ModelSignature
from vestige_migrate.plan import Deletions, Indexes, OnConflict, SqliteToPostgresPlan
from vestige_migrate.tables import TABLES
from vestige_migrate.tables.shapes import Shapes

_TABLE_GRANTS = sql.SQL(
    "SELECT format('GRANT %%s ON %%s TO %%I', string_agg(w.privilege, ', ' ORDER BY w.ordinal),"
    "   format('%%I.%%I', n.nspname, c.relname), current_user)"
    " FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS w(name, privilege, ordinal)"
    " JOIN pg_class AS c ON c.oid = {} JOIN pg_namespace AS n ON n.oid = c.relnamespace"
    " WHERE NOT has_table_privilege(c.oid, w.privilege) GROUP BY n.nspname, c.relname ORDER BY min(w.ordinal)"
).format(relation("w.name"))
_MISSING = sql.SQL("SELECT name FROM unnest(%s::text[]) AS n(name) WHERE {} IS NULL").format(relation("name"))
_SCHEMA_GRANTS = sql.SQL(
    "SELECT format('GRANT CREATE ON SCHEMA %I TO %I', current_schema(), current_user)"
    " WHERE NOT has_schema_privilege(current_schema(), 'CREATE')"
)
_OTHER_GRANTS = sql.SQL(
    "SELECT format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), current_user)"
    " WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')"
    " UNION ALL SELECT format('GRANT EXECUTE ON FUNCTION %I.vestige_tags_text TO %I', current_schema(), current_user)"
    " WHERE NOT coalesce(has_function_privilege("
    "   to_regprocedure(quote_ident(current_schema()) || '.vestige_tags_text(text[])'), 'EXECUTE'), true)"
)
# A column that takes its value from a sequence (serial): nextval() needs a right of its own.
_SEQUENCE_GRANTS = sql.SQL(
    "SELECT DISTINCT format('GRANT USAGE ON SEQUENCE %%I.%%I TO %%I', n.nspname, s.relname, current_user)"
    " FROM unnest(%s::text[]) AS w(name) JOIN pg_attrdef AS d ON d.adrelid = {}"
    " JOIN pg_depend AS p ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid"
    "   AND p.refclassid = 'pg_class'::regclass"
    " JOIN pg_class AS s ON s.oid = p.refobjid JOIN pg_namespace AS n ON n.oid = s.relnamespace"
    " WHERE CASE s.relkind WHEN 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE, UPDATE') END"
).format(relation("w.name"))
# Active for this role: of whatever policies there are, and also where there are none (then no row is seen).
_FILTERED = sql.SQL(
    "SELECT w.name, pg_has_role(c.relowner, 'USAGE'), format('%%I.%%I', n.nspname, c.relname)"
    " FROM unnest(%s::text[]) WITH ORDINALITY AS w(name, ordinal)"
    " JOIN pg_class AS c ON c.oid = {} JOIN pg_namespace AS n ON n.oid = c.relnamespace"
    " WHERE row_security_active(c.oid) ORDER BY w.ordinal"
).format(relation("w.name"))
_FOREIGN = sql.SQL(
    "SELECT n.nspname, r.rolname, current_user FROM pg_class AS c JOIN pg_roles AS r ON r.oid = c.relowner"
    " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
    " WHERE c.oid = {} AND NOT pg_has_role(c.relowner, 'USAGE')"
).format(relation("%s"))


def check_reading(connection: Connection) -> None:
    """Raises `DestinationUnusable` where the role may not read all of our tables that are there."""
    _refuse(_table_grants(connection, dict.fromkeys([*TABLES, REGISTRY], ("SELECT",))))
    _check_rows_are_seen(connection, [*TABLES, REGISTRY, ARCHIVE])


def check_writing(connection: Connection, plan: SqliteToPostgresPlan) -> None:
    """Raises `DestinationUnusable` where the role may not write the tables, nor make those that are missing."""
    _check_keys_are_enforced(connection)
    wanted: dict[str, tuple[str, ...]] = dict.fromkeys(TABLES, ("SELECT", "INSERT"))
    if plan.on_conflict is not OnConflict.SKIP:
        wanted = {name: (*rights, "UPDATE") for name, rights in wanted.items()}
    if plan.deletions is Deletions.APPLY:
        wanted = {name: (*rights, "DELETE") for name, rights in wanted.items()}
    wanted[REGISTRY] = ("SELECT",)
    if plan.archive:
        wanted[ARCHIVE] = ("SELECT", "INSERT")
    grants = _table_grants(connection, wanted) + _texts(connection, _SEQUENCE_GRANTS, (list(TABLES),))
    if connection.execute(_MISSING, (list(wanted),)).fetchone() is not None:
        may_not = _texts(connection, _SCHEMA_GRANTS)
        target = target_of(connection)
        if may_not and target is not None:
            check_skipped(connection, target)
        grants += may_not
    _refuse(grants + _texts(connection, _OTHER_GRANTS))
    _check_rows_are_seen(connection, list(wanted))


def check_owning(
    connection: Connection,
    plan: SqliteToPostgresPlan,
    model: ModelSignature | None,
    registered: ModelSignature | None,
    dimension: int | None,
    shapes: Shapes,
) -> None:
    """Raises `DestinationUnusable` where only the owner of a table could do what is left to be done to it."""
    if model is not None and registered is None:
        _refuse(_table_grants(connection, {REGISTRY: ("INSERT",)}))
    declared = registry.column_dimension(connection)
    form = existing_form(connection, declared)
    if form is None and plan.indexes is not Indexes.NONE and indexes.needs_hnsw(connection, dimension):
        form = forms_here(connection, dimension or 0)[0]
    check_index(connection, form)
    row = connection.execute(_FOREIGN, ("knowledge_nodes",)).fetchone()
    if row is None:
        return
    schema, owner, role = row
    if declared is None and dimension is not None and dimension <= MAX_DIMENSION:
        statement = sql.SQL("ALTER TABLE {}.knowledge_nodes ALTER COLUMN embedding TYPE vector({})").format(
            sql.Identifier(schema), sql.Literal(dimension)
        )
        raise DestinationUnusable(
            f"knowledge_nodes.embedding in the destination has no dimension yet and belongs to {owner}, not to {role}: "
            f"let {owner} run: {statement.as_string(connection)}"
        )
    if plan.indexes is Indexes.NONE:
        return
    absent = [name for name, _ in indexes.missing(connection, shapes)] + indexes.invalid(connection)
    if indexes.needs_hnsw(connection, declared):
        absent.append(indexes.HNSW_INDEX)
    if absent:
        raise DestinationUnusable(
            f"the destination's tables belong to {owner}, and {role} may not build the indexes that they lack "
            f"({', '.join(absent)}): let {owner} run this command once, or copy with --indexes none"
        )


def _table_grants(connection: Connection, wanted: Mapping[str, Sequence[str]]) -> list[str]:
    pairs = [(name, right) for name, rights in wanted.items() for right in rights]
    names, rights = zip(*pairs, strict=True)
    return _texts(connection, _TABLE_GRANTS, (list(names), list(rights)))


def _check_rows_are_seen(connection: Connection, names: Sequence[str]) -> None:
    filtered = connection.execute(_FILTERED, (list(names),)).fetchall()
    if not filtered:
        return
    advice = "connect as the tables' owner, or let a superuser run ALTER ROLE ... BYPASSRLS"
    if all(owned for _, owned, _ in filtered):
        advice = "as their owner, run: " + "; ".join(
            f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY" for _, _, table in filtered
        )
    raise DestinationUnusable(
        f"row-level security hides rows of {', '.join(name for name, _, _ in filtered)} from this role, or may refuse "
        f"some, so it cannot be known what is there: {advice}"
    )


def _check_keys_are_enforced(connection: Connection) -> None:
    row = connection.execute("SELECT current_setting('session_replication_role'), current_user").fetchone()
    assert row is not None
    setting, role = row
    if setting != "origin":
        raise DestinationUnusable(
            f"sessions of {role} have session_replication_role = {setting}, in which PostgreSQL enforces no foreign "
            "key, and this role may not change it: let a superuser RESET it for the role or the database "
            "(ALTER ROLE ... RESET session_replication_role, ALTER DATABASE ... RESET session_replication_role)"
        )


def _texts(connection: Connection, query: sql.SQL | sql.Composed, parameters: tuple[list[str], ...] = ()) -> list[str]:
    return [text for (text,) in connection.execute(query, parameters or None)]


def _refuse(grants: Sequence[str]) -> None:
    if grants:
        raise DestinationUnusable(
            f"this role lacks rights in the destination: let the owner of the tables run: {'; '.join(grants)}"
        )
