"""A private, consistent copy of a source, made by SQLite's online backup; removed when the run ends.

The copy of an encrypted file is encrypted with the same key."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from vestige_migrate.errors import SourceUnusable
from vestige_migrate.source.file.private_copies import check_space, private_folder
from vestige_migrate.source.sqlite import driver
from vestige_migrate.source.sqlite.connect import SourceFile, open_source


@contextmanager
def take_snapshot(file: SourceFile) -> Iterator[SourceFile]:
    """A snapshot of the file in a directory of its own (mode 0700; the file 0600), gone when the context ends.

    Raises `SourceUnusable` where it cannot be made, such as on a full disk.
    """
    with private_folder() as folder:
        copy = folder / file.path.name
        try:
            os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            _back_up(file, copy)
        except driver.file_errors() as error:
            raise no_snapshot(file.path, copy, error) from None
        yield SourceFile(copy, cipher=file.cipher)


def no_snapshot(path: Path, copy: Path, error: OSError | sqlite3.Error) -> SourceUnusable:
    """The error for a snapshot of `path` that could not be written, or upgraded, at `copy`."""
    reason = error.strerror if isinstance(error, OSError) else error
    return SourceUnusable(
        f"no snapshot of {path} could be made in {copy.parent} ({reason}): "
        "free space there, or set TMPDIR to a folder with room for a copy of the file"
    )


def _back_up(file: SourceFile, copy: Path) -> None:
    with closing(open_source(file)) as source:
        (pages,) = source.execute("PRAGMA page_count").fetchone()
        (size,) = source.execute("PRAGMA page_size").fetchone()
        check_space(copy.parent, file.path, pages * int(size))  # SQLCipher answers in text
        with closing(driver.connect(copy, file.cipher)) as target:
            source.backup(target)
            # The copy has one reader pool and no writer: no -wal or -shm beside it.
            target.execute("PRAGMA journal_mode = DELETE")
