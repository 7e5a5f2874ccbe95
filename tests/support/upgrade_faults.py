"""Upgrades a file again and again, each time with a fault at another place; run as a script by test_upgrade.py.

    python -m tests.support.upgrade_faults FILE DIRECTORY kill|stop|full|full-wal

Each attempt works on a copy of FILE of its own in a process of its own. `kill` ends it with SIGKILL before the nth
statement, `stop` interrupts SQLite inside a statement (progress handler), `full` lets no file grow past a limit, as a
full disk does; `full-wal` is the same without the backup, which needs more room than the upgrade itself. The attempts'
copies stay in DIRECTORY for the test to look at; the number of attempts goes to standard output.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from vestige_migrate.source.file import upgrade
from vestige_migrate.source.layout.inspect import inspect_source
from vestige_migrate.source.sqlite.connect import SourceFile, open_source

DONE, FAILED = 0, 3
_STEP_BYTES = 4096
_STEP_INSTRUCTIONS = 101


class _Killed(sqlite3.Connection):
    """Ends its process with SIGKILL before the statement number `at`."""

    at = 0

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        type(self).at -= 1
        if type(self).at == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(*arguments)


class _Interrupted(sqlite3.Connection):
    """Interrupts SQLite at its virtual machine's instruction number `at` times `_STEP_INSTRUCTIONS`."""

    at = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.set_progress_handler(self._count, _STEP_INSTRUCTIONS)

    def _count(self) -> int:
        type(self).at -= 1
        return int(type(self).at == 0)


def _kill(at: int) -> None:
    _Killed.at = at
    sqlite3.connect = partial(sqlite3.connect, factory=_Killed)  # type: ignore[assignment]


def _stop(at: int) -> None:
    _Interrupted.at = at
    sqlite3.connect = partial(sqlite3.connect, factory=_Interrupted)  # type: ignore[assignment]


def _full(at: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at * _STEP_BYTES, at * _STEP_BYTES))


_FAULTS: dict[str, Callable[[int], None]] = {"kill": _kill, "stop": _stop, "full": _full, "full-wal": _full}


def main(file: Path, directory: Path, fault: str) -> None:
    """Attempts until one gets through without its fault."""
    at = 0
    while True:
        at += 1
        copy = directory / f"{at}.db"
        shutil.copyfile(file, copy)
        child = os.fork()
        if child == 0:
            run = upgrade.upgrade if fault == "full-wal" else upgrade.upgrade_in_place
            os._exit(_attempt(copy, partial(_FAULTS[fault], at), run))
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == DONE:
            break
    sys.stdout.write(f"{at}\n")


def _attempt(copy: Path, inject: Callable[[], None], run: Callable[[Path], object]) -> int:
    connection = open_source(SourceFile(copy))
    inspect_source(connection, copy)
    connection.close()
    inject()
    try:
        run(copy)
    except Exception:
        return FAILED
    return DONE


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
