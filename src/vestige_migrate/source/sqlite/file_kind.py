"""What kind of file a path leads to, judged before SQLite is asked."""

from __future__ import annotations

import codecs
import math
import os
import re
import shlex
import stat
from collections import Counter
from enum import Enum
from pathlib import Path

from vestige_migrate import vestige4
from vestige_migrate.errors import SourceUnusable
from vestige_migrate.paths import shown
from vestige_migrate.source.sqlite.driver import KEY_VARIABLE, MAGIC, has_sqlcipher, key_from_environment
from vestige_migrate.source.sqlite.header import HEADER_BYTES, size_is_current, whole_bytes
from vestige_migrate.source.sqlite.raw_file import raw_file

_SAMPLE_BYTES = 4096
_NOISE = 0.9
"""Of the most there can be: 512 encrypted bytes and more have above 0.93, machine code and office files 0.7."""
_SMALLEST_PAGE = 512


class FileKind(Enum):
    """What a database is written as."""

    PLAIN = "SQLite's own format"
    ENCRYPTED = "SQLCipher's: pages of what looks like noise"


def check_kind(path: Path) -> FileKind:
    """Raises `SourceUnusable`, which says what is there instead, unless the path leads to an SQLite database.

    One that may be encrypted passes where it can be opened: with the extra and a key.

    SQLite's file format, section 1.3 "The Database Header" (https://sqlite.org/fileformat2.html).
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise SourceUnusable(_no_file(path, found.st_mode))
        with raw_file(path) as file:
            start = file.read(_SAMPLE_BYTES)
    except FileNotFoundError:
        raise SourceUnusable(_missing(path)) from None
    except PermissionError:
        raise SourceUnusable(f"{path} cannot be read: permission denied") from None
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise SourceUnusable(f"{path} cannot be read: {reason}") from None
    detached = vestige4.detached_wal(path)
    if detached is not None:
        raise SourceUnusable(detached)
    if not start:
        raise SourceUnusable(f"{path} is an empty file (0 bytes), and no Vestige database")
    if not start.startswith(MAGIC):
        _check_encrypted(path, start, found.st_size)
        return FileKind.ENCRYPTED
    if len(start) < HEADER_BYTES:
        raise SourceUnusable(f"{path} is a truncated SQLite database: it ends after {len(start)} bytes. {_RESTORE}")
    _check_length(path, start, found.st_size)
    return FileKind.PLAIN


_RESTORE = "Restore a backup, or copy the file again from where it came from"


_GIVE = "give Vestige's database with --sqlite-path"

EXPORT = "vestige portable-export FILE"
NO_ARCHIVE = (
    f"JSON without archiveFormat, so no portable archive of Vestige either. `{EXPORT}` writes one (`vestige export` "
    "does not: it leaves out most of what a memory is)"
)
"""What is said of JSON that is something else."""

_LIST_OF_OBJECTS = re.compile(rb"\s*\[\s*[{\]]")
"""How what `vestige export` writes begins."""

_PACKED = (
    (b"\x1f\x8b", "gzip -dc"),
    (b"BZh", "bzip2 -dc"),
    (b"\xfd7zXZ\0", "xz -dc"),
    (b"\x28\xb5\x2f\xfd", "zstd -dc"),
    (b"PK\3\4", "unzip -p"),
)
"""How a packed file begins, and the command that writes what is in it to standard output."""


def _missing(path: Path) -> str:
    if path.is_symlink():
        return f"{path} is a symbolic link to {path.readlink()}, which does not exist"
    return f"{path} does not exist: {vestige4.explain(path) or _GIVE}"


def _no_file(path: Path, mode: int) -> str:
    if not stat.S_ISDIR(mode):
        return f"{path} is a device, pipe or socket, and no file: {_GIVE}"
    explained = vestige4.explain(path)
    if explained is not None:
        return f"{path} is a directory: {explained}"
    inside = path / vestige4.DATABASE_NAME
    hint = f"give {inside}" if inside.exists() else f"give the file in it, usually {vestige4.DATABASE_NAME}"
    return f"{path} is a directory: {hint}"


def _check_encrypted(path: Path, start: bytes, size: int) -> None:
    """Raises `SourceUnusable` unless the file may be encrypted and there is all it takes to open it."""
    packed = next((command for mark, command in _PACKED if start.startswith(mark)), None)
    if packed is not None:
        raise SourceUnusable(
            f"{path} is packed: unpack it, and give what comes out ({packed} {shlex.quote(shown(path))} > NEW-FILE)"
        )
    if _is_text(start):
        is_export = _LIST_OF_OBJECTS.match(start.removeprefix(codecs.BOM_UTF8)) is not None
        raise SourceUnusable(f"{path} is a text file, and no SQLite database: {NO_ARCHIVE if is_export else _GIVE}")
    explained = vestige4.explain(path)
    if explained is not None or not _looks_like_noise(start):
        raise SourceUnusable(f"{path} is no SQLite database: {explained or _GIVE}")
    if size % _SMALLEST_PAGE:
        raise SourceUnusable(
            f"{path} is no SQLite database, or an encrypted one that was cut short ({size} bytes are no whole pages). "
            f"{_RESTORE}"
        )
    key = key_from_environment()
    if key is None:
        raise SourceUnusable(
            f"{path} is no SQLite database, or it is encrypted: where Vestige runs with {KEY_VARIABLE}, set the same "
            "key here"
        )
    if not has_sqlcipher():
        raise SourceUnusable(
            f"{path} is encrypted, and what opens it is not installed: pip install 'vestige-migrate[sqlcipher]'"
        )
    try:
        key.encode()
    except UnicodeEncodeError:
        # Not even as a cause: it quotes the key.
        raise SourceUnusable(f"the key in {KEY_VARIABLE} is no valid UTF-8: {path} cannot be opened with it") from None


def _looks_like_noise(start: bytes) -> bool:
    """Whether the bytes are as evenly spread as encrypted ones: their entropy is next to the most there can be."""
    shares = [count / len(start) for count in Counter(start).values()]
    entropy = -sum(share * math.log2(share) for share in shares)
    return entropy > _NOISE * min(8.0, math.log2(len(start)))


def _is_text(start: bytes) -> bool:
    """Whether this is the beginning of UTF-8 text; a character that the sample cuts in two is let pass."""
    if b"\0" in start:
        return False
    try:
        start.decode()
    except UnicodeDecodeError as error:
        return len(start) == _SAMPLE_BYTES and error.start >= _SAMPLE_BYTES - 3
    return True


def begins_plain(path: Path) -> bool:
    """Whether the file, which can be read, begins as SQLite's own format does."""
    with raw_file(path) as file:
        return file.read(len(MAGIC)) == MAGIC


def _check_length(path: Path, header: bytes, size: int) -> None:
    """Raises `SourceUnusable` where the file is shorter than its header says.

    The header's page count is to be believed where the change counter stands beside it unchanged, and where no WAL
    can hold the pages that are missing here.
    """
    if not size_is_current(header) or sidecar(path, "-wal"):
        return
    whole = whole_bytes(header)
    if size < whole:
        raise SourceUnusable(
            f"{path} is a truncated SQLite database: it has {size} of the {whole} bytes in its header. {_RESTORE}"
        )


def sidecar(path: Path, suffix: str) -> Path | None:
    """The file that SQLite keeps beside a database (`-wal`, `-journal`), where it is there and not empty."""
    real = Path(os.path.realpath(path))  # `resolve` raises where a link leads to itself
    beside = real.with_name(real.name + suffix)
    try:
        return beside if beside.stat().st_size > 0 else None
    except OSError:
        return None
