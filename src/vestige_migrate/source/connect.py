"""Opening a source file. Never for writing: only `upgrade` does that."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from vestige_migrate.errors import SourceUnusable

BUSY_TIMEOUT_SECONDS = 30.0
"""How long a read waits for a writer that holds the file exclusively."""

_MAGIC = b"SQLite format 3\x00"
_CACHE_KIB = 8192


@dataclass(frozen=True)
class SourceFile:
    """A file to read. `immutable` is for a file that nobody can be writing and whose folder takes no `-shm`."""

    path: Path
    immutable: bool = False

    @property
    def uri(self) -> str:
        """An SQLite URI; `?`, `#`, `%` and bytes that are no UTF-8 are escaped."""
        return f"file:{quote(os.fsencode(self.path))}?mode=ro" + ("&immutable=1" if self.immutable else "")


def open_source(file: SourceFile) -> sqlite3.Connection:
    """A read-only connection in autocommit mode: a read transaction lasts as long as one statement."""
    connection = sqlite3.connect(
        file.uri, uri=True, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA query_only = ON")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection


def find_source(path: Path) -> SourceFile:
    """The file, looked at and opened once. Raises `SourceUnusable` with the reason where it is no database."""
    _check_header(path)
    resolved = path.resolve()
    for file in (SourceFile(resolved), SourceFile(resolved, immutable=True)):
        if file.immutable and _has_wal(resolved):
            break
        try:
            connection = open_source(file)
            try:
                connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            finally:
                connection.close()
            return file
        except sqlite3.OperationalError as error:
            failure: sqlite3.Error = error
        except sqlite3.DatabaseError as error:
            raise SourceUnusable(
                f"{path} cannot be read as an SQLite database ({error}): it is damaged or encrypted. "
                "Check it with `sqlite3 FILE 'PRAGMA integrity_check'`, or restore a backup"
            ) from None
    raise SourceUnusable(f"{path} cannot be opened for reading ({failure}): check the permissions of it and its folder")


def _check_header(path: Path) -> None:
    try:
        if path.is_dir():
            raise SourceUnusable(f"{path} is a directory: give the file in it, usually vestige.db")
        if path.exists() and not path.is_file():  # reading a named pipe would wait for a writer for ever
            raise SourceUnusable(f"{path} is no regular file: give Vestige's database with --sqlite-path")
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
    except FileNotFoundError:
        raise SourceUnusable(f"{path} does not exist: give Vestige's database with --sqlite-path") from None
    except PermissionError:
        raise SourceUnusable(f"{path} cannot be read: permission denied") from None
    except OSError as error:
        raise SourceUnusable(f"{path} cannot be read: {error.strerror}") from None
    if not start:
        raise SourceUnusable(f"{path} is empty: it is no Vestige database")
    if start != _MAGIC:
        raise SourceUnusable(f"{path} is no SQLite database, or it is encrypted: encrypted files cannot be copied yet")


def _has_wal(path: Path) -> bool:
    wal = path.with_name(path.name + "-wal")
    return wal.exists() and wal.stat().st_size > 0
