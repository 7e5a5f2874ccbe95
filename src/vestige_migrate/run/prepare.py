"""Getting the source ready: opened as it is, upgraded in place, or as a private snapshot."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from loguru import logger

from vestige_migrate.errors import SourceUnusable
from vestige_migrate.paths import shown
from vestige_migrate.plan import SqliteToPostgresPlan
from vestige_migrate.report import SourceInfo
from vestige_migrate.source import driver
from vestige_migrate.source.connect import SourceFile, open_source
from vestige_migrate.source.find import find_source
from vestige_migrate.source.inspect import damaged, inspect_source
from vestige_migrate.source.kind import companion
from vestige_migrate.source.layout import Layout
from vestige_migrate.source.lineage import (
    NEWEST_KNOWN,
    check_readable,
    check_upgradable,
    is_newer_than_known,
    is_readable,
)
from vestige_migrate.source.salvage import LostRow
from vestige_migrate.source.snapshot import take_snapshot
from vestige_migrate.source.upgrade import upgrade, upgrade_in_place


@dataclass(frozen=True)
class PreparedSource:
    """A source that can be read as it is, with a connection that stays open for the run."""

    file: SourceFile
    layout: Layout
    info: SourceInfo
    connection: sqlite3.Connection
    lost: tuple[LostRow, ...] = ()

    def state(self) -> object:
        """Compares equal as long as no other program has written to the file.

        `PRAGMA data_version` changes when another connection commits (https://sqlite.org/pragma.html). A file opened as
        immutable is not watched by SQLite: there the file itself, and a WAL that was not there, say so.
        """
        (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        if not self.file.immutable:
            return version
        found = self.file.path.stat()
        return version, found.st_size, found.st_mtime_ns, companion(self.file.path, "-wal")


@dataclass(frozen=True)
class FoundSource:
    """A source as it was found: looked at, and nothing written to it. `lost` are rows that a damaged file has lost."""

    path: Path
    file: SourceFile
    layout: Layout
    lost: tuple[LostRow, ...] = ()


@contextmanager
def found_source(plan: SqliteToPostgresPlan) -> Iterator[FoundSource]:
    """The plan's source, judged by what is in it and by the plan's flags.

    Raises `SourceUnusable` where it is no Vestige file, and `SourceTooOld` where the flags offer no way forward. So
    every refusal comes before the first write, of an upgrade as well.
    """
    path = plan.sqlite_path
    with find_source(path) as (file, damage):
        layout = _inspect(file, path)
        if damage is not None:
            if not is_readable(layout):  # an upgrade counts on constraints, which a damaged file need not keep
                raise SourceUnusable(damaged(path, damage.finding))
            logger.warning(
                "{} is damaged ({}): what can be read comes from a private copy; {} rows cannot be read, and are named "
                "among the errors",
                shown(path),
                damage.finding,
                len(damage.lost),
            )
        if plan.allow_source_upgrade:
            check_upgradable(layout, path)
        elif not plan.snapshot:
            check_readable(layout, path)
        if is_newer_than_known(layout.lineage, layout.version):
            logger.warning(
                "{} is at V{} of the {} line, newer than any this program knows (V{}): what it knows is copied, the "
                "rest is named as left behind; look for a newer vestige-migrate",
                shown(path),
                layout.version,
                layout.lineage,
                NEWEST_KNOWN[layout.lineage],
            )
        yield FoundSource(path, file, layout, damage.lost if damage is not None else ())


@contextmanager
def prepared_source(plan: SqliteToPostgresPlan, found: FoundSource) -> Iterator[PreparedSource]:
    """The source, upgraded or snapshotted as the plan says. A snapshot is removed at the end.

    Raises `SourceUnusable` where the upgrade or the snapshot cannot be made.
    """
    path, layout = found.path, found.layout
    if plan.snapshot:
        with take_snapshot(found.file) as copy:
            if not is_readable(layout):
                _upgrade_snapshot(copy, path)
                logger.info(
                    "upgraded the snapshot from V{} to V15; {} itself is untouched", layout.version, shown(path)
                )
            with _opened(copy, found, _checked_again(copy, found)) as prepared:
                yield prepared
        return
    # A dry run changes nothing: it counts an older file as it is where the upgrade is allowed.
    if plan.allow_source_upgrade and not is_readable(layout) and not plan.dry_run:
        backup = upgrade_in_place(path, found.file.cipher)
        if backup is not None:
            logger.info("upgraded {} from V{} to V15; the backup is {}", shown(path), layout.version, shown(backup))
        file = replace(found.file, path=path.resolve())
        layout = _checked_again(file, found)
        found = FoundSource(path, file, layout)
    with _opened(found.file, found, layout) as prepared:
        yield prepared


def _upgrade_snapshot(copy: SourceFile, path: Path) -> None:
    try:
        upgrade(copy.path, copy.cipher)
    except driver.errors() as error:
        raise SourceUnusable(
            f"the snapshot of {path} could not be upgraded to V15 ({error}): its tables are not those of its version. "
            "The file itself is untouched; open it once with Vestige, or restore a backup, then run again"
        ) from None


def _checked_again(file: SourceFile, found: FoundSource) -> Layout:
    """The layout after an upgrade or in a snapshot. The registries were compared for the one found first."""
    layout = _inspect(file, found.path)
    check_readable(layout, found.path)
    if (layout.model, layout.dimension) != (found.layout.model, found.layout.dimension):
        raise SourceUnusable(
            f"{found.path} changed its embedding model from {found.layout.model or 'none'} to {layout.model or 'none'} "
            "while it was being looked at: run again"
        )
    return layout


def _inspect(file: SourceFile, path: Path) -> Layout:
    connection = open_source(file)
    try:
        return inspect_source(connection, path)
    finally:
        connection.close()


@contextmanager
def _opened(file: SourceFile, found: FoundSource, layout: Layout) -> Iterator[PreparedSource]:
    """An open source; the report names the version and line that it was found with."""
    connection = open_source(file)
    info = SourceInfo(shown(found.path), found.layout.version, found.layout.lineage)
    try:
        yield PreparedSource(file, layout, info, connection, found.lost)
    finally:
        connection.close()
