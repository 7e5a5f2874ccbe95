"""Opening a source file. Never for writing: only `upgrade` does that."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from vestige_migrate.source.sqlite import driver

BUSY_TIMEOUT_SECONDS = 30.0
"""How long a read waits for a writer that holds the file exclusively."""

_CACHE_KIB = 8192

Identity = tuple[int, int]
"""Device and inode: what SQLite too knows a file by (`SQLITE_FCNTL_HAS_MOVED`)."""


class NotTheFile(sqlite3.OperationalError):
    """Another file has the path of the one to be opened, or none has."""


@dataclass(frozen=True)
class SourceFile:
    """A file to read. `immutable` is for a file that nobody can be writing and whose folder takes no `-shm`.

    `cipher` decrypts it; None where it is not encrypted. `identity` is the very file to be read, whatever the path
    leads to later; None before that is settled.
    """

    path: Path
    immutable: bool = False
    cipher: driver.Cipher | None = None
    identity: Identity | None = None

    def pinned(self) -> SourceFile:
        """The same, and no other file that takes its place. Raises OSError where there is none."""
        return replace(self, identity=identity_of(self.path))

    @property
    def is_in_place(self) -> bool:
        """Whether the path still leads to this file."""
        with suppress(OSError):
            return self.identity in (None, identity_of(self.path))
        return False

    @property
    def uri(self) -> str:
        """An SQLite URI; `?`, `#`, `%` and whatever is not ASCII in the path are escaped."""
        return f"{self.path.absolute().as_uri()}?mode=ro" + ("&immutable=1" if self.immutable else "")


def identity_of(path: Path) -> Identity:
    """Of the file that the path leads to now. Raises OSError where there is none."""
    found = path.stat()
    return found.st_dev, found.st_ino


def open_source(file: SourceFile) -> sqlite3.Connection:
    """A read-only connection in autocommit mode: a read transaction lasts as long as one statement.

    Raises `NotTheFile` where the path leads elsewhere by now: a run that read two files would mix their rows.
    """
    connection = driver.connect(
        file.uri, file.cipher, uri=True, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
    )
    with driver.closed_on_error(connection):
        if not file.is_in_place:  # looked at now that it is open: what took its place before is found, too
            raise NotTheFile(f"{file.path} is another file now, or gone")
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection
