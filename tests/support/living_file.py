"""What Vestige does to its file, by the statements it uses for that in each form; each call is one transaction.

`updated_at` is touched where Vestige touches it: by an edit, and by nothing else. Times are later from call to call.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from tests.support.sources import SourceSpec, build_source

_START = datetime(2031, 1, 1, tzinfo=UTC)
_BUSY_SECONDS = 30.0
_IDS = UUID("0c0c0c0c-0000-4000-8000-000000000000")
_OF_MEMORIES = {
    "scheduling": "memory_id",
    "review_events": "memory_id",
    "node_embeddings": "node_id",
    "embedding_profile_vectors": "node_id",
}
SCORES = {'["a"]': '{"a": 0.5}', '["a", "b"]': '{"a": 0.25, "b": 0.75}', "[]": "{}"}
"""Domains, and the scores that go with them."""


def _own(column: str) -> tuple[str, str, str]:
    """Vestige's own storage has the schedule in the memory's columns."""
    return "knowledge_nodes", "id", column


class LivingFile:
    """The file, and a clock that moves by a minute whenever it is asked."""

    def __init__(self, path: Path, spec: SourceSpec) -> None:
        self._open(build_source(path, spec), spec.is_plain)

    @classmethod
    def existing(cls, path: Path, *, is_plain: bool, minutes: int = 0) -> LivingFile:
        """A file that is there already, and that others may be using: a write waits for theirs. Its clock begins so
        many minutes later than that of a new one."""
        file = cls.__new__(cls)
        file._open(path, is_plain)
        file._minutes = minutes
        return file

    def _open(self, path: Path, is_plain: bool) -> None:
        self.path = path
        self._plain = is_plain
        self.edges = "edges" if self._plain else "memory_connections"
        self.edge_type = "edge_type" if self._plain else "link_type"
        self._weight = "weight" if self._plain else "strength"
        tables = [name for (name,) in self.ask("SELECT name FROM sqlite_master WHERE type = 'table'")]
        self._columns = {table: [row[1] for row in self.ask(f"PRAGMA table_info({table})")] for table in tables}
        self._minutes = 0

    def now(self) -> str:
        self._minutes += 1
        return (_START + timedelta(minutes=self._minutes)).isoformat()

    def new_id(self) -> str:
        return str(uuid5(_IDS, self.now()))

    def write(self, *statements: tuple[str, tuple[Any, ...]]) -> None:
        with closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            with connection:
                for statement, parameters in statements:
                    connection.execute(statement, parameters)

    def ask(self, statement: str, *parameters: Any) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(statement, parameters).fetchall()

    def memories(self) -> list[str]:
        return [id_ for (id_,) in self.ask("SELECT id FROM knowledge_nodes ORDER BY id")]

    def linked(self) -> list[tuple[str, str]]:
        return self.ask(f"SELECT source_id, target_id FROM {self.edges} ORDER BY 1, 2")

    def remember(self, like: str) -> str:
        """A new memory with the other columns of this one, its schedule and, where there are any, an event."""
        id_, at = self.new_id(), self.now()
        names = self._columns["knowledge_nodes"]
        of_connectors = {name: None for name in names if name in ("source_system", "source_id")}  # unique together
        given = {**of_connectors, "id": id_, "created_at": at, "updated_at": at, "content": f"memory of {at}"}
        statements = [
            (
                f"INSERT INTO knowledge_nodes ({', '.join(names)})"
                f" SELECT {', '.join('?' if name in given else name for name in names)}"
                " FROM knowledge_nodes WHERE id = ?",
                (*(given[name] for name in names if name in given), like),
            )
        ]
        if self._plain:
            schedule = "INSERT INTO scheduling (memory_id, stability, difficulty, retrievability, reps, lapses)"
            statements.append((f"{schedule} VALUES (?, 1.5, 5, 1, 0, 0)", (id_,)))
        self.write(*statements)
        return id_

    def edit(self, id_: str) -> None:
        at = self.now()
        change = "UPDATE knowledge_nodes SET content = ?, updated_at = ? WHERE id = ?"
        self.write((change, (f"edited {at}", at, id_)))

    def recall(self, id_: str) -> None:
        table, key, at = ("scheduling", "memory_id", "last_review") if self._plain else _own("last_accessed")
        change = f"UPDATE {table} SET stability = stability + 1, reps = reps + 1, {at} = ? WHERE {key} = ?"
        self.write((change, (self.now(), id_)))

    def decay(self, id_: str, share: float) -> None:
        table, key, of = ("scheduling", "memory_id", "retrievability") if self._plain else _own("retention_strength")
        self.write((f"UPDATE {table} SET {of} = ? WHERE {key} = ?", (share, id_)))

    def embed_anew(self, id_: str, like: str) -> None:
        """The vector of another memory, where that has one: nothing but the vector changes."""
        if self._plain:
            vector = "(SELECT embedding FROM knowledge_nodes WHERE id = ?)"
            change = f"UPDATE knowledge_nodes SET embedding = {vector} WHERE id = ? AND {vector} IS NOT NULL"
            self.write((change, (like, id_, like)))
            return
        for table in ("node_embeddings", "embedding_profile_vectors"):
            names = self._columns.get(table)
            if names is not None:
                values = ", ".join({"node_id": "?", "created_at": "?"}.get(name, name) for name in names)
                given = [{"node_id": id_, "created_at": self.now()}[n] for n in names if n in ("node_id", "created_at")]
                change = f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) SELECT {values} FROM {table}"
                self.write((f"{change} WHERE node_id = ?", (*given, like)))

    def assign(self, id_: str, domains: str) -> None:
        change = "UPDATE knowledge_nodes SET domains = ?, domain_scores = ? WHERE id = ?"
        self.write((change, (domains, SCORES[domains], id_)))

    def suppress(self, id_: str, times: int) -> None:
        """A column that has no place of its own; plain tables have none."""
        if "suppression_count" in self._columns["knowledge_nodes"]:
            self.write(("UPDATE knowledge_nodes SET suppression_count = ? WHERE id = ?", (times, id_)))

    def name_domain(self, label: str) -> None:
        self.write(("UPDATE domains SET label = ? WHERE id = (SELECT min(id) FROM domains)", (label,)))

    def link(self, source: str, target: str) -> None:
        at = self.now()
        given = {"source_id": source, "target_id": target, self.edge_type: "semantic", self._weight: 0.5,
                 "created_at": at, **({} if self._plain else {"last_activated": at})}  # fmt: skip
        marks = ", ".join("?" * len(given))
        into = f"INSERT OR IGNORE INTO {self.edges} ({', '.join(given)}) VALUES ({marks})"
        self.write((into, tuple(given.values())))

    def some_edges(self, source: str) -> list[tuple[str, str]]:
        """Those that begin at this memory."""
        return self.ask(f"SELECT source_id, target_id FROM {self.edges} WHERE source_id = ?", source)

    def unlink(self, source: str, target: str) -> None:
        self.write((f"DELETE FROM {self.edges} WHERE source_id = ? AND target_id = ?", (source, target)))

    def retype(self, source: str, target: str, kind: str) -> None:
        change = f"UPDATE {self.edges} SET {self.edge_type} = ? WHERE source_id = ? AND target_id = ?"
        self.write((change, (kind, source, target)))

    def take_away(self, id_: str, *, tombstone: bool) -> None:
        """The memory with all that hangs on it."""
        columns = [(self.edges, "source_id"), (self.edges, "target_id"), *_OF_MEMORIES.items()]
        statements = [
            (f"DELETE FROM {table} WHERE {column} = ?", (id_,)) for table, column in columns if table in self._columns
        ]
        statements.append(("DELETE FROM knowledge_nodes WHERE id = ?", (id_,)))
        if tombstone:
            made = "CREATE TABLE IF NOT EXISTS sync_tombstones (table_name TEXT, row_id TEXT, deleted_at TEXT)"
            into = "INSERT INTO sync_tombstones (table_name, row_id, deleted_at) VALUES ('knowledge_nodes', ?, ?)"
            self.write((made, ()), *statements, (into, (id_, self.now())))
        else:
            self.write(*statements)

    def tags(self, id_: str) -> str | None:
        found: str | None = self.ask("SELECT tags FROM knowledge_nodes WHERE id = ?", id_)[0][0]
        return found

    def set_tags(self, id_: str, tags: str | None) -> None:
        self.write(("UPDATE knowledge_nodes SET tags = ? WHERE id = ?", (tags, id_)))
