"""How worker processes are started: from a fork server, with a socket that fits, one thread each and no main module."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import multiprocess
from multiprocess import forkserver, resource_tracker, util
from multiprocess import process as process_module

from vestige_migrate.errors import HostUnusable
from vestige_migrate.host_limits import describe_limit
from vestige_migrate.paths import can_enter_working_folder
from vestige_migrate.process_life import LONGEST_FOLDER, usual_folder, without_main_module
from vestige_migrate.shared_folders import others_can_exchange
from vestige_migrate.workers.engine import NotStarted
from vestige_migrate.workers.fork_server import FOLDER_VARIABLE, last_words

_SHORT_FOLDERS = ("/tmp", "/var/tmp")
START_SECONDS = 30.0
"""How long the start of a process may take: it needs some milliseconds, and the imports of the first one a second."""


UNKNOWN_CODE = 255
"""What `multiprocess` calls the end of a process whose fork server is gone."""


_loaded_first: list[str] = []
"""What the fork server loads, so that its forks have it."""


def warm_up(worker_module: str) -> None:
    """Lets the fork server begin its imports now, while the coordinator looks at both ends; returns at once.

    `worker_module` is what the coming job's workers work with. One that runs already loads nothing more: its forks do.

    Raises `HostUnusable` where it cannot be started.
    """
    if worker_module not in _loaded_first:
        _loaded_first.append(worker_module)
    try:
        if context().get_start_method() == "forkserver":
            with _environment(_ONE_THREAD), _working_folder():
                _start_fork_server()
    except NotStarted as error:
        raise HostUnusable(f"worker processes cannot be started: {error}") from None


def context() -> Any:
    """Forkserver where there is one: forking after a thread or a connection exists breaks libpq, and a spawned
    interpreter would import everything once a worker."""
    if "forkserver" not in multiprocess.get_all_start_methods():
        return multiprocess.get_context("spawn")
    context = multiprocess.get_context("forkserver")
    context.set_forkserver_preload(["vestige_migrate.workers.fork_server", *_loaded_first])
    return context


def pipe(context: Any) -> tuple[Any, Any]:
    """Both ends of a pipe to a worker. Raises `NotStarted`."""
    try:
        ends: tuple[Any, Any] = context.Pipe()
    except OSError as error:
        raise NotStarted(_why(error)) from error
    return ends


def start(process: Any) -> None:
    """Starts a worker process, inside of `starting`. Raises `NotStarted`.

    `multiprocess` asks the fork server and waits for its answer for ever. One that stands still is ended after a while,
    which is an answer, and another is asked.
    """
    ended: list[int] = []
    try:
        if not _start(process, ended):
            _start_fork_server()
            ended.clear()
            if not _start(process, ended):
                raise NotStarted("the process that starts the others (the fork server) stands still")
    except (OSError, EOFError, RuntimeError, MemoryError) as error:
        raise NotStarted(_why(error)) from error


def _start(process: Any, ended: list[int]) -> bool:
    """Whether it was started; False where the fork server had to be ended, whose number is in `ended` then."""
    watchdog = threading.Timer(START_SECONDS, _end_fork_server, args=(ended,))
    watchdog.daemon = True
    watchdog.start()
    try:
        process.start()
    except (OSError, EOFError):
        if not ended:
            raise
        return False
    finally:
        watchdog.cancel()
    return True


def let_go(process: Any, seconds: float) -> None:
    """Waits for the end of a killed process, at most so long: one that hangs in the kernel does not even die of that.

    Nobody waits for it afterwards, at the end of this program either.
    """
    process.join(seconds)
    if process.is_alive():
        process_module._children.discard(process)


def why_ended(process: Any) -> str | None:
    """What a process left behind about its end, where it came to that."""
    return last_words(_socket_place(), process.pid)


def _end_fork_server(ended: list[int]) -> None:
    pid = forkserver._forkserver._forkserver_pid
    if pid is not None:  # it is our child, and nobody has waited for it: the number is its own
        ended.append(pid)
        os.kill(pid, signal.SIGKILL)


def _why(error: BaseException) -> str:
    limit = describe_limit(error, starting=True)
    if limit is not None:
        return limit
    left = last_words(_socket_place(), forkserver._forkserver._forkserver_pid)
    if left is not None:
        return left
    if isinstance(error, EOFError | BrokenPipeError | ConnectionError):
        return (
            "the process that starts the others (the fork server) ended or stood still, and nobody knows why; the "
            "kernel's log may (dmesg, journalctl -k)"
        )
    return f"{type(error).__name__}: {error}"  # of the system, or of multiprocess: no rows were near


def _socket_place() -> str | None:
    """The folder of the fork server's socket, where there is one by now."""
    folder = process_module.current_process()._config.get("tempdir")
    return str(folder) if folder is not None else None


@contextmanager
def starting() -> Iterator[None]:
    """Worker processes are started inside this context. Raises `NotStarted`."""
    with without_main_module(), _environment(_ONE_THREAD), _working_folder():
        if context().get_start_method() == "forkserver":
            _start_fork_server()
        yield


def _start_fork_server() -> None:
    """Starts it deaf to Ctrl-C, which reaches the whole terminal group: until its interpreter had come as far as to
    ignore it, it would print a traceback. Workers inherit that; the coordinator decides what Ctrl-C means."""
    folder = _place_socket()
    with _environment(_SAFE_PATH):
        try:
            resource_tracker.ensure_running()  # first: it unblocks SIGINT here when it has started its process
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                with _environment({FOLDER_VARIABLE: folder, **_memory_is_kept()}):
                    forkserver.ensure_running()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except (OSError, MemoryError) as error:
            raise NotStarted(_why(error)) from error


def _place_socket() -> str:
    """Lets `multiprocess` put the fork server's socket where its path fits; returns the folder.

    It takes TMPDIR, however long that is, and fails with "AF_UNIX path too long". Only the socket goes elsewhere;
    snapshots stay in TMPDIR. Raises `HostUnusable` where no folder will do.
    """
    with _temporary_folder(_socket_folder()):
        return str(util.get_temp_dir())  # makes it, has it removed at exit, and remembers it


def _socket_folder() -> str:
    usual = usual_folder()
    usable = [
        folder
        for folder in (usual, *_SHORT_FOLDERS)
        if len(os.fsencode(folder)) <= LONGEST_FOLDER and os.access(folder, os.W_OK | os.X_OK)
    ]
    # Whoever could put a socket of his own there would be sent what the workers are told.
    for folder in (*(each for each in usable if not others_can_exchange(each)), *usable):
        return folder
    raise HostUnusable(
        f"the path of {usual} is too long for the socket of the worker processes: set TMPDIR to a folder with a path "
        f"of less than {LONGEST_FOLDER} bytes"
    )


@contextmanager
def _temporary_folder(folder: str) -> Iterator[None]:
    before = tempfile.tempdir
    tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextmanager
def _working_folder() -> Iterator[None]:
    """Starts processes from `/` where the working folder is gone, or may not be entered by its name.

    `multiprocess` has each of them change to it. All paths that ours are given are absolute.
    """
    if can_enter_working_folder():
        yield
        return
    back = None
    with suppress(OSError):
        back = os.open(".", os.O_RDONLY)
    os.chdir("/")
    try:
        yield
    finally:
        if back is not None:
            with suppress(OSError):
                os.fchdir(back)
            os.close(back)


_ONE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
"""Our processes do linear algebra in one thread each, whatever numpy was built with: the threads of two workers on two
CPUs wait for each other in loops, which cost more than all the rest of a comparison (6 s of CPU a 100,000 vectors)."""


_SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""Both are started as `python -c`, which looks for modules in the current folder first: a file of the operator's that
is called `random.py` would be taken for the library's."""

_KEPT_BYTES = {"MALLOC_MMAP_THRESHOLD_": str(64 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}


def _memory_is_kept() -> dict[str, str]:
    """Lets glibc keep freed memory for the next batch (mallopt(3)), unless the operator has set that.

    A batch makes several buffers of about a megabyte. Given back to the system each time, every 4 KiB of the next ones
    costs a page fault: joining 100,000 memories into COPY streams took 0.17 s of CPU instead of 0.07 s.
    """
    return {name: value for name, value in _KEPT_BYTES.items() if name not in os.environ}


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    """Processes that start now have these variables; our own environment is as it was afterwards."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
