"""Source and destination side by side, read by code that shares nothing with the program under test."""

from __future__ import annotations

import json
import re
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from tests.support.expected_vectors import expected_vectors

Row = dict[str, Any]
BOOTSTRAP = UUID("00000000-0000-0000-0000-000000000001")

KEYS: dict[str, tuple[str, ...]] = {
    "users": ("id",),
    "groups": ("id",),
    "group_memberships": ("user_id", "group_id"),
    "domains": ("id",),
    "knowledge_nodes": ("id",),
    "scheduling": ("memory_id",),
    "edges": ("source_id", "target_id"),
    "review_events": ("id",),
}

FSRS = {
    "memory_id": "id",
    "stability": "stability",
    "difficulty": "difficulty",
    "retrievability": "retention_strength",
    "last_review": "last_accessed",
    "next_review": "next_review",
    "reps": "reps",
    "lapses": "lapses",
}
NODE_COLUMNS = (
    "id", "content", "node_type", "tags", "metadata", "domains", "domain_scores", "embedding", "codebase",
    "owner_user_id", "visibility", "shared_with_groups", "created_at", "updated_at",
)  # fmt: skip
NODE_DEFAULTS: Row = {
    "tags": "[]",
    "metadata": "{}",
    "domains": "[]",
    "domain_scores": "{}",
    "owner_user_id": str(BOOTSTRAP),
    "visibility": "private",
    "shared_with_groups": "[]",
}


def moment(text: str | None) -> datetime | None:
    """A time as docs/versions.md describes it, cut to microseconds."""
    if text is None:
        return None
    cut = re.sub(r"(\.\d{6})\d*", r"\1", text).replace("Z", "+00:00").replace(" ", "T")
    parsed = datetime.fromisoformat(cut)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)


def floats(blob: bytes | None) -> tuple[float, ...] | None:
    """A little-endian float32 BLOB as exact doubles."""
    return None if blob is None else struct.unpack(f"<{len(blob) // 4}f", blob)


def _uuids(text: str) -> list[UUID]:
    return [UUID(item) for item in json.loads(text)]


_PARSERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("id", "user_id", "group_id", "memory_id", "source_id", "target_id", "owner_user_id"), UUID),
    **dict.fromkeys(("tags", "domains", "domain_scores", "metadata", "top_terms"), json.loads),
    **dict.fromkeys(("embedding", "centroid"), floats),
    **dict.fromkeys(("created_at", "updated_at", "joined_at", "occurred_at", "last_review", "next_review"), moment),
    "shared_with_groups": _uuids,
}


def _typed(table: str, row: Row) -> Row:
    parsers: dict[str, Callable[[Any], Any]] = {**_PARSERS, "id": str} if table == "domains" else _PARSERS

    def typed(name: str, value: Any) -> Any:
        parse = parsers.get(name)
        return value if value is None or parse is None else parse(value)

    return {name: typed(name, value) for name, value in row.items()}


def expected(path: Path) -> dict[str, dict[tuple[Any, ...], Row]]:
    """What the destination must hold after a copy of the file, by table and key."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        rows = {table: list(_source_rows(connection, tables, table)) for table in KEYS}
    return {
        table: {tuple(_typed(table, row)[name] for name in KEYS[table]): _typed(table, row) for row in found}
        for table, found in rows.items()
    }


def _source_rows(connection: sqlite3.Connection, tables: set[str], table: str) -> list[Row]:
    if table == "knowledge_nodes":
        return _nodes(connection, tables)
    if table in tables:
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
    if table == "scheduling":
        nodes = [dict(row) for row in connection.execute("SELECT * FROM knowledge_nodes")]
        return [{wanted: node[own] for wanted, own in FSRS.items()} for node in nodes]
    if table == "edges" and "memory_connections" in tables:
        return [
            {
                "source_id": row["source_id"],
                "target_id": row["target_id"],
                "edge_type": row["link_type"],
                "weight": row["strength"],
                "created_at": row["created_at"],
            }
            for row in connection.execute("SELECT * FROM memory_connections")
        ]
    return []


def _nodes(connection: sqlite3.Connection, tables: set[str]) -> list[Row]:
    vectors = expected_vectors(connection, tables)
    placed = set(NODE_COLUMNS) | (set() if "scheduling" in tables else set(FSRS.values()))
    found = []
    for source in connection.execute("SELECT * FROM knowledge_nodes"):
        row = dict(source)
        node: Row = {}
        for name in NODE_COLUMNS:
            value = row.get(name)
            node[name] = NODE_DEFAULTS.get(name) if value is None else value
        if node["embedding"] is None:
            node["embedding"] = vectors.get(row["id"])
        extras = {name: value for name, value in row.items() if name not in placed and value is not None}
        if extras:
            node["metadata"] = json.dumps({**json.loads(node["metadata"]), "sqlite": extras})
        found.append(node)
    return found


_VECTORS = {"embedding", "centroid"}


def stored(url: str) -> dict[str, dict[tuple[Any, ...], Row]]:
    """What the destination holds, by table and key; vectors as exact doubles from their binary form."""
    with psycopg.connect(url) as connection:
        return {table: _stored_rows(connection, table) for table in KEYS}


def _stored_rows(connection: psycopg.Connection[Any], table: str) -> dict[tuple[Any, ...], Row]:
    names = [
        name
        for (name,) in connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
            " AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
            (table,),
        )
    ]
    columns = [
        sql.SQL("vector_send({})").format(sql.Identifier(name)) if name in _VECTORS else sql.Identifier(name)
        for name in names
    ]
    query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(columns), sql.Identifier(table))
    rows = [dict(zip(names, values, strict=True)) for values in connection.execute(query)]
    for row in rows:
        for name in _VECTORS & set(names):
            row[name] = _sent_floats(row[name])
    return {tuple(row[name] for name in KEYS[table]): row for row in rows}


def _sent_floats(sent: bytes | None) -> tuple[float, ...] | None:
    if sent is None:
        return None
    (dimension,) = struct.unpack(">h", sent[:2])
    return struct.unpack(f">{dimension}f", sent[4:])


def assert_same(path: Path, url: str) -> None:
    """Every row of every table, column by column; the bootstrap user may be the destination's own."""
    wanted, found = expected(path), stored(url)
    for table in KEYS:
        ours = {key: row for key, row in found[table].items() if not (table == "users" and key == (BOOTSTRAP,))}
        theirs = {key: row for key, row in wanted[table].items() if not (table == "users" and key == (BOOTSTRAP,))}
        assert ours.keys() == theirs.keys(), table
        if table == "domains":  # no source has their metadata, and a destination of an earlier version has none
            assert all(row.pop("metadata", {}) == {} for row in ours.values())
        for key, row in theirs.items():
            assert ours[key] == row, f"{table} {key}"


def counts(url: str) -> dict[str, int]:
    """Rows in every table of the destination."""
    return {table: len(rows) for table, rows in stored(url).items()}
