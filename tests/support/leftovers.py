"""A few plausible rows for every table of Vestige that has no place in the destination.

Nothing here is looked at by meaning: tests only need the rows to exist, to be valid (types of STRICT tables, CHECKs,
triggers, foreign keys) and to be the same every time. So values are chosen by a column's name and type, and only those
that a CHECK restricts are spelled out.
"""

from __future__ import annotations

import json
import random
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from tests.support import prose

LEFTOVER_ROWS = 3
"""Rows in each such table (fewer where the file has fewer memories, one in `receipt_chain_state`)."""

FILLED_ELSEWHERE = frozenset(
    {
        # copied, or the version itself
        "schema_version", "knowledge_nodes", "node_embeddings", "memory_connections", "review_events", "users",
        "groups", "group_memberships", "embedding_model", "domains", "embedding_profiles", "embedding_profile_state",
        "embedding_profile_vectors", "embedding_profile_manifests",
        # no Vestige ever wrote a row to these two (V4, dropped in V11)
        "knowledge_edges", "compressed_memories",
        # one row from the schema itself; written by triggers
        "fsrs_config", "erasure_generation_counter", "actor_policy_state", "vector_journal",
    }
)  # fmt: skip

_CHECKED: dict[str, object] = {
    "synaptic_tags.state": "active",
    "retrieval_replay_capsules.replayable": 1,
    "receipt_signing_keys.algorithm": "ed25519",
    "receipt_signing_keys.status": "active",
    "receipt_envelopes.chain_id": "local",
    "receipt_chain_state.chain_id": "local",
    "artifact_lineage.relation": "derived_from",
    "erasure_jobs.status": "committed",
    "erasure_jobs.scope": "legacy_audited_purge",
    "erasure_jobs.failure_code": None,
    "erasure_tombstones.scope": "legacy_audited_purge",
    "erasure_steps.surface": "canonical_sqlite",
    "erasure_steps.action": "delete",
    "erasure_steps.verification_status": "passed",
    "erasure_steps.detail_code": "target_rows_deleted",
    "managed_artifacts.state": "active",
    "synaptic_events.event_state": "closed",
    "actor_endorsement_events.endorsement_kind": "support",
}
_MEMORY_COLUMNS = re.compile(r"(^|_)(memory|survivor|subject)_id$")
_DIGEST_COLUMNS = re.compile(r"(digest|fingerprint|commitment|_hash|merkle_root)$")
_TIME_COLUMNS = re.compile(r"(_at|_until|_from|^timestamp|^deadline|^due_date|^last_access|^last_review)$")
_LIST_COLUMNS = re.compile(r"(^tags|_ids|_memories|_by|_discovered|_transferred|^signals|slots_json)$")
_OBJECT_COLUMNS = re.compile(r"(_json|payload|_data|^metadata|^context|^config|^diff|_report|^(before|after)_state)$")


@dataclass(frozen=True)
class _Column:
    table: str
    name: str
    type: str
    parent: tuple[str, str] | None  # table and column that a foreign key points to


def fill(conn: sqlite3.Connection, rng: random.Random, memory_ids: Sequence[str]) -> None:
    """Put rows into every table that nothing else fills, parents first (they were created first)."""
    tables = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid"
    for (table,) in conn.execute(tables).fetchall():
        if table in FILLED_ELSEWHERE or table.startswith(("sqlite_", "knowledge_fts")):
            continue
        _fill_table(conn, table, rng, memory_ids)


def _fill_table(conn: sqlite3.Connection, table: str, rng: random.Random, memory_ids: Sequence[str]) -> None:
    rows = min(LEFTOVER_ROWS, len(memory_ids))
    columns = _columns(conn, table)
    names, marks = ", ".join(column.name for column in columns), ", ".join("?" * len(columns))
    insert = f"INSERT INTO {table} ({names}) VALUES ({marks})"
    # A chain has one head, at the newest envelope.
    for number in range(rows)[-1:] if table == "receipt_chain_state" else range(rows):
        conn.execute(insert, [_value(conn, column, number, rng, memory_ids) for column in columns])


def _columns(conn: sqlite3.Connection, table: str) -> list[_Column]:
    """The columns to give a value, which leaves out keys that SQLite numbers itself."""
    foreign = conn.execute('SELECT "from", "table", "to" FROM pragma_foreign_key_list(?)', (table,))
    parents = {name: (parent, column) for name, parent, column in foreign}
    info = conn.execute("SELECT name, type, pk FROM pragma_table_info(?)", (table,)).fetchall()
    lone_key = sum(1 for _, _, key in info if key) == 1
    return [
        _Column(table, name, kind, parents.get(name))
        for name, kind, key in info
        if not (key and lone_key and kind == "INTEGER")
    ]


def _value(
    conn: sqlite3.Connection, column: _Column, number: int, rng: random.Random, memory_ids: Sequence[str]
) -> object:
    restricted = f"{column.table}.{column.name}"
    if restricted in _CHECKED:
        return _CHECKED[restricted]
    if column.parent and column.parent[0] != "knowledge_nodes":
        return _key_of(conn, column.parent, number)
    if column.parent or _MEMORY_COLUMNS.search(column.name):
        return memory_ids[number]
    if column.type == "TEXT":
        return _text(column.name, number, rng)
    if column.type == "REAL":
        return rng.random()
    if column.type == "BLOB":
        return sha256(restricted.encode() + bytes([number])).digest()
    return _integer(column.name, number, rng)


def _key_of(conn: sqlite3.Connection, parent: tuple[str, str], number: int) -> object:
    table, column = parent
    query = f"SELECT {column} FROM {table} ORDER BY rowid LIMIT 1 OFFSET ?"
    rows = conn.execute(query, (number,)).fetchall() or conn.execute(query, (0,)).fetchall()
    return rows[0][0]


def _integer(name: str, number: int, rng: random.Random) -> int:
    if name in {"seq", "sequence", "last_sequence", "ordinal", "step_order", "rank"}:
        return number
    if name == "generation":
        return number + 1
    if name.endswith(("_ms", "_at")) or name == "at":
        return prose.moment(rng) * 1000 + number
    return rng.randint(0, 1) if name == "gc_triggered" else rng.randint(1, 5000)


def _text(name: str, number: int, rng: random.Random) -> str | None:
    if _DIGEST_COLUMNS.search(name):
        return _digest(name, number)
    if _TIME_COLUMNS.search(name):
        return prose.some_time(rng)
    if name.endswith("id"):
        return prose.new_id(rng)
    if _LIST_COLUMNS.search(name):
        return prose.tags(rng)
    if _OBJECT_COLUMNS.search(name):
        return json.dumps({"note": number, "äußerung": [1, None, "x"]}, ensure_ascii=False)
    if name in {"privacy_state", "decay_risk"}:
        return "active" if name == "privacy_state" else "low"
    if name in {"content", "insight", "notes", "reason", "title", "query", "preview", "error"}:
        return prose.content(rng, number)
    return f"{name}-{number}"


def _digest(name: str, number: int) -> str | None:
    """Sixty-four hex digits; each envelope names the one before it, the chain's head the last."""
    if name == "previous_entry_digest":
        return _digest("entry_digest", number - 1) if number else None
    topic = "entry_digest" if name == "last_entry_digest" else name
    return sha256(f"{topic} {number}".encode()).hexdigest()
