"""Opening a source file. Never for writing: only `upgrade` does that."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from vestige_migrate.source import driver

BUSY_TIMEOUT_SECONDS = 30.0
"""How long a read waits for a writer that holds the file exclusively."""

_CACHE_KIB = 8192


@dataclass(frozen=True)
class SourceFile:
    """A file to read. `immutable` is for a file that nobody can be writing and whose folder takes no `-shm`.

    `cipher` decrypts it; None where it is not encrypted.
    """

    path: Path
    immutable: bool = False
    cipher: driver.Cipher | None = None

    @property
    def uri(self) -> str:
        """An SQLite URI; `?`, `#`, `%` and whatever is not ASCII in the path are escaped."""
        return f"{self.path.absolute().as_uri()}?mode=ro" + ("&immutable=1" if self.immutable else "")


def open_source(file: SourceFile) -> sqlite3.Connection:
    """A read-only connection in autocommit mode: a read transaction lasts as long as one statement."""
    connection = driver.connect(
        file.uri, file.cipher, uri=True, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA query_only = ON")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection
