"""What is in a source file: tables, columns, version, line of development, embedding model."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from vestige_migrate.errors import SourceUnusable
from vestige_migrate.source import driver
from vestige_migrate.source.kind import begins_plain
from vestige_migrate.source.layout import Layout
from vestige_migrate.source.lineage import find_lineage
from vestige_migrate.source.models import with_model
from vestige_migrate.source.select import quote_identifier

NEEDED_TABLE, NEEDED_COLUMNS = "knowledge_nodes", frozenset({"id", "content"})
"""What every Vestige file has had since V1, and without which there is nothing to copy."""

_NAMED_TABLES = 5


def inspect_source(connection: sqlite3.Connection, path: Path) -> Layout:
    """The layout of an open source. Raises `SourceUnusable` where it is no Vestige file."""
    try:
        tables = _tables(connection)
        if not set(tables.get(NEEDED_TABLE, ())) >= NEEDED_COLUMNS:
            raise SourceUnusable(_no_vestige_file(path, tables))
        version = _version(connection, tables)
        return with_model(connection, Layout(tables, version, find_lineage(tables, version)))
    except driver.database_errors() as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: sqlite3.DatabaseError) -> SourceUnusable:
    """What to say of a file that SQLite opened and then could not read."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return SourceUnusable(f"{path} is locked by another program: stop that program, then run again")
    if name.startswith("SQLITE_IOERR"):
        return SourceUnusable(f"{path} cannot be read from its disk ({name}): check the disk, then run again")
    # sqlite3 quotes what it could not decode, which goes nowhere.
    undecodable = str(error).startswith("Could not decode")
    return SourceUnusable(damaged(path, "a name in it is no valid UTF-8" if undecodable else str(error)))


def damaged(path: Path, finding: str) -> str:
    """What to say of a corrupt database, and how to get out of it what is whole."""
    # The command line of SQLite cannot read an encrypted file.
    rebuild = ", or rebuild it with `sqlite3 FILE .recover | sqlite3 NEW` and copy the new file"
    return f"{path} is a corrupt SQLite database ({finding}): restore a backup{rebuild if begins_plain(path) else ''}"


def _tables(connection: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """Columns of every table. A virtual table is left out: its rows are in its shadow tables, which are listed."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    names = [name for name, sql in rows if not _is_virtual(sql)]
    return {
        name: tuple(row[1] for row in connection.execute(f"PRAGMA table_info({quote_identifier(name)})"))
        for name in names
    }


def _is_virtual(sql: object) -> bool:
    return isinstance(sql, str) and sql.lstrip()[:14].upper() == "CREATE VIRTUAL"


def _no_vestige_file(path: Path, tables: dict[str, tuple[str, ...]]) -> str:
    missing = f"it has no table {NEEDED_TABLE} with {' and '.join(sorted(NEEDED_COLUMNS, reverse=True))}"
    own = sorted(name for name in tables if not name.startswith("sqlite_"))
    if not own:
        return f"{path} is an SQLite database without any table, and no Vestige file: {missing}"
    more = f" and {len(own) - _NAMED_TABLES} more" if len(own) > _NAMED_TABLES else ""
    return (
        f"{path} is the SQLite database of another application, and no Vestige file: {missing}; "
        f"its tables are {', '.join(own[:_NAMED_TABLES])}{more}"
    )


def _version(connection: sqlite3.Connection, tables: dict[str, tuple[str, ...]]) -> int:
    """The number in `schema_version`, else in `PRAGMA user_version`; 0 where there is none."""
    if "version" in tables.get("schema_version", ()):
        (found,) = connection.execute("SELECT MAX(version) FROM schema_version").fetchone()
        if isinstance(found, int):
            return found
    (stamped,) = connection.execute("PRAGMA user_version").fetchone()
    return int(stamped)
