"""Bringing an older source forward to V15 of the plan line. The only code that writes to an SQLite file."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from vestige_migrate.errors import SourceTooOld, SourceUnusable
from vestige_migrate.source.inspect import OLDEST_UPGRADABLE, READABLE_VERSION
from vestige_migrate.source.layout import Layout
from vestige_migrate.source.select import quote_identifier

_LOCK_SECONDS = 30.0

_NODE_COLUMNS = {
    "domains": "TEXT NOT NULL DEFAULT '[]'",
    "domain_scores": "TEXT NOT NULL DEFAULT '{}'",
    "owner_user_id": "TEXT NOT NULL DEFAULT '00000000-0000-0000-0000-000000000001'",
    "visibility": "TEXT NOT NULL DEFAULT 'private'",
    "shared_with_groups": "TEXT NOT NULL DEFAULT '[]'",
    "codebase": "TEXT",
}
"""What V14 and V15 of the plan line add to knowledge_nodes (source-schemas.md)."""


def upgrade_in_place(path: Path, layout: Layout) -> Path:
    """Backs the file up beside it, then upgrades it in one transaction; returns the backup's path.

    Raises `SourceTooOld` below V11 and `SourceUnusable` where the file cannot be written or the backup fails.
    """
    if layout.version < OLDEST_UPGRADABLE:
        raise SourceTooOld(
            f"{path} is at V{layout.version}: an upgrade in place would skip steps that Vestige itself must take below "
            f"V{OLDEST_UPGRADABLE}. Run again with --snapshot, which upgrades a private copy"
        )
    path = path.resolve()
    backup = _backup(path, layout.version)
    try:
        upgrade(path)
    except sqlite3.Error as error:
        raise SourceUnusable(
            f"{path} could not be upgraded ({error}); it is unchanged, and a backup is {backup}. "
            "Stop Vestige, or use --snapshot"
        ) from None
    return backup


def _backup(path: Path, version: int) -> Path:
    """A checked copy through SQLite's backup API (which sees rows that are only in the WAL), owner-only."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    backup = path.with_name(f"{path.name}.v{version}-backup-{stamp}")
    try:
        backup.touch(mode=0o600, exist_ok=False)
        source = sqlite3.connect(path, timeout=_LOCK_SECONDS)
        target = sqlite3.connect(backup)
        try:
            source.backup(target)
            (verdict,) = target.execute("PRAGMA integrity_check(1)").fetchone()
        finally:
            target.close()
            source.close()
    except (OSError, sqlite3.Error) as error:
        backup.unlink(missing_ok=True)
        raise SourceUnusable(f"{path} could not be backed up to {backup} ({error}): nothing was changed") from None
    if verdict != "ok":
        raise SourceUnusable(
            f"the backup {backup} does not pass PRAGMA integrity_check, so {path} was not changed: "
            "the file is damaged; try --snapshot to copy what can be read"
        )
    return backup


def upgrade(path: Path) -> None:
    """Upgrades the file to V15 in one transaction; a second upgrade changes nothing. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _statements(connection):
            connection.execute(statement)
        connection.execute("COMMIT")
    finally:
        connection.close()


def _statements(connection: sqlite3.Connection) -> list[str]:
    present = {row[1] for row in connection.execute("PRAGMA table_info(knowledge_nodes)")}
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
