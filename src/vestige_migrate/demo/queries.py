"""Two questions to the copied data, by words and by nearness, both through `vestige_search` (docs/schema.md)."""

from __future__ import annotations

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours
from vestige_migrate.destination.schema.search_function import FUNCTION

KEYWORDS = "battery eyepiece"
ANSWERS = 3

_BY_WORDS = sql.SQL(
    "SELECT found.score, n.content FROM {}(%s, NULL, %s) AS found JOIN {} AS n USING (id) ORDER BY found.text_rank"
)
_ASKED = sql.SQL("SELECT id, content FROM {} WHERE embedding IS NOT NULL ORDER BY created_at, id LIMIT 1")
_BY_NEARNESS = sql.SQL(
    "SELECT n.embedding <=> asked.embedding, n.content FROM {nodes} AS asked,"
    " {search}(NULL, asked.embedding, %(answers)s) AS found JOIN {nodes} AS n ON n.id = found.id"
    " WHERE asked.id = %(asked)s AND n.id <> asked.id ORDER BY found.vector_rank"
)


def by_words(connection: Connection, words: str = KEYWORDS) -> list[tuple[float, str]]:
    """(score, content) of the memories that hold any of the words, the best first."""
    query = _BY_WORDS.format(ours(connection, FUNCTION), ours(connection, "knowledge_nodes"))
    rows = connection.execute(query, (" or ".join(words.split()), ANSWERS))
    return [(float(score), str(content)) for score, content in rows]


def by_nearness(connection: Connection) -> tuple[str, list[tuple[float, str]]]:
    """A memory's content, and (cosine distance, content) of the memories nearest to its vector."""
    nodes = ours(connection, "knowledge_nodes")
    row = connection.execute(_ASKED.format(nodes)).fetchone()
    assert row is not None
    memory, content = row
    # One more than wanted: the memory itself is the nearest of all.
    query = _BY_NEARNESS.format(nodes=nodes, search=ours(connection, FUNCTION))
    rows = connection.execute(query, {"asked": memory, "answers": ANSWERS + 1})
    return str(content), [(float(distance), str(text)) for distance, text in rows]
