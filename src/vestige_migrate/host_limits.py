"""Limits of the machine that a run may meet (memory, processes, open files), in the operator's words.

A process that may not have more memory, another thread or another file learns it through many exceptions, most of
which look like a mistake of the program's own.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from vestige_migrate.errors import HostUnusable, MigrationError

_MEMORY_WORDS = ("failed to map segment", "cannot allocate memory", "cannot apply additional memory protection")
"""What the dynamic loader says where a library does not fit into the address space (ImportError has no errno)."""
_THREAD_WORDS = ("can't start new thread", "can't start joinable thread")
"""CPython's RuntimeError, until 3.12 and later."""
_MEMORY_ERRNOS = (errno.ENOMEM,)
_FILE_ERRNOS = (errno.EMFILE, errno.ENFILE)


def describe_limit(error: BaseException | None, starting: bool = False) -> str | None:
    """What ran out, the limit, and what to do about it; None where the error, or what caused it, is none of these.

    `starting`: a process was to be started, so EAGAIN is the limit on processes (fork(2)); elsewhere it may be
    anything.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        found = _describe(error, starting)
        if found is not None:
            return found
        error = error.__cause__ or error.__context__
    return None


def suspected_limit(error: BaseException) -> str | None:
    """The limit on memory, where one is set and the error is of a kind that the lack of it leads to.

    CPython and C extensions that get no memory while they are loaded raise SystemError, ImportError and what not.
    """
    is_of_a_kind = isinstance(error, SystemError | ImportError | AttributeError | RuntimeError)
    return no_memory() if is_of_a_kind and _limit("RLIMIT_AS", 1024) is not None else None


@contextmanager
def limits_refuse() -> Iterator[None]:
    """What runs into a limit inside of this, where nothing has been written yet, raises `HostUnusable`."""
    try:
        yield
    except MigrationError:
        raise
    except Exception as error:
        limit = describe_limit(error) or suspected_limit(error)
        if limit is None:
            raise
        raise HostUnusable(f"{limit}. Nothing was written") from error


def _describe(error: BaseException, starting: bool) -> str | None:
    code = error.errno if isinstance(error, OSError) else None
    text = str(error).lower() if isinstance(error, (ImportError, OSError, RuntimeError)) else ""
    if isinstance(error, MemoryError) or code in _MEMORY_ERRNOS or any(words in text for words in _MEMORY_WORDS):
        return no_memory()
    if isinstance(error, RuntimeError) and any(words in text for words in _THREAD_WORDS):
        return no_processes()
    if starting and code == errno.EAGAIN:
        return no_processes()
    if code in _FILE_ERRNOS:
        return no_files()
    return None


def no_memory() -> str:
    """Memory or address space ran out."""
    limit = _limit("RLIMIT_AS", 1024)
    known = f"ulimit -v allows {limit} KiB of address space" if limit is not None else "ulimit -v is unlimited"
    return (
        f"memory ran out ({known}; a container or the machine may have a limit of its own): raise the limit, lower "
        "--workers and --batch-size, or run where there is more memory"
    )


def no_processes() -> str:
    """No process or thread can be started."""
    limit = _limit("RLIMIT_NPROC", 1)
    known = f"ulimit -u allows {limit}, for all of this user's" if limit is not None else "ulimit -u is unlimited"
    memory = _limit("RLIMIT_AS", 1024)
    if memory is not None:  # each needs room for its stack: the system does not say which of the two it was
        known += f"; ulimit -v allows {memory} KiB of address space"
    return (
        f"no more processes or threads can be started ({known}; a container may have a limit of its own, pids.max): "
        "raise the limit, end other programs, or lower --workers and --max-connections"
    )


def no_files() -> str:
    """No file, pipe or connection can be opened."""
    limit = _limit("RLIMIT_NOFILE", 1)
    known = f" (ulimit -n allows {limit})" if limit is not None else ""
    return f"no more files and connections can be opened{known}: raise the limit, or lower --workers"


def _limit(name: str, unit: int) -> int | None:
    """The limit in force; None where there is none, or the system has no such limits (Windows)."""
    if sys.platform == "win32":
        return None
    import resource

    number = getattr(resource, name, None)
    if number is None:
        return None
    soft: int = resource.getrlimit(number)[0]
    return None if soft == resource.RLIM_INFINITY else soft // unit
