"""Which vector of a Vestige file belongs to which memory after a copy, by rules written down a second time.

docs/versions.md, and Vestige itself for the mirror: it reads `node_embeddings` for the legacy profile only.
"""

from __future__ import annotations

import sqlite3
from collections import Counter

LEGACY = "nomic-v1.5-legacy-raw-256"


def expected_vectors(connection: sqlite3.Connection, tables: set[str]) -> dict[str, bytes]:
    """Memory id -> the vector that must come over, for vectors that are not in the memory's own row."""
    mirror = []
    if "node_embeddings" in tables:
        mirror = connection.execute("SELECT node_id, embedding, model, dimensions FROM node_embeddings").fetchall()
    if "embedding_profile_state" in tables:
        return _of_profile(connection, mirror)
    wanted = _wanted(connection, tables, mirror)
    return {node: blob for node, blob, model, dimensions in mirror if (model, dimensions) == wanted}


def _of_profile(connection: sqlite3.Connection, mirror: list[tuple[str, bytes, str, int]]) -> dict[str, bytes]:
    active, dimension = connection.execute(
        "SELECT profile_id, embedding_dimension FROM embedding_profiles"
        " WHERE profile_id = (SELECT active_profile_id FROM embedding_profile_state)"
    ).fetchone()
    found = {node: blob for node, blob, _, length in mirror if active == LEGACY and length == dimension}
    query = "SELECT node_id, embedding FROM embedding_profile_vectors WHERE profile_id = ?"
    found |= dict(connection.execute(query, (active,)))
    return {node: blob for node, blob in found.items() if len(blob) == 4 * dimension}


def _wanted(
    connection: sqlite3.Connection, tables: set[str], mirror: list[tuple[str, bytes, str, int]]
) -> tuple[str, int] | None:
    """The registered model, else the one that most vectors have."""
    if "embedding_model" in tables:
        row = connection.execute("SELECT name, dimension FROM embedding_model").fetchone()
        if row is not None:
            return row[0], row[1]
    counted = Counter((model, dimensions) for _, _, model, dimensions in mirror)
    return counted.most_common(1)[0][0] if counted else None
