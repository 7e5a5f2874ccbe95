"""Portable archives of fixture files, written as Vestige's `portable-export` writes them: indented JSON."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

TABLES = (
    "knowledge_nodes", "node_embeddings", "fsrs_cards", "memory_states", "memory_connections", "memory_access_log",
    "state_transitions", "intentions", "insights", "sessions", "fsrs_config", "consolidation_history", "dream_history",
    "retention_snapshots", "sync_tombstones", "deletion_tombstones", "composition_events", "composition_members",
    "composition_outcomes",
)  # fmt: skip
"""In the order in which they are written."""

Document = dict[str, Any]


def cell(value: object) -> dict[str, object]:
    """A value of SQLite as an archive has it."""
    match value:
        case None:
            return {"type": "null"}
        case int():
            return {"type": "integer", "value": value}
        case float():
            return {"type": "real", "value": value}
        case bytes():
            return {"type": "blob", "value": value.hex()}
        case _:
            return {"type": "text", "value": value}


def document(source: Path) -> Document:
    """The archive of a file, as one would be read."""
    with closing(sqlite3.connect(source)) as connection:
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        (version,) = connection.execute("SELECT MAX(version) FROM schema_version").fetchone()
        tables = [_table(connection, name) for name in TABLES if name in there]
    return {
        "archiveFormat": "vestige.portable.v1",
        "vestigeVersion": "3.1.1",
        "schemaVersion": version,
        "exportedAt": "2026-09-29T06:00:00.123456789Z",
        "mode": "exact",
        "tables": tables,
    }


def _table(connection: sqlite3.Connection, name: str) -> Document:
    found = connection.execute(f"SELECT * FROM {name} ORDER BY rowid")
    columns = [item[0] for item in found.description]
    return {"name": name, "columns": columns, "rows": [[cell(value) for value in row] for row in found]}


def export(source: Path, archive: Path) -> Path:
    """Writes the archive of a file."""
    return write(archive, document(source))


def write(archive: Path, content: Document) -> Path:
    """Writes an archive as Vestige does; an infinite real as null."""
    archive.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
    return archive


def table_of(content: Document, name: str) -> Document:
    """One of its tables."""
    found: Document = next(table for table in content["tables"] if table["name"] == name)
    return found


def what_is_in_it(source: Path, copy: Path) -> Path:
    """A copy of the file without the tables that no archive holds: what a copy of its archive has to bring."""
    shutil.copyfile(source, copy)
    with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(copy)) as connection:
        read.backup(connection)
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute("PRAGMA foreign_keys = OFF")
        for name in names:
            if name not in (*TABLES, "schema_version") and not name.startswith(("sqlite_", "knowledge_fts")):
                connection.execute(f"DROP TABLE {name}")
        connection.commit()
    return copy
