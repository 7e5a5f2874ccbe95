"""Secondary indexes: after the load, in parallel, and the HNSW graph last with memory for all of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import LiteralString

from psycopg import errors, sql
from psycopg.errors import Diagnostic

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours, relation
from vestige_migrate.destination.indexes.hnsw_memory import HnswMemory, choose_memory, read_limits
from vestige_migrate.destination.indexes.parallel_builds import Build
from vestige_migrate.destination.schema.registry import column_dimension
from vestige_migrate.destination.schema.schema import read_sql, statements
from vestige_migrate.destination.schema.vector_index import Form, existing_form, forms_here, indexed, schema_of_pgvector
from vestige_migrate.errors import DestinationUnusable
from vestige_migrate.tables import TABLES
from vestige_migrate.tables.shapes import OURS, Shapes

HNSW_INDEX = "idx_knowledge_nodes_embedding_hnsw"
SCOPE_INDEX = "idx_knowledge_nodes_scope"
_ANALYZE_SHARE = 0.1
"""autovacuum_analyze_scale_factor's default."""

_NAME = re.compile(r"CREATE INDEX IF NOT EXISTS (\w+)")
STATEMENT = re.compile(r"CREATE INDEX IF NOT EXISTS (\w+) ON (\w+)(?: USING (\w+))? \((\w+|\(.+?\))\)( WHERE .*)?")
"""A statement of indexes.sql: name, table, method, column or expression, condition."""
_DECORATION = re.compile(r'[()\s"]|::text\[\]')
_PARALLEL_FROM_VECTORS = 5000
"""From here on parallel workers pay, however few pages the table itself has: long vectors are stored beside it, and
PostgreSQL counts its own pages alone (5,000 x 768 built with one process 1.5 s, with three on two cores 0.9 s)."""
_INDEXED: LiteralString = "embedding vector_cosine_ops"
_LARGEST_HALF = 65_504
_OUTGROWN = "hnsw graph no longer fits"
_SHARED_BESIDE_MIB = 64
"""Shared memory for everything else that the server runs in parallel."""


def invalid(connection: Connection) -> list[str]:
    """Names of our indexes that a broken build left INVALID."""
    rows = connection.execute(
        sql.SQL(
            "SELECT c.relname FROM pg_class AS c JOIN pg_index AS i ON i.indexrelid = c.oid"
            " WHERE c.oid = ANY(SELECT {} FROM unnest(%s::text[]) AS n(name)) AND NOT i.indisvalid"
        ).format(relation("name")),
        (_names(),),
    )
    return [name for (name,) in rows]


def drop_invalid(connection: Connection) -> list[str]:
    """Drops them, so that they are built again; returns their names."""
    found = invalid(connection)
    for name in found:
        connection.execute(sql.SQL("DROP INDEX {}").format(ours(connection, name)))
    return found


def missing(connection: Connection, shapes: Shapes = OURS) -> list[tuple[str, LiteralString]]:
    """(name, statement) of the plain indexes that do not exist, under whatever name.

    Earlier versions made no index of scopes. Where their tables belong to another role, which alone could make it, a
    copy goes on without it, as it did before.
    """
    there = _existing(connection)
    wanted = [(name, statement) for name, statement in plain(shapes) if name not in there]
    if wanted:
        # Somebody else's, or renamed: a second one of the same definition would only cost.
        others = _definitions(connection)
        wanted = [(name, statement) for name, statement in wanted if _definition(statement) not in others]
    if not any(name == SCOPE_INDEX for name, _ in wanted) or _owns_memories(connection):
        return wanted
    return [(name, statement) for name, statement in wanted if name != SCOPE_INDEX]


def _owns_memories(connection: Connection) -> bool:
    """Whether the table of memories is there and its owner's rights are ours; True where it is still to be made."""
    row = connection.execute(
        sql.SQL("SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = {}").format(
            relation("'knowledge_nodes'")
        )
    ).fetchone()
    return row is None or bool(row[0])


def missing_share(connection: Connection, shapes: Shapes = OURS) -> float:
    """Which share of the plain indexes does not exist, 0 to 1."""
    return len(missing(connection, shapes)) / len(plain())


def check_names(connection: Connection) -> None:
    """Raises `DestinationUnusable` where something else has the name of an index of ours.

    `IF NOT EXISTS` goes by the name alone: the index would never be built, and nobody told.
    """
    rows = connection.execute(
        sql.SQL("SELECT name FROM unnest(%s::text[]) AS n(name) WHERE {} IS NOT NULL ORDER BY name").format(
            relation("name")
        ),
        (_names(),),
    ).fetchall()
    taken = [name for (name,) in rows if name not in _existing(connection)]
    if taken:
        raise DestinationUnusable(
            f"the destination has something else under the name of an index of ours: {', '.join(taken)}. "
            "Rename or drop it, or copy into another database or schema (--schema)"
        )


def _existing(connection: Connection) -> set[str]:
    """Names of our indexes that are there, on tables of ours."""
    rows = connection.execute(
        sql.SQL(
            "SELECT name FROM unnest(%s::text[]) AS n(name) JOIN pg_index ON indexrelid = {}"
            " WHERE indrelid = ANY(SELECT {} FROM unnest(%s::text[]) AS t(name))"
        ).format(relation("n.name"), relation("t.name")),
        (_names(), list(TABLES)),
    )
    return {name for (name,) in rows}


@dataclass(frozen=True)
class _Definition:
    """What an index is of; `operators` where they are not the default ones of the type."""

    table: str
    method: str
    column: str
    condition: str = ""
    operators: str = ""


def _definition(statement: LiteralString) -> _Definition:
    """That of a statement of indexes.sql."""
    match = STATEMENT.fullmatch(statement)
    assert match is not None
    return _Definition(
        match[2], match[3] or "btree", _plain(match[4]), _plain((match[5] or "").removeprefix(" WHERE "))
    )


def _definitions(connection: Connection) -> set[_Definition]:
    """Those of all whole indexes of one column or expression on our tables, whoever made them."""
    rows = connection.execute(
        sql.SQL(
            "SELECT name, amname::text, pg_get_indexdef(i.indexrelid, 1, true),"
            " coalesce(pg_get_expr(i.indpred, i.indrelid), ''), CASE WHEN o.opcdefault THEN '' ELSE o.opcname::text END"
            " FROM unnest(%s::text[]) AS t(name) JOIN pg_index AS i ON i.indrelid = {}"
            " JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS m ON m.oid = c.relam"
            " JOIN pg_opclass AS o ON o.oid = i.indclass[0]"
            " WHERE i.indisvalid AND i.indisready AND i.indnkeyatts = 1"
        ).format(relation("t.name")),
        (list(TABLES),),
    )
    return {
        _Definition(table, method, _plain(column), _plain(condition), operators)
        for table, method, column, condition, operators in rows
    }


def _plain(expression: str) -> str:
    """An expression without what the server writes into it: brackets, spaces, quotes, the type of a constant."""
    return _DECORATION.sub("", expression)


def _names() -> list[str]:
    return [name for name, _ in plain()] + [HNSW_INDEX]


def plain(shapes: Shapes = OURS) -> list[tuple[str, LiteralString]]:
    """(name, statement) of every plain index."""
    found = []
    for statement in statements(read_sql("indexes.sql")):
        match = _NAME.match(statement)
        assert match is not None
        found.append((match.group(1), _for_shape(statement, shapes)))
    return found


def _for_shape(statement: LiteralString, shapes: Shapes) -> LiteralString:
    stored = shapes.table(_table(statement)).stored
    for ours_, theirs in stored.renamed if stored is not None else ():
        statement = statement.replace(f"({ours_})", f"({theirs})")
    return statement


def plain_builds(wanted: list[tuple[str, LiteralString]]) -> list[Build]:
    """A build for each of `missing`'s statements."""

    def build(connection: Connection, statement: LiteralString) -> None:
        connection.execute(_in_target(connection, statement))

    return [partial(build, statement=statement) for _, statement in wanted]


def needs_hnsw(connection: Connection, dimension: int | None) -> bool:
    """Whether the HNSW index is wanted (there is a dimension, and pgvector can index it) and not there."""
    return _lacks_hnsw(connection, dimension) and not waits_for_owner(connection, dimension)


def waits_for_owner(connection: Connection, dimension: int | None) -> bool:
    """Whether it is not there, of vectors for which earlier versions of this program made none, and only the tables'
    owner, who is another role, could make it: a copy goes on without it, as it did before."""
    is_new = dimension is not None and dimension > Form.WHOLE.longest
    return is_new and _lacks_hnsw(connection, dimension) and not _owns_memories(connection)


def _lacks_hnsw(connection: Connection, dimension: int | None) -> bool:
    if dimension is None or not forms_here(connection, dimension) or HNSW_INDEX in _existing(connection):
        return False
    return existing_form(connection, dimension) is None


def hnsw_memory(connection: Connection, dimension: int) -> HnswMemory:
    """Memory for the graph of the vectors that are there, in the form that is built first, by what the server and its
    machine have."""
    form = forms_here(connection, dimension)[0]
    row = connection.execute(
        sql.SQL("SELECT count(embedding) FROM {}").format(ours(connection, "knowledge_nodes"))
    ).fetchone()
    assert row is not None
    return choose_memory(row[0], dimension, read_limits(connection), form.dimension_bits)


def hnsw_build(memory: HnswMemory, workers: int, warn: Callable[[str], None]) -> Build:
    """The build of the HNSW index with this memory and up to `workers` parallel maintenance workers.

    `warn` is told when the graph outgrows the memory, when the build has to do without parallel workers, and when the
    vectors are indexed in another form than theirs should be.
    """

    def on_notice(notice: Diagnostic) -> None:
        # pgvector names no row: "hnsw graph no longer fits into maintenance_work_mem after 1234 tuples".
        if notice.message_primary and notice.message_primary.startswith(_OUTGROWN):
            warn(f"{notice.message_primary}: the rest takes several times as long; {memory.advice}")

    def build(connection: Connection) -> None:
        dimension = column_dimension(connection)
        wanted = (Form.WHOLE,) if dimension is None else forms_here(connection, dimension)
        connection.add_notice_handler(on_notice)
        try:
            for form in wanted:
                try:
                    build_form(connection, _hnsw(connection, form, dimension))
                    break
                except errors.NumericValueOutOfRange:
                    if form is wanted[-1]:
                        raise
                    warn(
                        f"a vector has a number that half precision does not hold (past {_LARGEST_HALF:,}), so that "
                        "the HNSW index is built of the vectors' signs: searches have to put what it finds in order "
                        "(docs/schema.md)"
                    )
        finally:
            connection.remove_notice_handler(on_notice)

    def build_form(connection: Connection, statement: sql.Composed) -> None:
        try:
            _build(connection, statement, memory, workers)
        except (errors.DiskFull, errors.OutOfMemory) as error:
            # A parallel build keeps its graph in shared memory, which a container limits to 64 MB (/dev/shm).
            warn(
                "the parallel build of the HNSW index found too little shared memory or disk (SQLSTATE "
                f"{error.sqlstate}): building it with one process instead, which takes longer. A server in a container "
                f"takes --shm-size={memory.given_mib + _SHARED_BESIDE_MIB}m"
            )
            _build(connection, statement, memory, 0)

    return build


def _hnsw(connection: Connection, form: Form, dimension: int | None) -> sql.Composed:
    """The statement of hnsw.sql, in this form."""
    statement = statements(read_sql("hnsw.sql"))[0]
    what = indexed(form, dimension, schema_of_pgvector(connection))
    return _in_target(connection, _before_indexed(statement)) + what + sql.SQL(_after_indexed(statement))


def _before_indexed(statement: LiteralString) -> LiteralString:
    return statement.partition(_INDEXED)[0]


def _after_indexed(statement: LiteralString) -> LiteralString:
    return statement.partition(_INDEXED)[2]


def _in_target(connection: Connection, statement: LiteralString) -> sql.Composed:
    """A CREATE INDEX of indexes.sql or hnsw.sql, with the schema of its table."""
    table = ours(connection, _table(statement))
    return sql.SQL("{} ON {}{}").format(sql.SQL(_before_table(statement)), table, sql.SQL(_after_table(statement)))


def _before_table(statement: LiteralString) -> LiteralString:
    return statement.partition(" ON ")[0]


def _table(statement: LiteralString) -> LiteralString:
    return statement.partition(" ON ")[2].split()[0]


def _after_table(statement: LiteralString) -> LiteralString:
    return statement.partition(" ON ")[2].removeprefix(_table(statement))


def _build(connection: Connection, statement: sql.Composed, memory: HnswMemory, workers: int) -> None:
    """For this transaction alone: memory, processes, and those also for a table that is small without its vectors."""
    settings: dict[str, str | int] = {
        "maintenance_work_mem": f"{memory.given_mib}MB",
        "max_parallel_maintenance_workers": workers,
    }
    if memory.vectors >= _PARALLEL_FROM_VECTORS:
        settings["min_parallel_table_scan_size"] = 0
    with connection.transaction():
        for name, value in settings.items():
            connection.execute(sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        connection.execute(statement)


def analyze(connection: Connection, changed: dict[str, int]) -> list[str]:
    """ANALYZE of the tables that never had one or changed much; returns those whose owner has not given us the right.

    `changed` is the rows written of each table. Much is a tenth, as autovacuum has it; below that
    the statistics are as good as before, and they cost a second at 100,000 memories.

    Then a record in the log that is flushed: it comes after every batch's, so this makes them all durable. (ANALYZE
    writes one as well, but skips a table of another owner.)
    """
    connection.execute("SET synchronous_commit = on")
    maintains = "has_table_privilege(c.oid, 'MAINTAIN')" if connection.info.server_version >= 170_000 else "false"
    rows = connection.execute(
        sql.SQL(
            "SELECT name, pg_has_role(c.relowner, 'USAGE') OR {} OR EXISTS ("
            "   SELECT FROM pg_database WHERE datname = current_database() AND pg_has_role(datdba, 'USAGE'))"
            " FROM unnest(%s::text[], %s::int8[]) AS n(name, written)"
            " JOIN pg_class AS c ON c.oid = {}"
            " WHERE reltuples < 0 OR written > {} * reltuples ORDER BY name"
        ).format(sql.SQL(maintains), relation("name"), sql.Literal(_ANALYZE_SHARE)),
        (list(TABLES), [changed.get(name, 0) for name in TABLES]),
    ).fetchall()
    for table, allowed in rows:
        if allowed:
            connection.execute(sql.SQL("ANALYZE {}").format(ours(connection, table)))
    connection.execute("SELECT pg_logical_emit_message(true, 'vestige-migrate', 'loaded')")
    return [table for table, allowed in rows if not allowed]
