"""Which SQLite opens a file: Python's own, or SQLCipher (extra `sqlcipher`) where Vestige keeps it encrypted.

sqlcipher3 (https://github.com/coleifer/sqlcipher3) has the interface of `sqlite3` with classes of its own, so an
`except` clause asks this module for both: `except driver.errors():`. It is imported when the first encrypted file
is opened, and not before.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from vestige_migrate.source.sqlite.quoting import quote_text

KEY_VARIABLE = "VESTIGE_ENCRYPTION_KEY"
"""Where Vestige itself takes the key from. It is never an argument: those are in every process list."""

MAGIC = b"SQLite format 3\x00"
"""How a file that is not encrypted begins."""

PAGE_SIZES = (4096, 8192, 16_384, 32_768, 65_536, 2048, 1024, 512)
"""SQLCipher's own choice first, then Vestige's. Nothing in an encrypted file says which it is."""

_DRIVER = "sqlcipher3.dbapi2"


@dataclass(frozen=True)
class Cipher:
    """What decrypts a file. No `repr` shows the key."""

    key: str = field(repr=False)
    page_size: int = PAGE_SIZES[0]


def key_from_environment() -> str | None:
    """The key, None where it is not set or empty."""
    return os.environ.get(KEY_VARIABLE) or None


def has_sqlcipher() -> bool:
    """Whether the extra `sqlcipher` is installed, and can be loaded."""
    try:
        import_module(_DRIVER)
    except ImportError:
        return False
    return True


def connect(database: Path | str, cipher: Cipher | None, **options: Any) -> sqlite3.Connection:
    """A connection to a file (a path, or a URI with `uri=True`), decrypted with `cipher` unless that is None.

    Takes the options of `sqlite3.connect`. A wrong key or page size shows in the first read, as SQLITE_NOTADB.
    """
    connection: sqlite3.Connection
    if cipher is None:
        connection = sqlite3.connect(database, **options)
        return connection
    connection = import_module(_DRIVER).connect(str(database), **options)
    with closed_on_error(connection):
        # Its own log goes to standard error, past ours.
        connection.execute("PRAGMA cipher_log_level = NONE")
        # As Vestige gives it: a passphrase, or 64 hex digits as x'...', which SQLCipher reads out of the text itself
        # (https://www.zetetic.net/sqlcipher/sqlcipher-api/#PRAGMA_key).
        connection.execute(f"PRAGMA key = {quote_text(cipher.key)}")
        connection.execute(f"PRAGMA cipher_page_size = {cipher.page_size}")
    return connection


@contextmanager
def closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    """Closes a connection that nobody will get because making it ready failed; what failed goes on."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def file_errors() -> tuple[type[OSError | sqlite3.Error], ...]:
    """`OSError`, and `Error` of every driver in use."""
    return (OSError, *errors())


def errors() -> tuple[type[sqlite3.Error], ...]:
    """`Error` of every driver in use."""
    return _of("Error")


def database_errors() -> tuple[type[sqlite3.DatabaseError], ...]:
    """`DatabaseError` of every driver in use."""
    return _of("DatabaseError")


def operational_errors() -> tuple[type[sqlite3.OperationalError], ...]:
    """`OperationalError` of every driver in use."""
    return _of("OperationalError")


def integrity_errors() -> tuple[type[sqlite3.IntegrityError], ...]:
    """`IntegrityError` of every driver in use."""
    return _of("IntegrityError")


def _of(name: str) -> tuple[Any, ...]:
    return tuple(getattr(module, name) for module in (sqlite3, sys.modules.get(_DRIVER)) if module is not None)
