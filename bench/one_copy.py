"""Runs one command and says what it cost: `python -m bench.one_copy RESULT.json command argument ...`.

A process of its own, because the kernel's account of a whole process tree is exact only for the process that all of
it is waited for by. This one declares itself the subreaper, so the forkserver and the workers, which the coordinator
does not wait for, come to it in the end: CPU seconds and peak memory are the kernel's own figures, nothing is sampled
and nothing missed. It waits for every one of them, so a process left running makes the benchmark fail.

Standard library only and small: a child's `ru_maxrss` starts at what its parent held when it was forked.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

_PR_SET_CHILD_SUBREAPER = 36
_LEFTOVER_SECONDS = 20


def _adopt_orphans() -> None:
    if sys.platform != "linux":
        raise SystemExit("the benchmark measures memory and CPU through Linux's subreaper: run it on Linux")
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _cpu_seconds(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def _left_over(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(f"a process of the copy still runs {_LEFTOVER_SECONDS} s after the copy ended")


def run(command: list[str]) -> dict[str, float | int]:
    """Runs the command; `coordinator` is the process itself, `others` are the forkserver and the workers.

    Peaks are those of the single largest process of each kind, in KiB; `wait4` reports them so.
    """
    _adopt_orphans()
    started = time.monotonic()
    process = subprocess.Popen(command)
    _, status, own = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu, peak = _cpu_seconds(own), 0
    signal.signal(signal.SIGALRM, _left_over)
    signal.alarm(_LEFTOVER_SECONDS)
    while True:
        try:
            _, _, other = os.wait4(-1, 0)
        except ChildProcessError:
            break
        cpu += _cpu_seconds(other)
        peak = max(peak, other.ru_maxrss)
    return {
        "exit_code": process.returncode,
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "coordinator_peak_kib": own.ru_maxrss,
        "others_peak_kib": peak,
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(run(sys.argv[2:])), encoding="utf-8")
