"""Getting the source ready: opened as it is, upgraded in place, or as a private snapshot."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from vestige_migrate.plan import SqliteToPostgresPlan
from vestige_migrate.report import SourceInfo
from vestige_migrate.source.connect import SourceFile, find_source, open_source
from vestige_migrate.source.inspect import check_readable, inspect_source, is_readable
from vestige_migrate.source.layout import Layout
from vestige_migrate.source.snapshot import take_snapshot
from vestige_migrate.source.upgrade import upgrade, upgrade_in_place


@dataclass(frozen=True)
class PreparedSource:
    """A source that can be read as it is, with a connection that stays open for the run."""

    file: SourceFile
    layout: Layout
    info: SourceInfo
    connection: sqlite3.Connection


@contextmanager
def prepared_source(plan: SqliteToPostgresPlan) -> Iterator[PreparedSource]:
    """The source for this plan. Raises `SourceUnusable` or `SourceTooOld`; removes a snapshot at the end."""
    path = plan.sqlite_path
    file = find_source(path)
    layout = _inspect(file, path)
    info = SourceInfo(str(path), layout.version, layout.lineage)
    if plan.snapshot:
        with take_snapshot(file) as copy:
            if not is_readable(layout):
                upgrade(copy.path)
                logger.info("upgraded the snapshot from V{} to V15; {} itself is untouched", layout.version, path)
            with _opened(copy, path, info) as prepared:
                yield prepared
        return
    if not is_readable(layout) and plan.allow_source_upgrade and not plan.dry_run:
        backup = upgrade_in_place(path, layout)
        logger.info("upgraded {} from V{} to V15; the backup is {}", path, layout.version, backup)
        file = find_source(path)
        info = SourceInfo(str(path), _inspect(file, path).version, layout.lineage)
    # A dry run changes nothing: it counts an older file as it is where the upgrade is allowed.
    check = not (plan.allow_source_upgrade and plan.dry_run)
    with _opened(file, path, info, check) as prepared:
        yield prepared


def _inspect(file: SourceFile, path: Path) -> Layout:
    connection = open_source(file)
    try:
        return inspect_source(connection, path)
    finally:
        connection.close()


@contextmanager
def _opened(file: SourceFile, path: Path, info: SourceInfo, check: bool = True) -> Iterator[PreparedSource]:
    connection = open_source(file)
    try:
        layout = inspect_source(connection, path)
        if check:
            check_readable(layout, path)
        yield PreparedSource(file, layout, info, connection)
    finally:
        connection.close()
