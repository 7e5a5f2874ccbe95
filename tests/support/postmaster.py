"""The process of a bundled server, and what is left of one that is gone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil

from tests.support.own_server import alive
from tests.support.running import wait_until


def postmaster(data: Path) -> int:
    """The number in `postmaster.pid`."""
    return int((data / "postmaster.pid").read_text().splitlines()[0])


def kill(data: Path) -> None:
    """Ends a server at once, so that its `postmaster.pid` stays."""
    pid = postmaster(data)
    children = psutil.Process(pid).children()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid) and not any(alive(child.pid) for child in children), "the server to be gone")


def write_number(data: Path, pid: int) -> None:
    """As if the dead server had had this number, an hour ago."""
    lines = (data / "postmaster.pid").read_text().splitlines()
    lines[0], lines[2] = str(pid), str(int(lines[2]) - 3600)
    (data / "postmaster.pid").write_text("\n".join(lines) + "\n")
