"""Files that SQLite opens and would misread: made of whole ones, whose rows they have."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def behind_indexes(path: Path, table: str, *statements: str) -> None:
    """Runs statements on a table as if it had no index and no key, so that its indexes keep what they had."""
    with closing(sqlite3.connect(path)) as connection:
        kept = connection.execute(
            "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master WHERE tbl_name = ? AND type = 'index'",
            (table,),
        ).fetchall()
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        bare = f"CREATE TABLE {table} ({', '.join(f'{row[1]} {row[2]}' for row in columns)})"
        _rewrite(
            connection,
            ("DELETE FROM sqlite_master WHERE tbl_name = ? AND type IN ('index', 'trigger')", (table,)),
            ("UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?", (bare, table)),
        )
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    with closing(sqlite3.connect(path)) as connection:
        _rewrite(
            connection,
            ("UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?", (sql, table)),
            *(("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", row) for row in kept),
        )


def _rewrite(connection: sqlite3.Connection, *statements: tuple[str, tuple[object, ...]]) -> None:
    connection.execute("PRAGMA writable_schema = ON")
    with connection:
        for sql, parameters in statements:
            connection.execute(sql, parameters)


def remade(path: Path, target: Path, encoding: str = "UTF-8", suffix: str = "") -> Path:
    """The file's ordinary tables in a new file: in this encoding, with `suffix` behind each CREATE TABLE."""
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(target)) as copy, copy:
        copy.execute(f"PRAGMA encoding = '{encoding}'")
        for name, sql in source.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
            if name.startswith(("sqlite_", "knowledge_fts")):
                continue
            copy.execute(sql if "AUTOINCREMENT" in sql else f"{sql} {suffix}")
            rows = source.execute(f"SELECT * FROM {name}").fetchall()
            if rows:
                copy.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)
    return target
