"""Reading a database's file without SQLite, so that nobody's locks on it are lost.

POSIX takes away every lock that a process has on a file as soon as the process closes any descriptor of that file, also
one that had nothing to do with the lock. SQLite's connections hold such locks: without them another program that closes
its own last connection takes the log away (`-wal`) under ours, which go on with pages that are not there any more
(https://sqlite.org/howtocorrupt.html, section 2.2). So a descriptor is closed only when the process has no others of
that file; until then it is kept.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd"), Path("/dev/fd")
"""The process's own, on Linux and on macOS. Windows has no such locks."""
_lock = threading.Lock()
_kept: list[FileIO] = []


@contextmanager
def raw_file(path: Path) -> Iterator[FileIO]:
    """The file, opened to be read. Raises OSError where it cannot be opened."""
    file = _kept_for(path) or path.open("rb", buffering=0)  # what was read once may have changed
    try:
        yield file
    finally:
        with _lock:
            _kept.append(file)
            _close_what_may_be_closed()


def _kept_for(path: Path) -> FileIO | None:
    """A descriptor of that file which was kept, at its beginning: else each look would keep one more."""
    found = path.stat()
    with _lock:
        for file in _kept:
            if _identity(file.fileno()) == (found.st_dev, found.st_ino):
                _kept.remove(file)
                file.seek(0)
                return file
    return None


def _close_what_may_be_closed() -> None:
    open_files = _open_files()
    ours = Counter(_identity(file.fileno()) for file in _kept)
    for file in list(_kept):
        identity = _identity(file.fileno())
        if open_files is None or open_files[identity] <= ours[identity]:
            _kept.remove(file)
            file.close()


def _open_files() -> Counter[tuple[int, int]] | None:
    """How many descriptors of each file this process has; None where that is not told."""
    for folder in _DESCRIPTORS:
        try:
            numbers = [int(entry.name) for entry in folder.iterdir()]
        except OSError:
            continue
        found: Counter[tuple[int, int]] = Counter()
        for number in numbers:
            with suppress(OSError):  # that of the listing itself is closed by now
                found[_identity(number)] += 1
        return found
    return None


def _identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino
