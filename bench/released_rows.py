"""What the destination must hold of a released source, in the bench's own words (see `bench.check`)."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64encode
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

TABLES = ("knowledge_nodes", "scheduling", "edges")
"""Those that a released source has rows for."""
_OWNER = "00000000-0000-0000-0000-000000000001"
_SCHEDULED = {
    "memory_id": "id", "stability": "stability", "difficulty": "difficulty", "retrievability": "retention_strength",
    "last_review": "last_accessed", "next_review": "next_review", "reps": "reps", "lapses": "lapses",
}  # fmt: skip
_OWN = ("id", "content", "node_type", "tags", "domains", "domain_scores", "created_at", "updated_at")
_EDGES = {
    "source_id": "source_id", "target_id": "target_id", "edge_type": "link_type", "weight": "strength",
    "created_at": "created_at",
}  # fmt: skip

Rows = Iterator[dict[str, Any]]


def is_released(connection: sqlite3.Connection) -> bool:
    """Whether the source is one of `bench.released`."""
    return bool(
        connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'embedding_profiles'").fetchone()[0]
    )


def rows_of(connection: sqlite3.Connection, table: str) -> Rows:
    """The rows of a destination's table, with values as a plain source has them; `metadata` as jsonb writes it."""
    found: dict[str, Callable[[], Rows]] = {
        "knowledge_nodes": lambda: _memories(connection),
        "scheduling": lambda: _renamed(connection, "knowledge_nodes", _SCHEDULED),
        "edges": lambda: _renamed(connection, "memory_connections", _EDGES),
    }
    return found[table]()


def _renamed(connection: sqlite3.Connection, table: str, names: dict[str, str]) -> Rows:
    for row in connection.execute(f"SELECT {', '.join(names.values())} FROM {table}"):  # noqa: S608
        yield dict(zip(names, row, strict=True))


def _memories(connection: sqlite3.Connection) -> Rows:
    cursor = connection.execute(
        "SELECT n.*, v.embedding AS vector FROM knowledge_nodes AS n LEFT JOIN embedding_profile_vectors AS v"
        " ON v.node_id = n.id AND v.profile_id = (SELECT active_profile_id FROM embedding_profile_state)"
    )
    names = [column[0] for column in cursor.description]
    placed = {*_OWN, *_SCHEDULED.values(), "vector"}
    for values in cursor:
        row = dict(zip(names, values, strict=True))
        others = {name: value for name, value in row.items() if name not in placed and value is not None}
        constant = {"codebase": None, "owner_user_id": _OWNER, "visibility": "private", "shared_with_groups": "[]"}
        yield {
            **{name: row[name] for name in _OWN},
            **constant,
            "embedding": row["vector"],
            "metadata": '{"sqlite": {' + ", ".join(map(_member, sorted(others.items(), key=_by_length))) + "}}",
        }


def _by_length(item: tuple[str, Any]) -> tuple[int, str]:
    return len(item[0]), item[0]


def _member(item: tuple[str, Any]) -> str:
    return f'"{item[0]}": {_json(item[1])}'


def _json(value: Any) -> str:
    if isinstance(value, bytes):
        return f'{{"base64": "{b64encode(value).decode()}"}}'
    if isinstance(value, float):
        number = Decimal(repr(value))
        return format(number, "f") if number.is_finite() else json.dumps(str(value))
    return json.dumps(value, ensure_ascii=False)
