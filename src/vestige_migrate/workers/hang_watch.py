"""Workers that stand still: said after some seconds, ended after a limit, so that nobody waits for them for ever.

Three things look alike from outside. A process that is stopped, or hangs in the kernel, gives no sign of life. One that
hangs in a read of the source (a disk or a file server that does not answer) gives signs, and neither computes nor
reads. One that waits for the server gives signs and says so: it is `destination.connection.watched_connection` that
asks the server then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vestige_migrate.source.sqlite.connect import BUSY_TIMEOUT_SECONDS
from vestige_migrate.workers.messages import Alive

LOOK_EVERY_SECONDS = 1.0
LONGEST_STEP_SECONDS = 2 * LOOK_EVERY_SECONDS
SAY_SILENT_SECONDS = 3.0
SHORTEST_LIMIT_SECONDS = 2 * SAY_SILENT_SECONDS
SAY_READING_SECONDS = 10.0
_CPU_SECONDS = 0.02
"""Less than this between two signs of life is the sign itself, and SQLite's looking whether a lock is gone."""
_BYTES = 1024
"""... as is this: one page of a database has 512 bytes at least, and a source's 4096."""


class AwakeClock:
    """Seconds in which this process was awake, if it looks every second.

    While the whole run is stopped (Ctrl-Z, a laptop that sleeps) no worker gives a sign of life, and none is to blame.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self.now = 0.0

    def tick(self) -> float:
        """The time now."""
        last, self._last = self._last, self._clock()
        self.now += min(self._last - last, LONGEST_STEP_SECONDS)
        return self.now


@dataclass
class Vigil:
    """What is known of the life of one worker; times are of an `AwakeClock`."""

    heard: float
    moved: float
    cpu_seconds: float = 0.0
    bytes_read: int = 0
    ticks: int | None = None
    said: bool = False

    def hear(self, now: float) -> None:
        """It said something that is no mere sign of life, or was given something to do."""
        self.heard = self.moved = now
        self.said = False

    def feel(self, alive: Alive, now: float) -> None:
        """It gave a sign of life."""
        busy = alive.cpu_seconds - self.cpu_seconds >= _CPU_SECONDS or alive.bytes_read - self.bytes_read >= _BYTES
        if busy or alive.waits_for_server:
            self.moved, self.cpu_seconds, self.bytes_read = now, alive.cpu_seconds, alive.bytes_read
        if busy or alive.waits_for_server or now - self.heard >= SAY_SILENT_SECONDS:
            self.said = False
        self.heard = now


@dataclass(frozen=True)
class Found:
    """A worker stands still: what to say of it, and whether it has done so for too long."""

    what: str
    seconds: float
    limit: float

    @property
    def is_over(self) -> bool:
        """Whether it is to be ended."""
        return self.seconds >= self.limit


def look(vigil: Vigil, pid: int, now: float, limit_seconds: float) -> Found | None:
    """Whether this worker stands still by now."""
    silent = now - vigil.heard
    if silent >= SAY_SILENT_SECONDS:
        if _has_computed(vigil, pid):  # a long call that lets no other thread of it run
            vigil.hear(now)
            return None
        return Found(f"gives no sign of life{_state_words(pid)}", silent, max(limit_seconds, SHORTEST_LIMIT_SECONDS))
    reading = now - vigil.moved
    if reading >= SAY_READING_SECONDS:
        # SQLite itself waits that long for a lock: what it says then is better than what we could.
        longer = 2 * max(limit_seconds, BUSY_TIMEOUT_SECONDS)
        return Found("waits for the disk, the file server or a lock of the source", reading, longer)
    return None


def _has_computed(vigil: Vigil, pid: int) -> bool:
    """Whether the process has used the processor since this was last asked, by the system's account of it."""
    before, vigil.ticks = vigil.ticks, _ticks(pid)
    return before is not None and vigil.ticks is not None and vigil.ticks > before


def _stat(pid: int) -> list[str]:
    """The fields of proc_pid_stat(5) from the third on, which is the state; none where there is no such file."""
    try:
        with Path(f"/proc/{pid}/stat").open(encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _ticks(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12]) if len(fields) > 12 else None


def _state_words(pid: int) -> str:
    words = {"T": " (it is stopped: SIGSTOP)", "t": " (a debugger holds it)", "D": " (it waits for a disk)"}
    return words.get((_stat(pid) or [""])[0], "")
