"""SQLCipher twins of plain files, made and read by SQLCipher itself."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from sqlcipher3 import dbapi2

MAGIC = b"SQLite format 3\0"


def open_encrypted(path: Path, key: str, page_size: int = 4096) -> Any:
    """A connection to an encrypted file."""
    connection = dbapi2.connect(str(path))
    connection.execute("PRAGMA cipher_log_level = NONE")
    connection.execute("PRAGMA key = '{}'".format(key.replace("'", "''")))
    connection.execute(f"PRAGMA cipher_page_size = {page_size}")
    return connection


def encrypt(plain: Path, key: str, page_size: int = 4096) -> Path:
    """An encrypted copy beside the plain file, as SQLCipher exports it."""
    target = plain.with_name(f"{plain.stem}-encrypted.db")
    with closing(dbapi2.connect(str(plain))) as connection:
        connection.execute("ATTACH DATABASE ? AS encrypted KEY ?", (str(target), key))
        connection.execute(f"PRAGMA encrypted.cipher_page_size = {page_size}")
        connection.execute("SELECT sqlcipher_export('encrypted')").fetchall()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA encrypted.user_version = {int(version)}")
        connection.execute("DETACH DATABASE encrypted")
    assert not target.read_bytes().startswith(MAGIC)
    return target


def decrypt(path: Path, key: str, page_size: int, target: Path) -> Path:
    """A plain copy of an encrypted file."""
    with closing(open_encrypted(path, key, page_size)) as connection:
        connection.execute("ATTACH DATABASE ? AS plain KEY ''", (str(target),))
        connection.execute("SELECT sqlcipher_export('plain')").fetchall()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA plain.user_version = {int(version)}")
        connection.execute("DETACH DATABASE plain")
    return target
