"""Searches as a user of the destination makes them, with the indexes that they go through."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours, qualified
from vestige_migrate.destination.schema.registry import column_dimension
from vestige_migrate.destination.schema.vector_index import SHORTLIST, Form, schema_of_pgvector, select_nearest
from vestige_migrate.verify.schema_structure import MEMORIES, SEARCH_EXPRESSION

_RARE_WORDS = sql.SQL(
    # The words of each text as the server cuts them, the rarest of all these texts first.
    "WITH words AS (SELECT c.ordinal, w.lexeme FROM unnest(%s::text[]) WITH ORDINALITY AS c(content, ordinal),"
    " unnest(to_tsvector('english', c.content)) AS w),"
    " counted AS (SELECT lexeme, count(*) AS texts FROM words GROUP BY lexeme),"
    " ranked AS (SELECT ordinal, lexeme, row_number() OVER"
    "   (PARTITION BY ordinal ORDER BY texts, length(lexeme) DESC, lexeme) AS rank"
    "   FROM words JOIN counted USING (lexeme) WHERE ordinal <= %s)"
    # A lexeme is quoted as tsquery reads it, so that no parser comes over it a second time.
    " SELECT ordinal, string_agg('''' || replace(replace(lexeme, '\\', '\\\\'), '''', '''''') || '''', ' & ')"
    " FROM ranked WHERE rank <= %s GROUP BY ordinal"
)
_MATCHES = sql.SQL(
    "WITH found AS MATERIALIZED (SELECT id FROM {} WHERE search_vec @@ %s::text::tsquery)"
    " SELECT EXISTS (SELECT FROM found WHERE id = %s)"
)
_BY_DISTANCE = sql.SQL("SELECT id FROM ({}) AS found ORDER BY distance LIMIT {}")
_AS_MANY = (
    "SELECT set_config('hnsw.ef_search', %s, true)"
    " WHERE coalesce(nullif(current_setting('hnsw.ef_search', true), '')::int, 0) < %s::int"
)


def present(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Those of the memories that the destination has."""
    query = sql.SQL("SELECT id FROM {} WHERE id = ANY(%s)").format(ours(connection, MEMORIES))
    return {id_ for (id_,) in connection.execute(query, (list(ids),))}


def rare_words(connection: Connection, texts: Sequence[str], wanted: int, words: int) -> dict[int, str]:
    """For the first `wanted` of the texts, by position: a tsquery of its rarest `words` words among all texts.

    A text without any word has none.
    """
    rows = connection.execute(_RARE_WORDS, (list(texts), wanted, words))
    return {ordinal - 1: query for ordinal, query in rows}


def is_found(connection: Connection, query: str, memory: UUID) -> bool:
    """Whether full text finds the memory by this tsquery, through the index where there is one."""
    with connection.transaction():
        connection.execute("SET LOCAL enable_seqscan = off")
        row = connection.execute(_MATCHES.format(ours(connection, MEMORIES)), (query, memory)).fetchone()
    return bool(row and row[0])


def stale(connection: Connection, memories: Sequence[UUID]) -> set[UUID]:
    """Those of the memories whose `search_vec` is not what their own texts make of it.

    Without any index, so that this is what the rows hold.
    """
    rows = connection.execute(
        sql.SQL("SELECT id FROM {} WHERE id = ANY(%s) AND search_vec IS DISTINCT FROM ({})").format(
            ours(connection, MEMORIES), SEARCH_EXPRESSION
        ),
        (list(memories),),
    )
    return {id_ for (id_,) in rows}


def has_words(connection: Connection, query: str, memory: UUID) -> bool:
    """Whether the memory's own `search_vec` has the words of the tsquery."""
    asked = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE id = %s AND search_vec @@ %s::text::tsquery)")
    row = connection.execute(asked.format(ours(connection, MEMORIES)), (memory, query)).fetchone()
    return bool(row and row[0])


def vectors_fit(connection: Connection, dimension: int) -> bool:
    """Whether the vectors that are there have this length."""
    return column_dimension(connection) == dimension


class NearestSearch:
    """Searches for the nearest vectors as an index of this form lets a user search."""

    def __init__(self, connection: Connection, form: Form, dimension: int, count: int) -> None:
        self._connection = connection
        self._shortlist = SHORTLIST if form is Form.BITS else 0
        schema = schema_of_pgvector(connection)
        vector = sql.SQL("{}::text::{}").format(sql.Placeholder("vector"), qualified(schema, "vector"))
        found = select_nearest(
            form, dimension, schema, ours(connection, MEMORIES), vector, sql.Literal(self._shortlist or count)
        )
        self._query = _BY_DISTANCE.format(found, sql.Literal(count))

    def find(self, vector: Sequence[float]) -> list[UUID]:
        """The memories that the HNSW index finds nearest to the vector by cosine distance."""
        text = f"[{','.join(map(str, vector))}]"
        with self._connection.transaction():
            self._connection.execute("SET LOCAL enable_seqscan = off")
            if self._shortlist:
                self._connection.execute(_AS_MANY, (str(self._shortlist), str(self._shortlist)))
            # A prepared statement's plan would read the text again for each row, and not know the vector.
            return [id_ for (id_,) in self._connection.execute(self._query, {"vector": text}, prepare=False)]

    @property
    def ef_search(self) -> int | None:
        """pgvector's `hnsw.ef_search` as it searches; None where it has no such setting (before it was first used)."""
        row = self._connection.execute("SELECT current_setting('hnsw.ef_search', true)").fetchone()
        return max(int(row[0]), self._shortlist) if row and row[0] else None
