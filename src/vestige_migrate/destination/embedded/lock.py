"""Two locks of a data directory: one command at a time starts or stops its server, and the server shows it lives."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loguru import logger

from vestige_migrate.destination.embedded.account import Account
from vestige_migrate.destination.embedded.files import open_own
from vestige_migrate.destination.embedded.place import LOCK
from vestige_migrate.errors import DestinationBusy, DestinationUnusable

ALIVE = "vestige.alive"
"""Locked by the server itself: its processes inherit the descriptor, and the kernel lets go when the last one ends.

Unlike a number in `postmaster.pid` it is right in another container too, and when numbers are used again.
"""
_WAIT_SECONDS = 180.0
_SAY_AFTER_SECONDS = 2.0
_PAUSE = 0.05


@contextmanager
def one_at_a_time(data: Path, account: Account) -> Iterator[None]:
    """Holds the data directory against other commands of this program. Raises `DestinationBusy` after minutes."""
    descriptor = _acquire(data, account)
    try:
        yield
    finally:
        os.close(descriptor)


def _acquire(data: Path, account: Account) -> int:
    import fcntl

    started, said = time.monotonic(), False
    while True:
        descriptor = open_own(data / LOCK, os.O_RDWR, account)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, data / LOCK):
                return descriptor
        except BlockingIOError:
            pass
        except OSError as error:
            os.close(descriptor)
            raise DestinationUnusable(
                f"{data / LOCK} cannot be locked ({error.strerror}): its file system has no locks, and without them "
                "two servers could run on the same data. Give a directory on another one with --postgres-url "
                "embedded:DIR"
            ) from None
        os.close(descriptor)
        waited = time.monotonic() - started
        if waited > _WAIT_SECONDS:
            raise DestinationBusy(
                f"another run has been starting or stopping the bundled PostgreSQL on {data} for {waited:.0f} s: wait "
                "until it has ended, then run again"
            )
        if waited > _SAY_AFTER_SECONDS and not said:
            said = True
            logger.info("another run is starting or stopping the bundled PostgreSQL on {}: waiting for it", data)
        time.sleep(_PAUSE)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the locked file is still the one of that name: a run that failed takes its new folder back."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    return False


def take_alive(data: Path, account: Account, seconds: float = 10.0) -> int | None:
    """The descriptor for a new server to inherit; None where a server holds it, also after so many seconds.

    The last processes of one that was killed go a moment after it.
    """
    import fcntl

    descriptor = open_own(data / ALIVE, os.O_RDWR, account)
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                return None
            time.sleep(_PAUSE)
        else:
            return descriptor


def is_alive(data: Path) -> bool:
    """Whether a server that this program started holds its lock, seen from here or not."""
    import fcntl

    try:
        descriptor = os.open(data / ALIVE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
