"""How vectors of which length are indexed by nearness, and searched for so that the index is used.

pgvector's HNSW takes the vectors themselves up to 2,000 dimensions, halves of their numbers' digits up to 4,000, and
single bits up to 64,000 (https://github.com/pgvector/pgvector#hnsw); the last two are expressions, and only a search
by the same expression goes through the index. Either way the nearest that the index finds are put in order by the
vectors themselves.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

from psycopg import sql

from vestige_migrate.destination.connection.table_names import qualified, relation
from vestige_migrate.limits import MAX_DIMENSION

if TYPE_CHECKING:
    from vestige_migrate.destination.connection.connect import Connection

SHORTLIST = 200
"""So many memories are asked of an index of bits, and put in order by their vectors. Of 5,000 made-up vectors of 4,096
dimensions without clusters the ten nearest were all among them (99 of 100 among 100 memories, 97 among 40)."""
MOST_FROM_INDEX = 1000
"""The largest hnsw.ef_search: one search gets no more out of an index."""

_INDEXES = sql.SQL(
    "SELECT (SELECT array_agg(pg_get_indexdef(i.indexrelid, at, true) ORDER BY at)"
    "   FROM generate_series(1, i.indnkeyatts) AS at), o.opcname::text"
    " FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS m ON m.oid = c.relam"
    " JOIN pg_opclass AS o ON o.oid = i.indclass[0]"
    " WHERE i.indrelid = {} AND m.amname = 'hnsw' AND i.indisvalid AND i.indisready AND i.indpred IS NULL"
).format(relation("'knowledge_nodes'"))
_HALVES_FROM = (0, 7)
"""The first pgvector with halfvec and binary_quantize."""


class Form(Enum):
    """What an HNSW index has of a vector; the value is the name of its type."""

    WHOLE = "vector"
    HALVES = "halfvec"
    BITS = "bit"

    @property
    def longest(self) -> int:
        """The most dimensions that such an index takes."""
        return {Form.WHOLE: 2000, Form.HALVES: 4000, Form.BITS: MAX_DIMENSION}[self]

    @property
    def operators(self) -> str:
        """The operator class."""
        return {Form.WHOLE: "vector_cosine_ops", Form.HALVES: "halfvec_cosine_ops", Form.BITS: "bit_hamming_ops"}[self]

    @property
    def dimension_bits(self) -> int:
        """What a dimension takes."""
        return {Form.WHOLE: 32, Form.HALVES: 16, Form.BITS: 1}[self]

    def matches(self, columns: list[str], operators: str, dimension: int | None) -> bool:
        """Whether an index over `columns`, as `pg_get_indexdef` has them, is of this form."""
        pattern = {
            Form.WHOLE: "embedding",
            Form.HALVES: rf"\(embedding::(\S+\.)?halfvec\({dimension}\)\)",
            Form.BITS: rf"\((\S+\.)?binary_quantize\(embedding\)::bit\({dimension}\)\)",
        }[self]
        return operators == self.operators and len(columns) == 1 and bool(re.fullmatch(pattern, columns[0]))


def forms(dimension: int, pgvector: str) -> tuple[Form, ...]:
    """Forms in which this version of pgvector indexes vectors of this length, the one to be built first; none where it
    cannot.

    A vector with a number past 65,504 has no halves: then the next form is built.
    """
    if dimension <= Form.WHOLE.longest:
        return (Form.WHOLE,)
    if dimension > MAX_DIMENSION or numbers(pgvector) < _HALVES_FROM:
        return ()
    return (Form.HALVES, Form.BITS) if dimension <= Form.HALVES.longest else (Form.BITS,)


def forms_here(connection: Connection, dimension: int) -> tuple[Form, ...]:
    """The same, in this database; where pgvector is not installed yet, with the version that would be."""
    row = connection.execute(
        "SELECT coalesce((SELECT extversion FROM pg_extension WHERE extname = 'vector'),"
        " (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'), '0')"
    ).fetchone()
    assert row is not None
    return forms(dimension, row[0])


def schema_of_pgvector(connection: Connection) -> str:
    """The schema that the extension is in, which must be installed."""
    row = connection.execute(
        "SELECT nspname::text FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace WHERE extname = 'vector'"
    ).fetchone()
    assert row is not None
    return str(row[0])


def indexed(form: Form, dimension: int | None, schema: str) -> sql.Composable:
    """What is indexed, with its operator class, as CREATE INDEX has it."""
    what = sql.SQL("{}") if form is Form.WHOLE else sql.SQL("({})")
    operators = sql.SQL(" {}.{}").format(qualified(schema), sql.Identifier(form.operators))
    return what.format(_expression(form, sql.Identifier("embedding"), dimension, schema)) + operators


def existing_form(connection: Connection, dimension: int | None) -> Form | None:
    """What the HNSW index that is there has of the vectors; None where there is none that every search can go through.

    `dimension` is that of the column.
    """
    found = connection.execute(_INDEXES).fetchall()
    for form in Form:
        if any(form.matches(columns, operators, dimension) for columns, operators in found):
            return form
    return None


def select_nearest(
    form: Form | None,
    dimension: int | None,
    schema: str,
    table: sql.Composable,
    vector: sql.Composable,
    limit: sql.Composable,
) -> sql.Composed:
    """A SELECT of `id` and `distance` (by cosine) of the `limit` memories that are nearest to the vector, in no order.

    As an index of this form finds them; with None through no index. For a vector that is NULL there is none.
    """
    column = sql.Identifier("n", "embedding")
    cosine = sql.SQL(" OPERATOR({}.<=>) ").format(qualified(schema))
    found = sql.SQL("SELECT n.id, {} AS distance FROM {} AS n WHERE n.embedding IS NOT NULL AND {} IS NOT NULL").format(
        column + cosine + vector, table, vector
    )
    if form is None:  # the OFFSET keeps PostgreSQL from computing each distance twice
        every = sql.SQL("SELECT every.id, every.distance FROM ({} OFFSET 0) AS every ORDER BY every.distance LIMIT {}")
        return every.format(found, limit)
    by = sql.SQL(" OPERATOR({}.<~>) ").format(qualified(schema)) if form is Form.BITS else cosine
    theirs = vector
    if form is Form.HALVES:  # whose numbers end at 65,504; the direction is all that counts
        theirs = sql.SQL("{}.l2_normalize({})").format(qualified(schema), vector)
    order = _expression(form, column, dimension, schema) + by + _expression(form, theirs, dimension, schema)
    return found + sql.SQL(" ORDER BY {} LIMIT {}").format(order, limit)


def _expression(form: Form, vector: sql.Composable, dimension: int | None, schema: str) -> sql.Composable:
    """The vector in this form. pgvector's names have their schema: they are asked for in sessions of others too."""
    size, where = sql.Literal(dimension), qualified(schema)
    if form is Form.HALVES:
        return sql.SQL("({}::{}.halfvec({}))").format(vector, where, size)
    if form is Form.BITS:
        return sql.SQL("({}.binary_quantize({})::bit({}))").format(where, vector, size)
    return sql.SQL("{}").format(vector)


def numbers(version: str) -> tuple[int, ...]:
    """The first two numbers of a version of pgvector; none where it has no number (`unpackaged`)."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
