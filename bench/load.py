"""Who used the processors while something was timed: the server, and everything that is none of ours.

Two cores shared with other jobs give other times than two cores alone. The figure stands beside every result, so
that a reader can tell a slow copy from a busy machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_IDLE_FIELDS = (3, 4)
"""idle and iowait among the numbers of /proc/stat's first line (proc(5))."""
_GUEST_FIELDS = 8
"""The two after these are counted in user and nice already."""


@dataclass
class Load:
    """CPU seconds while it was watched; `server` stays None where the server's processes cannot be seen."""

    machine: float = 0.0
    server: float | None = None

    def others(self, ours: float) -> float | None:
        """What neither the server nor `ours` (CPU seconds of the copy) accounts for."""
        return None if self.server is None else max(0.0, self.machine - self.server - ours)


@contextmanager
def watched_load(postmaster: int | None) -> Iterator[Load]:
    """Fills the `Load` that it yields when the block ends."""
    load = Load()
    machine, server = _machine_seconds(), _tree_seconds(postmaster)
    try:
        yield load
    finally:
        load.machine = _machine_seconds() - machine
        after = _tree_seconds(postmaster)
        load.server = after - server if after is not None and server is not None else None


def _machine_seconds() -> float:
    fields = [int(text) for text in (_PROC / "stat").read_text().splitlines()[0].split()[1:]]
    return sum(ticks for at, ticks in enumerate(fields[:_GUEST_FIELDS]) if at not in _IDLE_FIELDS) / _TICKS


def _tree_seconds(postmaster: int | None) -> float | None:
    """Of the postmaster, the backends that it has buried, and the ones that live."""
    if postmaster is None:
        return None
    total = 0
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            own, buried = map(int, fields[11:13]), map(int, fields[13:15])
            if int(entry.name) == postmaster:
                total += sum(own) + sum(buried)
            elif int(fields[1]) == postmaster:
                total += sum(own)
    return total / _TICKS
