"""How processes of ours begin and end: what has to come before what, and why. Imports nothing that any of it needs.

- A command arranges its end (`arrange_end`) before it imports anything else, since exit handlers run in reverse order.
- The folder for temporary files is asked for (`usual_folder`) before `multiprocess` is imported, which looks for one
  then and there and fails with a traceback where there is none.
- Workers are started with no main module to import (`without_main_module`).
- Garbage is looked for seldom (`collect_seldom`): in a command while it imports, in workers while they copy.
- A process ends at once when all is said: a command through `leave`, the fork server through its own exit handler.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import tempfile
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from vestige_migrate.errors import HostUnusable

_OBJECTS = 20_000
"""Between two looks for garbage; Python's own number is 700. Imports make many objects that all stay: looking at them
again and again took 0.04 s of the 0.4 s until a command begins. A chunk of rows makes more, none of them garbage before
it is written: looking took 5% of a worker's CPU."""

_LONGEST_SOCKET_PATH = 103
"""Bytes of a Unix socket's path on macOS (`sun_path` without its end); Linux takes four more."""
_SOCKET_IN_FOLDER = "/pymp-xxxxxxxx/listener-xxxxxxxx"
"""What `multiprocess` adds to the folder of temporary files."""
LONGEST_FOLDER = _LONGEST_SOCKET_PATH - len(_SOCKET_IN_FOLDER)
"""Bytes of the path of a folder that the workers' socket fits into."""

_at_once: list[int] = []
_swap = threading.Lock()


def collect_seldom() -> None:
    """Makes this process, and the forks of it, look for garbage less often."""
    gc.set_threshold(_OBJECTS)


def arrange_end() -> None:
    """Before anything else is imported: exit handlers run in reverse order, so this one comes after all others.

    But for loguru's, which the package itself imports: that one closes sinks, and a command has closed its own.
    """
    atexit.register(_leave)


def leave(code: int) -> NoReturn:
    """Ends the process with this exit code: at once, when everything is written and every exit handler has run.

    An interpreter that ends takes itself apart first: it frees all that was imported, one object after the other, some
    0.12 s of CPU after the last line has been printed. The kernel does that at once.
    """
    _at_once.append(code)
    sys.exit(code)


def _leave() -> None:
    if not _at_once:
        return  # an end that we did not choose (an exception before the command ran) goes its usual way
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(_at_once[-1])


def usual_folder() -> str:
    """TMPDIR, or where the system has its own. Raises `HostUnusable` where none can be written to.

    To be asked before `multiprocess` is imported, which looks for it then and there (dill does).
    """
    try:
        return tempfile.gettempdir()
    except OSError:
        raise HostUnusable(
            "there is no folder for temporary files (TMPDIR, /tmp and /var/tmp cannot be written to), and the worker "
            "processes need one: set TMPDIR to a folder that can be written to, with a path of less than "
            f"{LONGEST_FOLDER} bytes"
        ) from None


@contextmanager
def without_main_module() -> Iterator[None]:
    """Keeps a starting worker from importing the caller's main script a second time.

    `multiprocess` does so that functions defined there can be unpickled; ours never are. Without it a worker would
    load the whole command line, and a library user's script would need an `if __name__ == "__main__"` guard. Two runs
    in two threads of one process start their workers one after the other: else the one could put back the other's.
    """
    with _swap:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
