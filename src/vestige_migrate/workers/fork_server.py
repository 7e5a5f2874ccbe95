"""Loaded into the fork server alone: what that process does when the last of ours has ended.

A coordinator that is killed cannot remove the folder of the fork server's socket. The fork server outlives it, until
the last worker is gone.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from vestige_migrate.host_limits import describe_limit
from vestige_migrate.process_life import collect_seldom

FOLDER_VARIABLE = "_VESTIGE_MIGRATE_SOCKET_FOLDER"
"""Set for the fork server alone; whoever else imports this module (for this name) is not changed by it."""

_folder = os.environ.get(FOLDER_VARIABLE)
_coordinator = os.getppid()
_failed = False


def last_words(folder: str | None, pid: int | None) -> str | None:
    """What the fork server, or a worker that came no further, wrote about its end; None where it wrote nothing."""
    if folder is None or pid is None:
        return None
    with suppress(OSError, UnicodeError), _words_of(folder, pid).open(encoding="utf-8") as file:
        return file.read() or None
    return None


def _words_of(folder: str, pid: int) -> Path:
    return Path(folder) / f"end-{pid}"


def _leave_words(kind: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> None:
    """In place of a traceback on the operator's terminal: the coordinator reads it, and says it in one line."""
    global _failed
    _failed = True
    text = describe_limit(error, starting=True) or f"an unexpected {kind.__name__}"
    if _folder is not None:
        with suppress(OSError, MemoryError), _words_of(_folder, os.getpid()).open("w", encoding="utf-8") as file:
            file.write(text)


def _remove_folder() -> None:
    """A coordinator that lives after a failure of this process reads in the folder why, and needs it for another one.

    Any other end is the coordinator's own, which may have been killed. Whether it is gone by now does not show in the
    parent's number: the kernel closes a process's pipes, which is what is seen here, before it gives its children away.
    """
    if _folder is not None and not (_failed and os.getppid() == _coordinator):
        shutil.rmtree(_folder, ignore_errors=True)


if _folder is not None:
    sys.excepthook = _leave_words
    import numpy.ma  # noqa: F401  `numpy.unique` imports it when it is first called: 0.03 s of CPU in each worker

    collect_seldom()  # workers are forks: they have it too
    # Runs last. An interpreter that takes itself apart needs 0.1 s of CPU more, and nobody looks at how this one ends.
    atexit.register(os._exit, 0)
    atexit.register(_remove_folder)
