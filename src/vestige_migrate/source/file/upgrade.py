"""Bringing an older source forward to V15 of the plan line. The only code that writes to an SQLite file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from vestige_migrate.errors import SourceUnusable
from vestige_migrate.source.layout import sqlite_schema as schema
from vestige_migrate.source.layout.inspect import inspect_source
from vestige_migrate.source.layout.lineage import READABLE_VERSION, check_upgradable, is_readable
from vestige_migrate.source.sqlite import driver
from vestige_migrate.source.sqlite.connect import SourceFile, open_source
from vestige_migrate.source.sqlite.quoting import quote_identifier

_LOCK_SECONDS = 30.0

_NODE_COLUMNS = {
    "domains": "TEXT NOT NULL DEFAULT '[]'",
    "domain_scores": "TEXT NOT NULL DEFAULT '{}'",
    "owner_user_id": "TEXT NOT NULL DEFAULT '00000000-0000-0000-0000-000000000001'",
    "visibility": "TEXT NOT NULL DEFAULT 'private'",
    "shared_with_groups": "TEXT NOT NULL DEFAULT '[]'",
    "codebase": "TEXT",
}
"""What V14 and V15 of the plan line add to knowledge_nodes (docs/versions.md)."""


def upgrade_in_place(path: Path, cipher: driver.Cipher | None = None) -> Path | None:
    """Backs the file up beside it, then upgrades it in one transaction; returns the backup's path.

    With a `cipher` the file is encrypted, and so is its backup.

    None where another program has upgraded the file in the meantime. Raises `SourceTooOld` below V11 and
    `SourceUnusable` where the file cannot be written or the backup fails; the file is then as it was.
    """
    file = path.resolve()
    backup: Path | None = None
    try:
        # The lock comes first: the backup is the very state that the upgrade starts from.
        with _write_transaction(file, cipher) as connection:
            layout = inspect_source(connection, path)
            check_upgradable(layout, path)
            if not is_readable(layout):
                backup = _backup(file, layout.version, cipher)
                _run(connection)
    except driver.errors() as error:
        kept = f", and a backup is {backup}" if backup else ""
        raise SourceUnusable(
            f"{path} could not be upgraded ({error}); it is unchanged{kept}. Check that it and its folder may be "
            "written and that Vestige is stopped, or use --snapshot"
        ) from None
    return backup


def upgrade(path: Path, cipher: driver.Cipher | None = None) -> None:
    """Upgrades the file to V15 in one transaction; one that needs no upgrade is not written to.

    For a file of our own (a snapshot): there is no backup, and files below V11 are taken too. Raises
    `driver.errors()`.
    """
    with _write_transaction(path, cipher) as connection:
        if not is_readable(inspect_source(connection, path)):
            _run(connection)


@contextmanager
def _write_transaction(path: Path, cipher: driver.Cipher | None) -> Iterator[sqlite3.Connection]:
    """A transaction that no other program can write beside; rolled back where an exception leaves it."""
    # mode=rw: SQLite would make an empty file in the place of one that was moved away meanwhile, and remove the -wal
    # that is still there.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    with closing(driver.connect(uri, cipher, uri=True, timeout=_LOCK_SECONDS, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _run(connection: sqlite3.Connection) -> None:
    for statement in _statements(connection):
        connection.execute(statement)


def _backup(path: Path, version: int, cipher: driver.Cipher | None) -> Path:
    """A checked copy through SQLite's backup API (which sees rows that are only in the WAL), owner-only.

    It has its name only once it is whole: a kill leaves a `.partial` file, never half a backup that looks like one.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    backup = path.with_name(f"{path.name}.v{version}-backup-{stamp}")
    partial = backup.with_name(f"{backup.name}.partial")
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise SourceUnusable(
            f"{path} could not be backed up to {backup} ({error.strerror}): nothing was changed. Make room and allow "
            "writing beside the file, or use --snapshot"
        ) from None
    try:
        verdict = _copy_whole(path, partial, cipher)
        if verdict != "ok":
            raise SourceUnusable(
                f"the backup of {path} does not pass PRAGMA integrity_check, so the file is damaged and was not "
                "changed: restore an older backup, or try --snapshot to copy what can be read"
            )
        partial.rename(backup)
        _flush_directory(backup.parent)
    except driver.file_errors() as error:
        raise SourceUnusable(
            f"{path} could not be backed up to {backup} ({error}): nothing was changed. Make room beside the file, "
            "or use --snapshot"
        ) from None
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            partial.with_name(partial.name + suffix).unlink(missing_ok=True)
    return backup


def _copy_whole(path: Path, target: Path, cipher: driver.Cipher | None) -> str:
    """Copies the database and returns what PRAGMA integrity_check says of the copy."""
    with (
        closing(open_source(SourceFile(path, cipher=cipher))) as source,
        closing(driver.connect(target, cipher)) as copy,
    ):
        source.backup(copy)
        (verdict,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    return str(verdict)


def _flush_directory(directory: Path) -> None:
    """Makes a new name in the directory last through a power cut, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _statements(connection: sqlite3.Connection) -> list[str]:
    present = {item.name for item in schema.columns_of(connection, "knowledge_nodes")}
    text = resources.files("vestige_migrate.source").joinpath("sql", "upgrade_v15.sql").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    # Columns first: the tables and the bootstrap user depend on nothing.
    found = [
        f"ALTER TABLE knowledge_nodes ADD COLUMN {quote_identifier(name)} {definition}"
        for name, definition in _NODE_COLUMNS.items()
        if name not in present
    ]
    found += [part.strip() for part in "\n".join(lines).split(";") if part.strip()]
    found.append("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)")
    found.append("DELETE FROM schema_version")
    found.append(f"INSERT INTO schema_version (version, applied_at) VALUES ({READABLE_VERSION}, datetime('now'))")
    # PRAGMA user_version is part of the transaction (it is a field of page 1).
    found.append(f"PRAGMA user_version = {READABLE_VERSION}")
    return found
