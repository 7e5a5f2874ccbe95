"""Are the tables still what this program makes, so that they go on holding what was copied and search finds it?

A copy asks less (`destination.schema.schema_check`): what it relies on to write. Here every part is named that was
dropped or replaced since: keys, foreign keys, checks, NOT NULL, defaults, the search column and the indexes. An index
that is not there is none of these: `copy --indexes none` is a choice. What somebody added is theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.faults import is_transient
from vestige_migrate.destination.connection.table_names import ours, relation, temporary
from vestige_migrate.destination.indexes import build as indexes
from vestige_migrate.destination.schema import registry
from vestige_migrate.destination.schema.schema_check import REGISTRY, SEARCH_VECTOR
from vestige_migrate.destination.schema.vector_index import Form, forms_here
from vestige_migrate.tables import TABLES
from vestige_migrate.tables.base import BOOTSTRAP_USER, Table
from vestige_migrate.tables.shapes import OURS, Shapes
from vestige_migrate.wire import field

MEMORIES = "knowledge_nodes"

_DEFAULTS: dict[str, dict[str, str]] = {
    MEMORIES: {
        "node_type": "", "tags": "", "metadata": "", "domains": "", "domain_scores": "", "shared_with_groups": "",
        "owner_user_id": BOOTSTRAP_USER, "visibility": "private", "created_at": "", "updated_at": "",
    },
    "scheduling": dict.fromkeys(("stability", "difficulty", "retrievability", "reps", "lapses"), ""),
    "edges": dict.fromkeys(("edge_type", "weight", "created_at"), ""),
    "review_events": dict.fromkeys(("rating", "kind", "metadata"), ""),
    "users": dict.fromkeys(("created_at", "metadata"), ""),
    "groups": dict.fromkeys(("created_at", "metadata"), ""),
    "group_memberships": dict.fromkeys(("role", "joined_at"), ""),
    "domains": dict.fromkeys(("top_terms", "memory_count", "created_at"), ""),
}  # fmt: skip
"""Columns with a default in schema.sql, and what it has to be where another one would show memories to others."""

_OURS = sql.SQL("WITH ours AS (SELECT name, {} AS id FROM unnest(%s::text[]) AS n(name)) ").format(relation("name"))
_RELATIONS: LiteralString = (
    "SELECT name, relkind::text, relpersistence::text, relkind = 'r' AND EXISTS ("
    "   SELECT FROM pg_inherits WHERE inhparent = c.oid)"
    " FROM ours JOIN pg_class AS c ON c.oid = ours.id"
)
_COLUMNS: LiteralString = (
    "SELECT name, attname, attnotnull, attgenerated::text, typname, pg_get_expr(adbin, adrelid)"
    " FROM ours JOIN pg_attribute AS a ON attrelid = ours.id JOIN pg_type AS t ON t.oid = atttypid"
    " LEFT JOIN pg_attrdef AS d ON adrelid = attrelid AND adnum = attnum"
    " WHERE attnum > 0 AND NOT attisdropped"
)
_UNIQUES: LiteralString = (
    "SELECT name, array_agg(attname::text) FROM ours JOIN pg_index AS i ON indrelid = ours.id JOIN pg_attribute AS a"
    " ON attrelid = indrelid AND attnum = ANY ((indkey::int2[])[0:indnkeyatts - 1])"
    " WHERE indisunique AND indisvalid AND indisready AND indpred IS NULL AND indexprs IS NULL"
    " GROUP BY name, indexrelid"
)
# PostgreSQL 18 has constraints that are not enforced; before, the catalog has no such column.
_CONSTRAINTS: LiteralString = (
    "SELECT ours.name, c.contype::text, a.attname, theirs.name, p.attname,"
    "   c.convalidated AND coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true)"
    " FROM ours JOIN pg_constraint AS c ON c.conrelid = ours.id"
    " JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)"
    " LEFT JOIN ours AS theirs ON theirs.id = c.confrelid"
    " LEFT JOIN pg_attribute AS p ON p.attrelid = c.confrelid AND c.confkey = ARRAY[p.attnum]"
    " WHERE c.contype IN ('c', 'f', 'n')"
)
_INDEXES: LiteralString = (
    "SELECT c.relname, ours.name, m.amname, i.indisvalid AND i.indisready, i.indpred IS NOT NULL, o.opcname,"
    "   (SELECT array_agg(pg_get_indexdef(i.indexrelid, at, true) ORDER BY at)"
    "     FROM generate_series(1, i.indnkeyatts) AS at)"
    " FROM ours JOIN pg_index AS i ON i.indrelid = ours.id JOIN pg_class AS c ON c.oid = i.indexrelid"
    " JOIN pg_am AS m ON m.oid = c.relam JOIN pg_opclass AS o ON o.oid = i.indclass[0]"
)
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
_ARRAY_CAST = "::text[]"
"""How PostgreSQL writes out the type of a constant in an expression that is indexed."""


@dataclass(frozen=True)
class Flaw:
    """A part of a table that is not as it should be: a column, constraint or index by its name, and what is wrong."""

    table: str
    part: str
    wrong: str


@dataclass(frozen=True)
class Index:
    """An index on one of our tables."""

    name: str
    table: str
    method: str
    valid: bool
    partial: bool
    operators: str
    columns: list[str]
    """Columns, or expressions, as the server writes them."""

    def has(self, form: Form, dimension: int | None) -> bool:
        """Whether every search for the nearest vectors in this form can go through it."""
        return (self.table, self.method) == (MEMORIES, "hnsw") and (
            self.valid and not self.partial and form.matches(self.columns, self.operators, dimension)
        )


@dataclass(frozen=True)
class _Column:
    not_null: bool
    generated: str
    type: str
    default: str | None


class Structure:
    """The catalog's account of our tables, which must be there."""

    def __init__(self, connection: Connection, shapes: Shapes = OURS) -> None:
        self._connection = connection
        self._shapes = shapes
        self._tables = shapes.tables()

        def ask(query: LiteralString) -> list[tuple[Any, ...]]:
            return connection.execute(_OURS + sql.SQL(query), ([*TABLES, REGISTRY],)).fetchall()

        self._relations = ask(_RELATIONS)
        self._columns: dict[tuple[str, str], _Column] = {}
        for table, name, *rest in ask(_COLUMNS):
            self._columns[str(table), str(name)] = _Column(*rest)
        self._uniques = {(table, frozenset(names)) for table, names in ask(_UNIQUES)}
        self._constraints: dict[tuple[object, ...], bool] = {}
        """Each with whether it, or another one of the same kind in the same place, holds for all rows."""
        for *place, holds in ask(_CONSTRAINTS):
            self._constraints[tuple(place)] = bool(holds) or self._constraints.get(tuple(place), False)
        self._indexes = [Index(*found) for found in ask(_INDEXES)]
        self.dimension = registry.column_dimension(connection)
        """That of the column of vectors."""
        self._forms = (Form.WHOLE,) if self.dimension is None else forms_here(connection, self.dimension)

    def flaws(self) -> list[Flaw]:
        """All that is wrong, table by table."""
        found = [*self._judge_relations(), *self._judge_columns()]
        for table in self._tables.values():
            found += self._judge_keys(table)
            found += self._judge_references(table)
        if REGISTRY in {name for name, *_ in self._relations}:
            found += self._judge_key(REGISTRY, ("id",))
        found += self._judge_checks()
        found += self._judge_search()
        found += self._judge_indexes()
        return found

    @property
    def has_search(self) -> bool:
        """Whether there is a column to search in."""
        column = self._columns.get((MEMORIES, SEARCH_VECTOR))
        return column is not None and column.type == "tsvector"

    @property
    def makes_search_as_ours(self) -> bool:
        """Whether the column to search in has to be what this program makes; one of somebody else's is theirs."""
        return not (self._shapes.edges_by_type or self._shapes.events_as_states)

    @property
    def vector_index(self) -> Form | None:
        """What the HNSW index has of the vectors that searches for the nearest by cosine can go through; None where
        there is no such index, or none that is valid."""
        for form in self._forms:
            if any(index.has(form, self.dimension) for index in self._indexes):
                return form
        return None

    def missing_indexes(self) -> list[str]:
        """Names of our indexes that are not there."""
        wanted = [name for name, _ in indexes.missing(self._connection, self._shapes)]
        return wanted + ([indexes.HNSW_INDEX] if indexes.needs_hnsw(self._connection, self.dimension) else [])

    def _judge_relations(self) -> Iterator[Flaw]:
        for name, kind, persistence, has_children in self._relations:
            if kind not in ("r", "p"):
                yield Flaw(str(name), str(name), f"is {_KINDS.get(str(kind), 'something else')} in place of a table")
            if has_children:
                yield Flaw(str(name), str(name), "has tables that inherit from it: their rows are seen as its own")
            if persistence == "u":
                yield Flaw(str(name), str(name), "is UNLOGGED: a crash of the server empties it")

    def _judge_columns(self) -> Iterator[Flaw]:
        not_valid = {place for place, holds in self._constraints.items() if not holds}
        for table in self._tables.values():
            for column in () if table.stored is not None else table.columns:
                found = self._columns.get((table.name, column.name))
                if found is None:
                    continue
                nullable = column.default == field.NULL and not column.required
                place = (table.name, "n", column.name, None, None)
                if not nullable and (not found.not_null or place in not_valid):
                    yield Flaw(table.name, column.name, "is not NOT NULL any more")
        for name, wanted in _DEFAULTS.items():
            for part, value in () if self._tables[name].stored is not None else wanted.items():
                found = self._columns.get((name, part))
                if found is not None and found.default is None:
                    yield Flaw(name, part, "has no default any more")
                elif found is not None and value not in str(found.default):
                    yield Flaw(name, part, f"has another default than {value}")

    def _judge_keys(self, table: Table) -> Iterator[Flaw]:
        if table.stored is None:
            yield from self._judge_key(table.name, table.key)
        if table.unique is not None:
            yield from self._judge_key(table.name, (table.unique,))

    def _judge_key(self, table: str, key: tuple[str, ...]) -> Iterator[Flaw]:
        if (table, frozenset(key)) not in self._uniques:
            yield Flaw(table, ", ".join(key), "has no primary key or unique constraint any more")

    def _judge_references(self, table: Table) -> Iterator[Flaw]:
        for parent in table.parents:
            place = (table.name, "f", parent.column, parent.table, parent.parent_column)
            if place not in self._constraints:
                yield Flaw(table.name, parent.column, f"has no foreign key to {parent.table} any more")
            elif not self._constraints[place]:
                yield Flaw(table.name, parent.column, f"has a foreign key to {parent.table} that is not validated")

    def _judge_checks(self) -> Iterator[Flaw]:
        checked = [(table.name, table.checked) for table in TABLES.values() if table.checked is not None]
        for table, name in checked:
            place = (table, "c", name, None, None)
            columns = [column for of, column in self._columns if of == table]
            if place not in self._constraints:
                yield Flaw(table, name, "has no CHECK any more")
            elif not self._constraints[place]:
                yield Flaw(table, name, "has a CHECK that is not validated")
            elif _takes(self._connection, table, name, columns):
                yield Flaw(table, name, "has a CHECK that takes any value")

    def _judge_search(self) -> Iterator[Flaw]:
        column = self._columns.get((MEMORIES, SEARCH_VECTOR))
        if column is None:
            yield Flaw(MEMORIES, SEARCH_VECTOR, "is missing: full text finds nothing")
        elif column.type != "tsvector" or column.generated != "s":
            yield Flaw(MEMORIES, SEARCH_VECTOR, "is no stored generated tsvector any more: what changes is not found")
        elif self.makes_search_as_ours and not _is_generated_as_ours(self._connection):
            yield Flaw(MEMORIES, SEARCH_VECTOR, "is generated otherwise: full text does not find what it should")

    def _judge_indexes(self) -> Iterator[Flaw]:
        wanted = {}
        for name, statement in indexes.plain(self._shapes):
            match = indexes.STATEMENT.fullmatch(statement)
            assert match is not None
            wanted[name] = (match[2], match[3] or "btree", match[4], match[5] is not None)
        for index in self._indexes:
            if index.name in wanted:
                table, method, column, partial = wanted[index.name]
                columns = [each.replace(_ARRAY_CAST, "").strip('"') for each in index.columns]
                same = (index.table, index.method, columns, index.partial) == (table, method, [column], partial)
                if not same:
                    yield Flaw(index.table, index.name, f"is no {method} index on {table} ({column}) any more")
                elif not index.valid:
                    yield Flaw(index.table, index.name, _INVALID)
        yield from self._judge_vector_indexes()

    def _judge_vector_indexes(self) -> Iterator[Flaw]:
        """One that is ours by its name must be ours, and any HNSW index is in the place of one where ours is missing.

        Earlier versions of this program had none for long vectors: what somebody made for these is theirs.
        """
        if self.vector_index is not None or not self._forms:
            return
        form = self._forms[0]
        for index in self._indexes:
            ours = index.name == indexes.HNSW_INDEX
            if not ours and ((index.table, index.method) != (MEMORIES, "hnsw") or form is not Form.WHOLE):
                continue
            if index.method != "hnsw":
                wrong = f"is no HNSW index ({index.method})"
            elif index.operators not in [each.operators for each in self._forms]:
                wrong = (
                    f"is over another distance ({index.operators}, not {form.operators}): searches by cosine cannot use"
                    " it"
                )
            elif index.partial or not any(
                each.matches(index.columns, index.operators, self.dimension) for each in self._forms
            ):
                wrong = "is over another expression, or a part of the vectors only: searches cannot use it"
            else:
                wrong = _INVALID
            yield Flaw(index.table, index.name, wrong)


_INVALID = "is invalid, a build of it broke off: drop it, and copy again to build it"

SEARCH_EXPRESSION = sql.SQL(
    "setweight(to_tsvector('pg_catalog.english', left(content, 65536)), 'A')"
    " || setweight(to_tsvector('pg_catalog.english', left(node_type, 1024)), 'B')"
    " || setweight(to_tsvector('pg_catalog.english', left(array_to_string(tags, ' '), 16384)), 'C')"
)
"""What `search_vec` is generated from (schema.sql)."""
_PROBE = temporary("vestige_probe")
_MAKE_PROBE = sql.SQL("CREATE TEMP TABLE {} (LIKE {} INCLUDING {}) ON COMMIT DROP")
_DROP_NOT_NULL = sql.SQL("ALTER COLUMN {} DROP NOT NULL")
_PROBED = sql.SQL(
    "INSERT INTO {} (id, content, node_type, tags) VALUES (gen_random_uuid(), 'the quick foxes were jumping',"
    " 'fact', '{{running,dogs}}')"
)


def _takes(connection: Connection, table: str, column: str, all_columns: Sequence[str]) -> bool:
    """Whether a table with the same checks takes a text in this column that nobody means; False where that cannot be
    asked."""
    drop = sql.SQL(", ").join(_DROP_NOT_NULL.format(sql.Identifier(name)) for name in all_columns)
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(_MAKE_PROBE.format(_PROBE, ours(connection, table), sql.SQL("CONSTRAINTS")))
            connection.execute(sql.SQL("ALTER TABLE {} {}").format(_PROBE, drop))
            connection.execute(sql.SQL("INSERT INTO {} ({}) VALUES ('?')").format(_PROBE, sql.Identifier(column)))
    except psycopg.Error as error:
        if is_transient(error):
            raise
        return False
    return True


def _is_generated_as_ours(connection: Connection) -> bool:
    """Whether a table of the same form generates for a row what ours would; True where that cannot be asked."""
    table, column = ours(connection, MEMORIES), sql.Identifier(SEARCH_VECTOR)
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(
                _MAKE_PROBE.format(_PROBE, table, sql.SQL("ALL EXCLUDING INDEXES EXCLUDING CONSTRAINTS"))
            )
            connection.execute(_PROBED.format(_PROBE))
            query = sql.SQL("SELECT {} IS NOT DISTINCT FROM ({}) FROM {}")
            row = connection.execute(query.format(column, SEARCH_EXPRESSION, _PROBE)).fetchone()
    except psycopg.Error as error:
        if is_transient(error):
            raise
        return True
    return row == (True,)
