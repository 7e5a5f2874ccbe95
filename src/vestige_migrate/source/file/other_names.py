"""Whether a file is known by another name too, beside which its `-wal` or `-journal` may lie.

SQLite looks for them beside the name that it is given (https://sqlite.org/howtocorrupt.html, section 2.5 "Multiple
links to the same file"): rows in the log of the other name are not seen, and writing to the file destroys it.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from loguru import logger

from vestige_migrate.errors import SourceUnusable
from vestige_migrate.paths import shown
from vestige_migrate.source.sqlite.driver import MAGIC
from vestige_migrate.source.sqlite.file_kind import sidecar
from vestige_migrate.source.sqlite.raw_file import raw_file

_LOGS = ("-wal", "-journal")
_MOUNTS = Path("/proc/self/mountinfo")
_MOUNT_POINT = 4
"""Which word of a line (proc_pid_mountinfo(5))."""
_ESCAPE = re.compile(rb"\\([0-7]{3})")
_WRITE_VERSION = 18
_ROLLBACK = 1
"""The header's byte of a file that is not in WAL mode (https://sqlite.org/fileformat2.html, section 1.3)."""


def check_names(path: Path) -> None:
    """Raises `SourceUnusable` where the rest of the file is beside another name in its folder; says where it may be."""
    real = path.resolve()
    for other in _in_the_same_folder(real):
        for suffix in _LOGS:
            log = sidecar(other, suffix)
            if log is not None:
                raise SourceUnusable(
                    f"{path} is another name of the file {other}, and what was written last may be in {log} only, "
                    f"which SQLite would not look at: give {other}"
                )
    clause = other_name(path)
    if clause is not None and is_in_wal_mode(real) and sidecar(real, "-wal") is None:
        logger.warning(
            "{} {}: where Vestige runs on it, what it wrote last is in a -wal file beside the name that it uses, which "
            "cannot be seen here. Stop Vestige first, or give the file by that name",
            shown(path),
            clause,
        )


def other_name(path: Path) -> str | None:
    """By what the file may have another name, as a clause; None where nothing says so."""
    real = path.resolve()
    links = real.stat().st_nlink
    if links > 1:
        return f"has {links} names (hard links)"
    if os.fsencode(real) in _mount_points():
        return "is mounted by itself, without its folder"
    return None


def _in_the_same_folder(real: Path) -> list[Path]:
    found = real.stat()
    if found.st_nlink < 2:
        return []
    with suppress(OSError), os.scandir(real.parent) as entries:  # not every folder may be listed
        same = [Path(entry.path) for entry in entries if entry.inode() == found.st_ino and entry.name != real.name]
        return [path for path in same if real.samefile(path)]
    return []


def _mount_points() -> set[bytes]:
    """Empty where the system does not tell."""
    try:
        lines = _MOUNTS.read_bytes().splitlines()
    except OSError:
        return set()
    points = (line.split(b" ")[_MOUNT_POINT] for line in lines)
    return {_ESCAPE.sub(lambda found: bytes([int(found[1], 8)]), point) for point in points}


def is_in_wal_mode(real: Path) -> bool:
    """Also where it cannot be told, because the file is encrypted."""
    with raw_file(real) as file:
        header = file.read(_WRITE_VERSION + 1)
    return not header.startswith(MAGIC) or header[_WRITE_VERSION] != _ROLLBACK
