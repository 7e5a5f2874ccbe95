"""Which process is the server of a data directory, proved and not believed.

`postmaster.pid` stays behind when a server is killed, and its number belongs to any other process one day. So a number
counts only for a process of the data directory's owner that runs `postgres` there, and that either began when the file
says or listens at the server's socket. What cannot be seen from here, as in another container, is found by its lock.
"""

from __future__ import annotations

import os
import platform
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vestige_migrate.destination.embedded.account import Account
from vestige_migrate.destination.embedded.address import PORT
from vestige_migrate.destination.embedded.files import read_text, replace_file
from vestige_migrate.destination.embedded.lock import is_alive
from vestige_migrate.destination.embedded.sockets import remembered
from vestige_migrate.errors import DestinationUnusable

if TYPE_CHECKING:
    import psutil

PID_FILE = "postmaster.pid"
_HOST = "vestige.host"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MACHINE = Path("/etc/machine-id")
_READY = ("ready", "standby")
_SAME_START_SECONDS = 2.0
_NOT_SEEN = 0
"""The number of a process in another container, as the kernel tells it."""
_ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class PidFile:
    """The lines of `postmaster.pid` that count (miscadmin.h of PostgreSQL); None where a line is missing or garbled."""

    pid: int | None
    started: int | None
    port: int | None
    sockets: Path | None
    ready: bool


@dataclass(frozen=True)
class Running:
    """A server whose process is proved."""

    pid: int
    sockets: Path | None
    port: int
    ready: bool


def read_pid_file(data: Path) -> PidFile | None:
    """What the file says; None where there is none."""
    text = read_text(data / PID_FILE)
    if text is None:
        return None
    lines = [line.strip() for line in text.split("\n")] + [""] * 8
    # A server in single-user mode has its number negative.
    pid = abs(_number(lines[0]) or 0) or None
    folder = Path(lines[4]) if lines[4].startswith("/") else None
    return PidFile(pid, _number(lines[2]), _number(lines[3]), folder, lines[7] in _READY)


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def find_server(data: Path) -> Running | None:
    """The server that runs on this data directory, or None where it is proved that none does.

    Raises `DestinationUnusable` where a server may be at work that cannot be proved to be this one.
    """
    file = read_pid_file(data)
    alive = is_alive(data)
    if file is None and not alive:
        return None
    told = file or PidFile(None, None, None, None, False)
    folder, port = told.sockets or remembered(data), told.port or PORT
    listener = _listener(folder, port)
    unproved = None
    for process in _candidates(data, told.pid):
        if listener == process.pid or _began(process, told):
            return Running(process.pid, folder, port, told.ready or listener == process.pid)
        unproved = process.pid
    if unproved is not None:
        raise DestinationUnusable(
            f"process {unproved} runs postgres in {data}, and {data / PID_FILE} does not prove that it is its server: "
            "it is left alone. Look what it is, end it yourself, and run again"
        )
    if listener is not None or alive:
        raise DestinationUnusable(
            f"a server runs on {data} that cannot be seen from here (in another container, or as another account): "
            "stop it where it was started, or give its URL. Two servers on the same data would destroy it"
        )
    if _left_elsewhere(data):
        raise DestinationUnusable(
            f"{data / PID_FILE} was left by a server on another host, which may run still: two servers on the same "
            f"data would destroy it. If none runs there, remove {data / PID_FILE} and run again"
        )
    return None


def lives(pid: int) -> bool:
    """Whether a process is there and is not only waiting to be asked how it ended."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _candidates(data: Path, pid: int | None) -> list[psutil.Process]:
    """Postmasters in this data directory: the one of the file, else any."""
    import psutil

    if pid is not None:
        with suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            if _is_postmaster(process, data):
                return [process]
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if _is_postmaster(process, data):
                found.append(process)
    return found


def _is_postmaster(process: psutil.Process, data: Path) -> bool:
    import psutil

    owner = data.stat()
    if process.name() != "postgres" or process.status() == psutil.STATUS_ZOMBIE:
        return False
    if process.uids().effective != owner.st_uid or not os.path.samestat(Path(process.cwd()).stat(), owner):
        return False
    # Its children have the same program and folder; they call themselves "postgres: checkpointer" and so on.
    words = process.cmdline()
    return bool(words) and not words[0].startswith("postgres:")


def _began(process: psutil.Process, told: PidFile) -> bool:
    if told.pid != process.pid or told.started is None:
        return False
    return abs(process.create_time() - told.started) <= _SAME_START_SECONDS


def _listener(folder: Path | None, port: int) -> int | None:
    """The number of the process that listens at a socket; None where nothing does, 0 where it is not told."""
    if folder is None:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_ANSWER_SECONDS)
        try:
            probe.connect(os.fsencode(folder / f".s.PGSQL.{port}"))
        except OSError:
            return None
        return _peer(probe)


def _peer(probe: socket.socket) -> int:
    with suppress(OSError):
        if hasattr(socket, "SO_PEERCRED"):
            return int(struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
        if platform.system() == "Darwin":
            return probe.getsockopt(0, 0x002)  # SOL_LOCAL, LOCAL_PEERPID (sys/un.h)
    return _NOT_SEEN


def sign(data: Path, account: Account) -> None:
    """Leaves this host's name in the data directory, for a stale file that is found by another one."""
    replace_file(data / _HOST, "\n".join(_this_host()) + "\n", account)


def _this_host() -> tuple[str, str]:
    """This start of the kernel, and this installation; containers of one host share the first."""
    return _line(_BOOT), _line(_MACHINE) or platform.node()


def _line(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="ascii", errors="replace").strip()
    return ""


def _left_elsewhere(data: Path) -> bool:
    """Whether the last server began on another host, where the lock and the socket would not be seen from here."""
    text = read_text(data / _HOST)
    if text is None:
        return False
    boot, machine = [*text.splitlines(), "", ""][:2]
    here = _this_host()
    return boot != here[0] and machine != here[1]
