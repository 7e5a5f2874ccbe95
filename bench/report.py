"""The results as tables on the terminal and as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.measure import ROOT, CopyRun, VerifyRun
from bench.rounds import VERIFIED_WORKERS, Settings, SizeResult

BAR_ROWS, BAR_DIMENSION, BAR_WORKERS = 100_000, 256, 2
PARENTS_BAR = 1.6
"""Issue 2: the copy of the memories against the server alone, at the three figures above."""
VERIFY_BAR = 0.25
"""Issue 5: comparing against the first copy, at the same three figures."""
_JUDGED_RUNS = 3
"""Fewer rounds decide nothing: one slow limit makes any copy look fast (seen: 4.1 s and 5.4 s for the same work)."""
MEMORY_BAR_MIB = 250
"""Issue 2: no process of ours may grow larger, at 100,000 memories or any other number."""

_COLUMNS: tuple[tuple[str, Callable[[CopyRun], float | None], int], ...] = (
    ("parents s", lambda run: run.phases.get("parents"), 2),
    ("dependents s", lambda run: run.phases.get("dependents"), 2),
    ("indexes s", lambda run: run.phases.get("indexes"), 2),
    ("total s", lambda run: run.wall, 2),
    ("rows/s", lambda run: run.rows_per_second, 0),
    ("CPU s", lambda run: run.cpu, 2),
    ("server CPU s", lambda run: run.server_cpu, 2),
    ("others' CPU s", lambda run: run.others_cpu, 2),
    ("peak MiB", lambda run: run.peak_mib, 0),
)


def print_size(console: Console, settings: Settings, result: SizeResult) -> None:
    """One size: a line for each number of workers, then the ratios with their bars."""
    without = "" if settings.with_indexes else ", without secondary indexes"
    title = f"{result.rows:,} memories x {result.dimension} dimensions{without}, medians of {settings.runs}"
    table = Table(title=title, title_justify="left")
    for name in ("workers", *(name for name, _, _ in _COLUMNS)):
        table.add_column(name, justify="right")
    for workers in settings.workers:
        runs = result.with_workers(workers)
        table.add_row(str(workers), *(_cell(runs, value, digits) for _, value, digits in _COLUMNS))
    console.print(table)
    for line in _verdicts(settings, result):
        console.print(f"  {line}", highlight=False)
    console.print()


def _cell(runs: Sequence[CopyRun], value: Callable[[CopyRun], float | None], digits: int) -> str:
    found = _median(value(run) for run in runs)
    return "-" if found is None else f"{found:,.{digits}f}"


def _median(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def ratios(result: SizeResult, workers: int) -> dict[str, float]:
    """Medians over medians: the memories alone, and all tables (with the workers' start) against the limit's."""
    runs = result.with_workers(workers)
    if not runs or not result.limits:
        return {}
    limit_parents = median(limit.parents for limit in result.limits)
    limit_all = median(limit.parents + limit.dependents for limit in result.limits)
    return {
        "parents": median(run.phases["parents"] for run in runs) / limit_parents,
        "tables": median(run.tables for run in runs) / limit_all,
    }


def _verdicts(settings: Settings, result: SizeResult) -> list[str]:
    lines = []
    if not result.limits:
        lines.append("no limit: the server was given as a URL, and its files may be on another machine")
    else:
        lines.append(_limit_line(result))
    found = ratios(result, BAR_WORKERS)
    if found:
        pairs = _pair_ratios(result)
        judged = settings.judge and (result.rows, result.dimension) == (BAR_ROWS, BAR_DIMENSION)
        enough = settings.runs >= _JUDGED_RUNS
        lines.append(
            f"memories, 2 workers, against the limit: {found['parents']:.2f} ({min(pairs):.2f} to {max(pairs):.2f})"
            + (_verdict(found["parents"], PARENTS_BAR, "", enough) if judged else "")
        )
        lines.append(f"all tables and the workers' start, 2 workers, against the limit: {found['tables']:.2f}")
    if result.verifications:
        lines.append(_verify_line(settings, result))
    measured: list[CopyRun | VerifyRun] = [*result.copies, *result.verifications]
    peak = max(run.peak_mib for run in measured)
    coordinator = max(run.coordinator_mib for run in measured)
    worker = max(run.worker_mib for run in measured)
    lines.append(
        f"largest process: {peak:.0f} MiB (coordinator {coordinator:.0f}, worker {worker:.0f})"
        + (_verdict(peak, MEMORY_BAR_MIB, " MiB") if settings.judge else "")
    )
    lines.append(f"every copy checked: {len(result.copies)} of {len(result.copies)} complete and equal to the source")
    return lines


def _verify_line(settings: Settings, result: SizeResult) -> str:
    found = [run.ratio for run in result.verifications]
    judged = settings.judge and (result.rows, result.dimension) == (BAR_ROWS, BAR_DIMENSION)
    wall, cpu = (median(getattr(run, name) for run in result.verifications) for name in ("wall", "cpu"))
    return (
        f"verify, {VERIFIED_WORKERS} workers, against the first copy: {median(found):.2f} ({min(found):.2f} to "
        f"{max(found):.2f}; {wall:.2f} s, {cpu:.2f} s of CPU)"
        + (_verdict(median(found), VERIFY_BAR, "", settings.runs >= _JUDGED_RUNS) if judged else "")
    )


def _limit_line(result: SizeResult) -> str:
    parents = median(limit.parents for limit in result.limits)
    dependents = median(limit.dependents for limit in result.limits)
    others = _median(limit.others_cpu for limit in result.limits)
    return f"limit (server alone, 2 backends): memories {parents:.2f} s, dependents {dependents:.2f} s" + (
        f"; others' CPU {others:.2f} s" if others is not None else ""
    )


def _pair_ratios(result: SizeResult) -> list[float]:
    """The ratio in each round: how far it scatters says how much to trust the median."""
    runs = result.with_workers(BAR_WORKERS)
    return [run.phases["parents"] / limit.parents for run, limit in zip(runs, result.limits, strict=True)]


def _verdict(value: float, bar: float, unit: str, enough: bool = True) -> str:
    if not enough:
        return f", bar {bar:g}{unit}: not judged on fewer than {_JUDGED_RUNS} rounds"
    return f", bar {bar:g}{unit}: {'met' if value <= bar else 'MISSED'}"


def write_json(settings: Settings, server: str, results: Sequence[SizeResult]) -> Path:
    """Everything measured, run by run, with the machine it was measured on."""
    now = datetime.now(UTC)
    path = settings.results / f"bench-{now:%Y%m%dT%H%M%SZ}.json"
    document = {
        "schema": 1,
        "time": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "server": server,
        "commit": _commit(),
        "settings": {**asdict(settings), "results": str(settings.results)},
        "bars": {"parents_ratio": PARENTS_BAR, "verify_ratio": VERIFY_BAR, "peak_mib": MEMORY_BAR_MIB},
        "sizes": [
            {**asdict(result), "ratios": {str(count): ratios(result, count) for count in settings.workers}}
            for result in results
        ],
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path


def machine() -> dict[str, Any]:
    """What the figures were measured on; `load` is the average over the last minute, our own runs included."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def _commit() -> str | None:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None
