"""The sign of life of a worker process: a thread of it that says every second that it runs, and what it waits for.

A process that was stopped (SIGSTOP, a frozen container) or hangs in the kernel says nothing any more, while one that
waits for a lock or writes a huge row goes on saying so.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from vestige_migrate.destination.connection import reconnect, watched_connection
from vestige_migrate.workers.messages import Alive

BEAT_SECONDS = 1.0

_WAITS_FOR_SERVER = (watched_connection.__file__, reconnect.__file__)
"""Our modules in which a worker waits for the server. How long it may do so is decided there."""


def start_pulse(send: Callable[[Alive], None]) -> None:
    """Begins to say that this process is alive. Raises RuntimeError where no thread can be started.

    Once the coordinator does not listen any more (it has given up on this worker), the process ends.
    """
    main = threading.get_ident()

    def beat() -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            frame = sys._current_frames().get(main)
            try:
                send(Alive(time.process_time(), _bytes_read(), _waits_for_server(frame)))
            except OSError:
                os._exit(1)

    threading.Thread(target=beat, name="pulse", daemon=True).start()


def _waits_for_server(frame: FrameType | None) -> bool:
    """Whether the stack leads into psycopg, or into our own waiting for the server."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file in _WAITS_FOR_SERVER or f"{os.sep}psycopg{os.sep}" in file:
            return True
        frame = frame.f_back
    return False


def _bytes_read() -> int:
    """Bytes that this process has read so far, from the page cache too (proc_pid_io(5)); 0 where nobody counts."""
    try:
        with Path("/proc/self/io").open("rb") as file:
            return int(file.readline().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
