"""A folder for a bundled server that goes away after the test."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SERVER_BYTES = 8 * 1024**3


@contextmanager
def server_folder() -> Iterator[Path]:
    """In memory where there is room. Others may pass it: as root the server runs as another account, which has to."""
    with tempfile.TemporaryDirectory(prefix="vestige-test-", dir=in_memory()) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def in_memory() -> Path | None:
    """A folder for the test server, where the machine has one in memory with room: a database a test is thousands of
    files made and deleted, which took a disk half of the suite's time."""
    folder = Path("/dev/shm")
    roomy = folder.is_dir() and os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > _SERVER_BYTES
    return folder if roomy else None
