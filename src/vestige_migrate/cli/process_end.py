"""How a command's process ends: at once, when everything is written and every exit handler has run.

An interpreter that ends takes itself apart first: it frees all that was imported, one object after the other, some
0.12 s of CPU after the last line has been printed. The kernel does that at once.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

_at_once: list[int] = []


def arrange() -> None:
    """Before anything else is imported: exit handlers run in reverse order, so this one comes after all others."""
    atexit.register(_leave)


def leave(code: int) -> NoReturn:
    """Ends the process with this exit code."""
    _at_once.append(code)
    sys.exit(code)


def _leave() -> None:
    if not _at_once:
        return  # an end that we did not choose (an exception before the command ran) goes its usual way
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(_at_once[-1])
