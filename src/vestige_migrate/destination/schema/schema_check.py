"""Are the tables that are there the ones this program makes? Asked of the catalog, before anything is written.

What someone added (columns with a default, indexes, triggers, other constraints) is theirs and stays. What the copy
relies on must be there: types that take every value, the keys that ON CONFLICT goes by, foreign keys and checks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import LiteralString

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import relation
from vestige_migrate.errors import DestinationUnusable
from vestige_migrate.tables import TABLES, edges, review_events
from vestige_migrate.tables.base import Table
from vestige_migrate.tables.shapes import Shapes
from vestige_migrate.wire import field

REGISTRY = "embedding_model"
_REGISTRY_COLUMNS = {"id": "int2", "name": "text", "dimension": "int4", "hash": "text"}
SEARCH_VECTOR = "search_vec"

_OURS = sql.SQL("WITH ours AS (SELECT name, {} AS id FROM unnest(%s::text[]) AS n(name)) ").format(relation("name"))
_COLUMNS: LiteralString = (
    "SELECT name, attname, regexp_replace(typname, '^_(.*)$', '\\1[]')"
    "   || coalesce(substring(format_type(atttypid, atttypmod) FROM '[(].*[)]'), ''),"
    " attnotnull, atthasdef OR attidentity <> '', attgenerated <> ''"
    " FROM ours JOIN pg_attribute AS a ON attrelid = ours.id JOIN pg_type AS t ON t.oid = atttypid"
    " WHERE attnum > 0 AND NOT attisdropped ORDER BY attnum"
)
_UNLOGGED: LiteralString = (
    "SELECT DISTINCT name FROM ours JOIN pg_class AS c ON c.oid = ours.id"
    "   OR c.oid IN (SELECT relid FROM pg_partition_tree(ours.id))"
    " WHERE c.relpersistence = 'u' AND c.relkind IN ('r', 'p') ORDER BY name"
)
# Of one without a collation there is no row.
_SAME_TEXTS: LiteralString = (
    "SELECT name, attname, collname FROM ours JOIN pg_attribute AS a ON attrelid = ours.id"
    " JOIN pg_collation AS c ON c.oid = attcollation WHERE NOT collisdeterministic AND NOT attisdropped"
)
"""Columns in which texts of different bytes are equal: in a key, one of them would keep the other out."""
_KINDS: LiteralString = "SELECT name FROM ours JOIN pg_class AS c ON c.oid = ours.id WHERE relkind NOT IN ('r', 'p')"
_UNIQUES: LiteralString = (
    "SELECT name, array_agg(attname::text) FROM ours JOIN pg_index AS i ON indrelid = ours.id JOIN pg_attribute AS a"
    " ON attrelid = indrelid AND attnum = ANY ((indkey::int2[])[0:indnkeyatts - 1])"
    " WHERE indisunique AND indisvalid AND indimmediate AND indpred IS NULL AND indexprs IS NULL"
    " GROUP BY name, indexrelid"
)
_REFERENCES: LiteralString = (
    "SELECT ours.name, a.attname, theirs.name, p.attname FROM ours JOIN pg_constraint AS c ON c.conrelid = ours.id"
    " JOIN ours AS theirs ON theirs.id = c.confrelid"
    " JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]"
    " JOIN pg_attribute AS p ON p.attrelid = c.confrelid AND c.confkey = ARRAY[p.attnum] WHERE contype = 'f'"
)
_CHECKS: LiteralString = (
    "SELECT name, attname FROM ours JOIN pg_constraint AS c ON conrelid = ours.id"
    " JOIN pg_attribute AS a ON attrelid = conrelid AND attnum = ANY (conkey) WHERE contype = 'c'"
)
_RULES: LiteralString = (
    "SELECT name, rulename FROM ours JOIN pg_rewrite ON ev_class = ours.id"
    " WHERE ev_type IN ('2', '3') AND ev_enabled <> 'D' ORDER BY name, rulename"
)
"""Rules for UPDATE and INSERT (PostgreSQL's catalog/pg_rewrite.h): ON CONFLICT cannot be used beside them."""


@dataclass(frozen=True)
class _Column:
    """A column as it is: its type as `Column.pg_type` has it, then its modifier."""

    type: str
    not_null: bool
    has_default: bool
    generated: bool


class _Catalog:
    """What the catalog says of our tables."""

    def __init__(self, connection: Connection) -> None:
        def ask(query: LiteralString) -> list[tuple[object, ...]]:
            return connection.execute(_OURS + sql.SQL(query), ([*TABLES, REGISTRY],)).fetchall()

        self.columns: dict[str, dict[str, _Column]] = {}
        for table, name, *rest in ask(_COLUMNS):
            self.columns.setdefault(str(table), {})[str(name)] = _Column(*rest)  # type: ignore[arg-type]
        self.no_tables = {name for (name,) in ask(_KINDS)}
        self.uniques = {(table, frozenset(names)) for table, names in ask(_UNIQUES)}  # type: ignore[call-overload]
        self.references = set(ask(_REFERENCES))
        self.checks = set(ask(_CHECKS))
        self.rules = ask(_RULES)
        self.unlogged = [name for (name,) in ask(_UNLOGGED)]
        self.same_texts = {(table, name): collation for table, name, collation in ask(_SAME_TEXTS)}


def check_shape(connection: Connection) -> Shapes:
    """The shapes of the tables that are there; those that are missing will be ours.

    Raises `DestinationUnusable` with every difference where one is of no shape that this program fills.
    """
    catalog = _Catalog(connection)
    shapes = _find_shapes(catalog)
    problems = [f"{name} is not a table" for name in sorted(map(str, catalog.no_tables))]
    problems += [
        f"{table} has the rule {rule} for INSERT or UPDATE"
        for table, rule in catalog.rules
        if table not in catalog.no_tables
    ]
    problems += [
        f"{name} is UNLOGGED: a crash of the server empties it (ALTER TABLE ... SET LOGGED)"
        for name in catalog.unlogged
    ]
    for table in shapes.tables().values():
        if table.name in catalog.columns and table.name not in catalog.no_tables:
            problems += _judge_columns(table, catalog.columns[table.name])
            problems += _judge_constraints(table, catalog)
    registry = catalog.columns.get(REGISTRY)
    if registry and REGISTRY not in catalog.no_tables:
        problems += _judge_types(REGISTRY, _REGISTRY_COLUMNS, registry)
        problems += _judge_additions(REGISTRY, {*_REGISTRY_COLUMNS, "created_at"}, registry)
        problems += _judge_key(REGISTRY, ("id",), catalog)
    _refuse(problems)
    return shapes


def _find_shapes(catalog: _Catalog) -> Shapes:
    """Which of the shapes each table comes nearest to."""
    events = catalog.columns.get(review_events.TABLE.name, {})
    table = review_events.AS_STATES
    stored = table.stored
    assert stored is not None, "that is what this shape is"
    as_states = "occurred_at" not in events and all(name in events for name in (*table.stored_columns, *stored.own))
    name = edges.TABLE.name
    # A unique constraint on the two memories keeps a second edge out, whatever its type.
    pair_is_key = (name, frozenset(edges.KEY)) in catalog.uniques
    by_type = not pair_is_key and (name, frozenset(edges.BY_TYPE.key)) in catalog.uniques
    return Shapes(edges_by_type=by_type, events_as_states=as_states)


def check_columns(connection: Connection) -> Shapes:
    """The same for a destination that is only read: what cannot be compared. What else was altered shows there."""
    problems: list[str] = []
    catalog = _Catalog(connection)
    columns, shapes = catalog.columns, _find_shapes(catalog)
    for table in shapes.tables().values():
        if table.name in columns:
            wanted = table.stored_columns
            found = {
                name: replace(item, type=item.type.partition("(")[0], generated=False)
                for name, item in columns[table.name].items()
            }
            problems += _judge_types(table.name, wanted, found)
    _refuse(problems)
    return shapes


def _refuse(problems: list[str]) -> None:
    if problems:
        raise DestinationUnusable(
            f"the destination's tables are not the ones this program makes: {'; '.join(problems)}. "
            "Change them back, or copy into another database or schema (--schema)"
        )


def _judge_columns(table: Table, columns: dict[str, _Column]) -> Iterator[str]:
    wanted = table.stored_columns
    yield from _judge_types(table.name, wanted, columns)
    for column in table.columns:
        found = columns.get(column.name)
        if found is not None and found.not_null and column.default == field.NULL and not column.required:
            yield f"{table.name}.{column.name} is NOT NULL"
    ours = set(wanted)
    if table.name == "knowledge_nodes":
        ours.add(SEARCH_VECTOR)
        search = columns.get(SEARCH_VECTOR)
        if search is None:
            yield f"{table.name}.{SEARCH_VECTOR} is missing"
        elif search.type != "tsvector" or not search.generated:
            yield f"{table.name}.{SEARCH_VECTOR} is no generated tsvector"
    yield from _judge_additions(table.name, ours, columns)


def _judge_types(table: str, wanted: dict[str, str], columns: dict[str, _Column]) -> Iterator[str]:
    for name, type_ in wanted.items():
        found = columns.get(name)
        if found is None:
            yield f"{table}.{name} is missing"
            continue
        # The registry's check judges a dimension; any other modifier would cut values or refuse them.
        sized = (table, name) == ("knowledge_nodes", "embedding") and found.type.startswith("vector(")
        if found.type != type_ and not sized:
            yield f"{table}.{name} is {found.type} instead of {type_}"
        elif found.generated:
            yield f"{table}.{name} is a generated column"


def _judge_additions(table: str, ours: set[str], columns: dict[str, _Column]) -> Iterator[str]:
    for name, found in columns.items():
        if name not in ours and found.not_null and not (found.has_default or found.generated):
            yield f"{table}.{name} is none of ours, NOT NULL and without a default"


def _judge_constraints(table: Table, catalog: _Catalog) -> Iterator[str]:
    if table.stored is None:
        yield from _judge_key(table.name, table.key, catalog)
    for name in table.key:
        collation = catalog.same_texts.get((table.name, name))
        if collation is not None:
            yield f"{table.name}.{name} has the collation {collation}, by which different texts are one key"
    if table.unique is not None:
        yield from _judge_key(table.name, (table.unique,), catalog)
    for parent in table.parents:
        if (table.name, parent.column, parent.table, parent.parent_column) not in catalog.references:
            yield f"{table.name}.{parent.column} has no foreign key to {parent.table} ({parent.parent_column})"
    if table.checked is not None and (table.name, table.checked) not in catalog.checks:
        yield f"{table.name}.{table.checked} has no CHECK"


def _judge_key(table: str, key: tuple[str, ...], catalog: _Catalog) -> Iterator[str]:
    """ON CONFLICT needs a unique index on just these columns."""
    if (table, frozenset(key)) not in catalog.uniques:
        yield f"{table} has no primary key or unique constraint on ({', '.join(key)})"
