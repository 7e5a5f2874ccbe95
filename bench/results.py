"""What stays of a call: a JSON file with every round and copy, the machine and the commit."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.process import ROOT

SCHEMA = 2


def stem(now: datetime) -> str:
    """The files' name, without its ending; sorts by time."""
    return f"bench-{now:%Y%m%dT%H%M%SZ}"


def write_json(directory: Path, now: datetime, server: str, measured: Mapping[str, Any]) -> Path:
    """`measured` under the machine's description."""
    document = {
        "schema": SCHEMA,
        "time": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "server": server,
        "commit": commit(),
        **measured,
    }
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{stem(now)}.json"
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path


def kept_peak(directory: Path, rows: int, dimension: int) -> float | None:
    """MiB of our largest process with so many memories, by the newest results that have it."""
    for path in sorted(directory.glob("bench-*.json"), reverse=True):
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            continue
        peaks = [
            figures["peak_mib"]
            for suite in document["suites"]
            if (suite["rows"], suite["dimension"]) == (rows, dimension)
            for figures in suite["rounds"]
            if "peak_mib" in figures
        ]
        if peaks:
            return float(max(peaks))
    return None


def cores() -> int:
    """CPUs that this process may use, and the server that it starts."""
    return len(os.sched_getaffinity(0))


def machine() -> dict[str, Any]:
    """What the figures were measured on; `load` is the average over the last minute, our own runs included."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": platform.platform(),
        "cpu": _cpu_name(),
        "cpus": cores(),
        "memory_gib": round(memory / 2**30, 1),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def _cpu_name() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="ascii"), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def commit() -> str | None:
    """Of the program that was measured; `-dirty` where files differ from it."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None


def utc_now() -> datetime:
    """The time of a call, in UTC."""
    return datetime.now(UTC)
