"""What of a Vestige file has no place in the destination, counted a second time, by rules of its own."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.support.expected_vectors import expected_vectors

PLACED = {
    "knowledge_nodes", "memory_connections", "review_events", "domains", "users", "groups", "group_memberships",
    "schema_version", "embedding_model",
}  # fmt: skip
VECTORS = {"node_embeddings", "embedding_profile_vectors"}


def expected_left_behind(path: Path) -> dict[str, int]:
    """Rows by table, for a file in Vestige's own storage; not the full-text index, which PostgreSQL makes anew."""
    with closing(sqlite3.connect(path)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        tables = {name for name in names if not name.startswith(("sqlite_", "knowledge_fts"))}
        counts = {table: _count(connection, table) for table in tables - PLACED - VECTORS}
        vectors = expected_vectors(connection, names)
        memories = {id_ for (id_,) in connection.execute("SELECT id FROM knowledge_nodes")}
        for table in VECTORS & tables:
            rows = connection.execute(f"SELECT node_id, embedding FROM {table}").fetchall()
            counts[table] = sum(1 for node, blob in rows if node not in memories or vectors.get(node) != blob)
    return {table: rows for table, rows in counts.items() if rows}


def _count(connection: sqlite3.Connection, table: str) -> int:
    (rows,) = connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
    return int(rows)
