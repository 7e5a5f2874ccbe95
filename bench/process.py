"""One command, run to its end in a process group of its own, with the kernel's account of what it cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.check import CopyFailed

ROOT = Path(__file__).parent.parent
URL_VARIABLE = "VESTIGE_POSTGRES_URL"
_TIMEOUT_SECONDS = 3 * 3600
_KIB_PER_MIB = 1024


@dataclass(frozen=True)
class Cost:
    """`coordinator_mib` is the peak of the process itself, `others_mib` that of the largest of its descendants."""

    exit_code: int
    wall: float
    cpu: float
    coordinator_mib: float
    others_mib: float

    @property
    def peak_mib(self) -> float:
        """The largest single process."""
        return max(self.coordinator_mib, self.others_mib)


def run_command(command: list[str], url: str | None = None) -> tuple[Cost, str]:
    """Runs it through `bench.one_copy`, with `url` in VESTIGE_POSTGRES_URL; returns what it cost and its stderr.

    Raises `CopyFailed` where it left a process behind or did not end; its exit code is the caller's to judge.
    """
    environment = _clean_environment() | ({} if url is None else {URL_VARIABLE: url})
    with tempfile.TemporaryDirectory(prefix="vestige-bench-") as directory:
        account = Path(directory) / "cost.json"
        errors = _run_to_its_end([sys.executable, "-m", "bench.one_copy", str(account), *command], environment)
        if not account.exists():
            raise CopyFailed(f"{' '.join(command[:3])}: {errors.strip() or 'it ended without an account'}")
        found = json.loads(account.read_text())
    cost = Cost(
        exit_code=found["exit_code"],
        wall=found["wall_seconds"],
        cpu=found["cpu_seconds"],
        coordinator_mib=found["coordinator_peak_kib"] / _KIB_PER_MIB,
        others_mib=found["others_peak_kib"] / _KIB_PER_MIB,
    )
    return cost, errors


def _clean_environment() -> dict[str, str]:
    """Without the settings of a developer's Vestige, and with bytecode kept, as of any program that is installed:

    where Python may write none, each process compiles the package anew, which is most of a small copy's time.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("VESTIGE_") and name != "PYTHONDONTWRITEBYTECODE"
    }


def _run_to_its_end(command: list[str], environment: dict[str, str]) -> str:
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        return process.communicate(timeout=_TIMEOUT_SECONDS)[1]
    except subprocess.TimeoutExpired:
        raise CopyFailed(f"a command did not end within {_TIMEOUT_SECONDS} s") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
