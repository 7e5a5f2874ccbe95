"""Two questions to the copied data: by words and by nearness."""

from __future__ import annotations

from pgvector.psycopg import register_vector
from psycopg import sql

from vestige_migrate.destination.connect import Connection
from vestige_migrate.destination.ours import ours

KEYWORDS = "battery eyepiece"
ANSWERS = 3


def by_words(connection: Connection, words: str = KEYWORDS) -> list[tuple[float, str]]:
    """(rank, content) of the memories that hold any of the words, the best first."""
    rows = connection.execute(
        sql.SQL(
            "SELECT ts_rank(search_vec, query), content FROM {}, to_tsquery('english', %s) AS query"
            " WHERE search_vec @@ query ORDER BY 1 DESC, id LIMIT %s"
        ).format(ours(connection, "knowledge_nodes")),
        (" | ".join(words.split()), ANSWERS),
    )
    return [(float(rank), str(content)) for rank, content in rows]


def by_nearness(connection: Connection) -> tuple[str, list[tuple[float, str]]]:
    """A memory's content, and (cosine distance, content) of the memories nearest to its vector."""
    register_vector(connection)
    nodes = ours(connection, "knowledge_nodes")
    query = sql.SQL("SELECT id, content, embedding FROM {} WHERE embedding IS NOT NULL ORDER BY created_at, id LIMIT 1")
    row = connection.execute(query.format(nodes)).fetchone()
    assert row is not None
    memory, content, vector = row
    rows = connection.execute(
        sql.SQL(
            "SELECT embedding <=> %s AS distance, content FROM {} WHERE id <> %s ORDER BY distance LIMIT %s"
        ).format(nodes),
        (vector, memory, ANSWERS),
    )
    return str(content), [(float(distance), str(text)) for distance, text in rows]
