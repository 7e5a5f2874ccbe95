"""Folders in which other accounts of this host could put something else in the place of what is ours."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from loguru import logger

_USUAL = ("/tmp", "/var/tmp")
_told: set[str] = set()


def is_root() -> bool:
    """Whether every file of this host is ours to write to."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def others_can_exchange(folder: str | Path, *trusted_too: int) -> bool:
    """Whether an account that is neither root nor ours (nor one of these) can rename or replace what we make there.

    A folder that everybody may write to will do where it is sticky, as /tmp is: there only owners can rename. Members
    of a folder's group are trusted, as whoever opened it to them does. False where the system has no accounts like
    that, and where nothing can be found out.
    """
    if not hasattr(os, "geteuid"):
        return False
    trusted = {0, os.geteuid(), *trusted_too}
    real = Path(os.path.realpath(folder))
    try:
        for each in (real, *real.parents[:-1]):  # nobody can rename the root
            found = each.stat()
            if found.st_uid not in trusted:
                return True
            if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
                return True
    except OSError:
        return False
    return False


def private_parent() -> str:
    """The folder for private copies: that of temporary files, or one of the usual ones where others could exchange
    the copies in it; it stays where none of those is better. Raises OSError where there is none."""
    given = tempfile.gettempdir()
    if not others_can_exchange(given):
        return given
    for folder in _USUAL:
        if os.access(folder, os.W_OK | os.X_OK) and not others_can_exchange(folder):
            _tell(given, f"{folder} is used instead")
            return folder
    _tell(given, "it is used all the same, since no other is better")
    return given


def _tell(folder: str, what: str) -> None:
    if folder not in _told:
        _told.add(folder)
        logger.warning(
            "another account of this host could exchange what is in {}, the folder for temporary files, and read "
            "memories there: {}. Set TMPDIR to a folder of your own",
            folder,
            what,
        )


def make_folders(folder: Path) -> None:
    """Makes a folder and those above it that are missing, where no other account can write to them, whatever the
    umask is. Raises OSError."""
    for each in reversed([folder, *folder.parents]):
        if not each.is_dir():
            each.mkdir(0o755, exist_ok=True)
