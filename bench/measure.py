"""One measured copy: the command as a user runs it, in a fresh process, into a new database, then checked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.check import CopyFailed, Digest, problems_of_copy, problems_of_indexes
from bench.load import watched_load
from bench.server import BenchServer

ROOT = Path(__file__).parent.parent
TABLE_PHASES = ("small", "memberships", "parents", "dependents")
_TIMEOUT_SECONDS = 3600
_KIB_PER_MIB = 1024


@dataclass(frozen=True)
class CopyRun:
    """What one copy took. Memory is the peak of the largest single process, by the kernel's own account."""

    rows: int
    workers: int
    wall: float
    phases: dict[str, float]
    all_rows: int
    cpu: float
    coordinator_mib: float
    worker_mib: float
    server_cpu: float | None
    others_cpu: float | None

    @property
    def tables(self) -> float:
        """Seconds of all phases that write rows."""
        return sum(self.phases.get(name, 0.0) for name in TABLE_PHASES)

    @property
    def peak_mib(self) -> float:
        """The largest of our processes."""
        return max(self.coordinator_mib, self.worker_mib)

    @property
    def rows_per_second(self) -> float:
        """Rows of all tables over the seconds of the phases that write them."""
        return self.all_rows / self.tables if self.tables else 0.0


@dataclass(frozen=True)
class VerifyRun:
    """What comparing a copy with its source took, beside the copy itself."""

    workers: int
    wall: float
    copy_wall: float
    phases: dict[str, float]
    cpu: float
    coordinator_mib: float
    worker_mib: float

    @property
    def ratio(self) -> float:
        """Against the copy of the same round, into the same database."""
        return self.wall / self.copy_wall

    @property
    def peak_mib(self) -> float:
        """The largest of our processes."""
        return max(self.coordinator_mib, self.worker_mib)


def measured_verify(server: BenchServer, url: str, source: Path, copied: CopyRun) -> VerifyRun:
    """Compares what `copied` copied into `url` with its source. Raises `CopyFailed` unless both are found the same."""
    server.settle()
    cost, report = _run("verify", source, url, copied.workers)
    if cost["exit_code"] != 0 or not report["same"]:
        raise CopyFailed(
            f"{source.name}: verify ended with {cost['exit_code']}, {len(report['differences'])} differences"
        )
    return VerifyRun(
        workers=copied.workers,
        wall=cost["wall_seconds"],
        copy_wall=copied.wall,
        phases=report["phases"],
        cpu=float(cost["cpu_seconds"]),
        coordinator_mib=cost["coordinator_peak_kib"] / _KIB_PER_MIB,
        worker_mib=cost["others_peak_kib"] / _KIB_PER_MIB,
    )


def measured_copy(
    server: BenchServer, url: str, source: Path, wanted: dict[str, Digest], workers: int, with_indexes: bool
) -> CopyRun:
    """Copies into the empty database `url`. Raises `CopyFailed` unless all is there and right."""
    server.settle()
    with watched_load(server.postmaster) as load:
        cost, report = _run("copy", source, url, workers, "--indexes", "auto" if with_indexes else "none")
    problems = _problems_of_report(cost, report, wanted) + problems_of_copy(url, wanted)
    if with_indexes:
        problems += problems_of_indexes(url)
    if problems:
        raise CopyFailed(f"{source.name}, {workers} workers: {'; '.join(problems)}")
    cpu = float(cost["cpu_seconds"])
    return CopyRun(
        rows=wanted["knowledge_nodes"][0],
        workers=workers,
        wall=cost["wall_seconds"],
        phases=report["phases"],
        all_rows=sum(rows for rows, _ in wanted.values()),
        cpu=cpu,
        coordinator_mib=cost["coordinator_peak_kib"] / _KIB_PER_MIB,
        worker_mib=cost["others_peak_kib"] / _KIB_PER_MIB,
        server_cpu=load.server,
        others_cpu=load.others(cpu),
    )


def _run(name: str, source: Path, url: str, workers: int, *more: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the command of that name cost, and its report."""
    with tempfile.TemporaryDirectory(prefix="vestige-bench-") as directory:
        cost, report = Path(directory) / "cost.json", Path(directory) / "report.json"
        program = Path(sys.executable).with_name("vestige-migrate")
        command = [
            *(sys.executable, "-m", "bench.one_copy", str(cost)),
            *(str(program), name, "--sqlite-path", str(source), "--workers", str(workers)),
            *(*more, "--report", str(report), "--no-progress", "--log-level", "WARNING"),
        ]
        errors = _run_to_its_end(command, {**os.environ, "VESTIGE_POSTGRES_URL": url})
        if not cost.exists() or not report.exists():
            raise CopyFailed(f"{name} of {source.name}, {workers} workers: {errors.strip() or 'no report'}")
        return json.loads(cost.read_text()), json.loads(report.read_text())


def _run_to_its_end(command: list[str], environment: dict[str, str]) -> str:
    """Runs the command in a process group of its own, which does not outlive this function; returns its stderr."""
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
        raise CopyFailed(f"a copy did not end within {_TIMEOUT_SECONDS} s") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _problems_of_report(cost: dict[str, Any], report: dict[str, Any], wanted: dict[str, Digest]) -> list[str]:
    problems = []
    if cost["exit_code"] != 0 or not report["complete"] or report["errors"]:
        problems.append(f"exit code {cost['exit_code']}, {len(report['errors'])} errors")
    for table, (rows, _) in wanted.items():
        counted = report["tables"][table]
        if counted["source_rows"] != rows or counted["inserted"] + counted["skipped"] != rows:
            problems.append(f"the report has {counted} for {table}, and there are {rows} rows")
    return problems
