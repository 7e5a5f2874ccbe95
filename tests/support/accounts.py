"""What another account of this host can do."""

from __future__ import annotations

import os
import pickle
import pwd
import warnings
from collections.abc import Callable
from typing import Any

STRANGER = "nobody"


def as_stranger(function: Callable[[], Any]) -> Any:
    """What the function returns, or the exception it raised, in a process of the account `nobody`.

    Forked, because that account may not reach the Python that runs the tests: what is loaded already, it has.
    """
    entry = pwd.getpwnam(STRANGER)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork in a process with threads; the child has one
        pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
            try:
                result = function()
            except Exception as error:
                result = error
            os.write(writing, pickle.dumps(result))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    return pickle.loads(told)
