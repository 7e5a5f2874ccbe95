"""The table, on the terminal and as Markdown, with the numbers of workers under it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.rows import Row, cells
from bench.scaling import HOSTS, SIMULATED_WORKERS, Scaling

_HEADER = ("work", "measured s", "reference s", "ratio (lowest to highest of rounds)", "bar", "verdict")
_RIGHT = {1, 2, 3, 4}

Grid = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""A header and lines of as many cells."""


def bars_grid(rows: Sequence[Row], judge: bool) -> Grid:
    """A line for each row of the table."""
    return _HEADER, [cells(row, judge) for row in rows]


def scaling_grid(scaling: Scaling) -> Grid:
    """A line for each number of workers: measured here, and simulated here and on hosts with more cores."""
    found = scaling.fit
    hosts = [scaling.cores, *(cores for cores in HOSTS if cores > scaling.cores)] if found else []
    header = (
        "workers", "rows/s measured", "server's share of both sides' CPU", "of the machine", "waiting for locks",
        *(f"simulated, {cores} cores" for cores in hosts),
    )  # fmt: skip
    points = {point.workers: point for point in scaling.points}
    lines = []
    for workers in sorted({*points, *(SIMULATED_WORKERS if found else ())}):
        point = points.get(workers)
        measured: tuple[str, ...] = ("-",) * 4
        if point is not None:
            shares = (point.server_share, point.machine_share(scaling.cores), point.lock_waits)
            measured = (f"{point.rows_per_second:,.0f}", *(_percent(share) for share in shares))
        simulated = [scaling.predicted(found.best, workers, cores) for cores in hosts] if found else []
        lines.append((str(workers), *measured, *(f"{speed:,.0f}" for speed in simulated)))
    return header, lines


def scaling_note(scaling: Scaling) -> str:
    """What the simulation is made from, and how uncertain it is."""
    found = scaling.fit
    if found is None:
        return "No simulation: it needs a run with 1 worker against a server on this machine."
    best = found.best
    total = best.server or 1.0
    cores = HOSTS[-1]
    speed, highest, lowest = (
        scaling.predicted(cost, cores, cores) for cost in (found.best, found.lowest, found.highest)
    )
    return (
        f"A batch of 500 rows (1 worker, start-up of {scaling.fixed.seconds:.2f} s taken off): "
        f"client {_ms(best.client)}, "
        f"server {_ms(best.server)} and {_ms(best.behind)} beside it, {_ms(best.idle)} without CPU. Serial part of the "
        f"server's, from the waits for locks: {best.serial / total:.0%} ({found.lowest.serial / total:.0%} to "
        f"{found.highest.serial / total:.0%} explain them as well), so {cores} workers on {cores} cores reach "
        f"{speed:,.0f} rows/s ({lowest:,.0f} to {highest:,.0f}), start-up included."
    )


def scaling_title(scaling: Scaling) -> str:
    """What was copied."""
    return f"{scaling.rows:,} memories, tables without secondary indexes, {scaling.cores} cores"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def print_grid(console: Console, title: str, grid: Grid) -> None:
    """On the terminal."""
    header, lines = grid
    table = Table(title=title, title_justify="left", show_lines=False)
    for at, name in enumerate(header):
        table.add_column(name, justify="right" if len(header) != len(_HEADER) or at in _RIGHT else "left")
    for line in lines:
        table.add_row(*line)
    console.print(table)


def markdown(title: str, rows: Sequence[Row], judge: bool, scalings: Sequence[Scaling], machine: dict[str, Any]) -> str:
    """The same for docs/performance.md, under the machine's description."""
    named = "; ".join(f"{name} {value}" for name, value in machine.items() if name != "load")
    parts = [f"{title}. Machine: {named}.", _markdown_grid(bars_grid(rows, judge))]
    for scaling in scalings:
        parts += [f"{scaling_title(scaling)}:", _markdown_grid(scaling_grid(scaling)), scaling_note(scaling)]
    return "\n\n".join(parts) + "\n"


def _markdown_grid(grid: Grid) -> str:
    header, lines = grid
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ("---",) * len(header), *lines))
