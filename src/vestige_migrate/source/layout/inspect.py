"""What is in a source file: tables, columns, version, line of development, embedding model."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from vestige_migrate.errors import SourceUnusable
from vestige_migrate.model import ModelSignature
from vestige_migrate.source.layout import sqlite_schema as schema
from vestige_migrate.source.layout.known_names import NEEDED_COLUMNS, NEEDED_TABLE
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.lineage import find_lineage
from vestige_migrate.source.layout.models import with_model
from vestige_migrate.source.sqlite import driver
from vestige_migrate.source.sqlite.file_kind import begins_plain

_NAMED_TABLES = 5


def inspect_source(connection: sqlite3.Connection, path: Path, wanted: ModelSignature | None = None) -> Layout:
    """The layout of an open source. Raises `SourceUnusable` where it is no Vestige file.

    `wanted` is the model that counts where the file has vectors of several, its own among them.
    """
    try:
        tables = _tables(connection)
        if not set(tables.get(NEEDED_TABLE, ())) >= NEEDED_COLUMNS:
            raise SourceUnusable(_no_vestige_file(path, tables, _instead(connection)))
        version = _version(connection, tables)
        return with_model(connection, Layout(tables, version, find_lineage(tables, version)), wanted)
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
    if not undecodable and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
        # The statement could not be prepared: the schema names what this SQLite does not have, and the pages are whole.
        return SourceUnusable(
            f"{path} cannot be read here: its schema needs what this SQLite ({sqlite3.sqlite_version}) does not have "
            f"({error}). The file is whole: copy it where that is there"
        )
    return SourceUnusable(damaged(path, "a name in it is no valid UTF-8" if undecodable else str(error)))


def damaged(path: Path, finding: str) -> str:
    """What to say of a corrupt database, and how to get out of it what is whole."""
    # The command line of SQLite cannot read an encrypted file.
    rebuild = ", or rebuild it with `sqlite3 FILE .recover | sqlite3 NEW` and copy the new file"
    return f"{path} is a corrupt SQLite database ({finding}): restore a backup{rebuild if begins_plain(path) else ''}"


def _tables(connection: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """Columns of every table. A virtual table is left out: its rows are in its shadow tables, which are listed."""
    return {
        entry.name: tuple(item.name for item in schema.columns_of(connection, entry.name))
        for entry in schema.entries(connection)
        if entry.kind is schema.TableKind.TABLE
    }


def _instead(connection: sqlite3.Connection) -> str:
    """What has the name of the table that is needed, where that is no table."""
    kinds = [item.kind.value for item in schema.entries(connection) if item.name.lower() == NEEDED_TABLE]
    return f" (a {kinds[0]} has that name)" if kinds and kinds[0] != schema.TableKind.TABLE.value else ""


def _no_vestige_file(path: Path, tables: dict[str, tuple[str, ...]], instead: str) -> str:
    missing = f"it has no table {NEEDED_TABLE} with {' and '.join(sorted(NEEDED_COLUMNS, reverse=True))}{instead}"
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
