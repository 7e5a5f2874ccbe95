"""A private, consistent copy of a source, made by SQLite's online backup; removed when the run ends."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vestige_migrate.errors import SourceUnusable
from vestige_migrate.source.connect import SourceFile, open_source

PREFIX = "vestige-migrate-snapshot-"


@contextmanager
def take_snapshot(file: SourceFile) -> Iterator[SourceFile]:
    """A snapshot of the file in a directory of its own (mode 0700), gone when the context ends.

    Raises `SourceUnusable` where it cannot be made, such as on a full disk.
    """
    with tempfile.TemporaryDirectory(prefix=PREFIX) as directory:
        copy = Path(directory) / file.path.name
        try:
            source = open_source(file)
            target = sqlite3.connect(copy)
            try:
                source.backup(target)
                # The copy has one reader pool and no writer: no -wal or -shm beside it.
                target.execute("PRAGMA journal_mode = DELETE")
            finally:
                target.close()
                source.close()
        except (OSError, sqlite3.Error) as error:
            raise SourceUnusable(
                f"no snapshot of {file.path} could be made in {directory} ({error}): "
                "free space there, or set TMPDIR to a folder with room for a copy of the file"
            ) from None
        yield SourceFile(copy)
