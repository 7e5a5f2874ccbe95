"""Private folders for copies of a source, and what a killed run left of them."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from loguru import logger

from vestige_migrate.errors import SourceUnusable
from vestige_migrate.shared_folders import private_parent

PREFIX = "vestige-migrate-snapshot-"
_MADE = re.compile(re.escape(PREFIX) + "[a-z0-9_]{8}")
"""A name as `tempfile.mkdtemp` makes them, and no folder that somebody has named so and keeps something in."""
_LOCK = ".in-use"
_UNLOCKED_SECONDS = 60.0
"""A folder without its lock may be one that another run is making at this moment."""
_MIB = 1024 * 1024


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder for the owner alone (mode 0700) in TMPDIR, gone when the context ends; elsewhere where other accounts
    could exchange it there.

    One that a kill left behind is removed by the next run; a lock, which the system lets go of with its process,
    tells it from one that is in use. Raises `SourceUnusable` where no folder can be made.
    """
    try:
        remove_leftovers()
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=private_parent()))
    except OSError as error:
        raise SourceUnusable(
            f"no folder for a private copy of the source could be made ({error.strerror}): set TMPDIR to one that can "
            "be written to"
        ) from None
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _try_lock(lock)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextmanager
def kept(paths: Iterable[Path]) -> Iterator[None]:
    """Keeps every run from removing these sources as a leftover, until the context ends.

    What a killed run left may be the only copy of a memory that there is; whoever gives it as a source wants it.
    """
    with ExitStack() as held:
        for path in paths:
            with suppress(OSError):
                real = Path(os.path.realpath(path))
                for folder in real.parents:
                    if folder.name.startswith(PREFIX):
                        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                        held.callback(os.close, lock)
                        _try_lock(lock, shared=True)
        yield


def remove_leftovers() -> None:
    """Removes the folders of runs that are gone."""
    for folder in private_folders():
        if _MADE.fullmatch(folder.name) is None:
            continue
        try:
            found = folder.lstat()
            if found.st_uid == os.geteuid() and folder.is_dir() and not folder.is_symlink() and _is_left(folder):
                shutil.rmtree(folder)
                logger.info("removed {}, which an earlier run left behind", folder)
        except OSError as error:
            logger.debug("{} stays: {}", folder, error.strerror)


def private_folders() -> list[Path]:
    """Every folder of a run that there is, of other accounts too. Raises OSError."""
    parents = dict.fromkeys((tempfile.gettempdir(), private_parent()))
    return [folder for parent in parents for folder in Path(parent).glob(f"{PREFIX}*")]


def _is_left(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return time.time() - folder.stat().st_mtime > _UNLOCKED_SECONDS
    try:
        return _try_lock(lock)
    finally:
        os.close(lock)


def _try_lock(descriptor: int, shared: bool = False) -> bool:
    """Whether the lock is ours now, or also ours where it may be shared.

    Where the system has none of this kind, nothing counts as left behind.
    """
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def check_space(folder: Path, path: Path, needed: int) -> None:
    """Raises `SourceUnusable` where a copy of `needed` bytes of the source at `path` does not fit beside `folder`."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SourceUnusable(
            f"a private copy of {path} needs {-(-needed // _MIB)} MiB in {folder.parent}, and {free // _MIB} MiB are "
            "free there: free space, or set TMPDIR to a folder with more"
        )
