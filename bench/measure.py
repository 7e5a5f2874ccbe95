"""One measured command as a user runs it: a copy, or a comparison of a copy with its source. Then it is checked."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.check import CopyFailed, Digest, problems_of_copy, problems_of_indexes
from bench.load import watched_load
from bench.process import Cost, run_command
from bench.server import BenchServer

TABLE_PHASES = ("small", "memberships", "parents", "dependents")


@dataclass(frozen=True)
class CopyRun:
    """What one copy took; `inserted` are the rows of all tables that were not there before."""

    workers: int
    cost: Cost
    phases: dict[str, float]
    all_rows: int
    inserted: int
    server_cpu: float | None
    others_cpu: float | None

    @property
    def wall(self) -> float:
        """Seconds of the whole command."""
        return self.cost.wall

    @property
    def tables(self) -> float:
        """Seconds of all phases that write rows."""
        return sum(self.phases.get(name, 0.0) for name in TABLE_PHASES)


def measured_copy(
    server: BenchServer, url: str, source: Path, wanted: dict[str, Digest], workers: int, with_indexes: bool = True
) -> CopyRun:
    """Copies into the database `url`. Raises `CopyFailed` unless all is there and right afterwards."""
    server.settle(source)
    with watched_load(server.postmaster) as load:
        cost, report = _run("copy", source, url, workers, "--indexes", "auto" if with_indexes else "none")
    problems = _problems_of_report(cost, report, wanted) + problems_of_copy(url, wanted)
    if with_indexes:
        problems += problems_of_indexes(url)
    if problems:
        raise CopyFailed(f"{source.name}, {workers} workers: {'; '.join(problems)}")
    return CopyRun(
        workers=workers,
        cost=cost,
        phases=report["phases"],
        all_rows=sum(rows for rows, _ in wanted.values()),
        inserted=sum(table["inserted"] for table in report["tables"].values()),
        server_cpu=load.server,
        others_cpu=load.others(cost.cpu),
    )


def measured_verify(server: BenchServer, url: str, source: Path, workers: int) -> Cost:
    """Compares the copy in `url` with its source. Raises `CopyFailed` unless both are found the same."""
    server.settle(source)
    cost, report = _run("verify", source, url, workers)
    if cost.exit_code != 0 or not report["same"]:
        raise CopyFailed(f"{source.name}: verify ended with {cost.exit_code}, {len(report['differences'])} differences")
    return cost


def _run(name: str, source: Path, url: str, workers: int, *more: str) -> tuple[Cost, dict[str, Any]]:
    """What the command of that name cost, and its report."""
    with tempfile.TemporaryDirectory(prefix="vestige-bench-") as directory:
        report = Path(directory) / "report.json"
        program = Path(sys.executable).with_name("vestige-migrate")
        command = [
            *(str(program), name, "--sqlite-path", str(source), "--workers", str(workers)),
            *(*more, "--report", str(report), "--no-progress", "--log-level", "WARNING"),
        ]
        cost, errors = run_command(command, url)
        if not report.exists():
            raise CopyFailed(f"{name} of {source.name}, {workers} workers: {errors.strip() or 'no report'}")
        return cost, json.loads(report.read_text())


def _problems_of_report(cost: Cost, report: dict[str, Any], wanted: dict[str, Digest]) -> list[str]:
    problems = []
    if cost.exit_code != 0 or not report["complete"] or report["errors"]:
        problems.append(f"exit code {cost.exit_code}, {len(report['errors'])} errors")
    for table, (rows, _) in wanted.items():
        counted = report["tables"][table]
        if counted["source_rows"] != rows or counted["inserted"] + counted["skipped"] != rows:
            problems.append(f"the report has {counted} for {table}, and there are {rows} rows")
    return problems
