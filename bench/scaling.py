"""`--workers`: rows a second against their number, the server's share of the CPU, and what other hosts would do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

from bench.check import Digest, expected
from bench.measure import CopyRun, measured_copy
from bench.server import BenchServer
from bench.simulate import BatchCost, Fit, MeasuredPoint, fit, simulate
from bench.source import source_file
from bench.waits import watched_waits

BATCH_ROWS = 500
HOSTS = (4, 8, 16, 32)
"""Numbers of cores that are simulated beside this machine's."""
SIMULATED_WORKERS = (1, 2, 4, 8, 16, 32)
_FIXED_SHARE = 100
"""A source so many times smaller tells what a copy costs before its first row."""


@dataclass(frozen=True)
class Point:
    """Medians of the copies with so many workers, tables alone. CPU in seconds; None where the server is elsewhere."""

    workers: int
    seconds: float
    rows_per_second: float
    wall: float
    client_cpu: float
    server_cpu: float | None
    lock_waits: float

    @property
    def server_share(self) -> float | None:
        """Of the CPU that both sides took."""
        return None if self.server_cpu is None else self.server_cpu / (self.server_cpu + self.client_cpu)

    def machine_share(self, cores: int) -> float | None:
        """Of all that the machine's cores could have given during the command."""
        return None if self.server_cpu is None else self.server_cpu / (self.wall * cores)


@dataclass(frozen=True)
class Scaling:
    """The points, and what a copy of next to nothing costs (one worker): seconds, CPU of both sides."""

    rows: int
    all_rows: int
    cores: int
    points: tuple[Point, ...]
    fixed: Point

    @cached_property
    def fit(self) -> Fit | None:
        """The simulation's costs a batch, start-up taken off."""
        measured = [self._measured(point) for point in self.points if point.server_cpu is not None]
        return fit(measured, self.cores)

    def _measured(self, point: Point) -> MeasuredPoint:
        batches = self.all_rows / BATCH_ROWS
        return MeasuredPoint(
            point.workers,
            seconds=max(point.seconds - self.fixed.seconds, 1e-6) / batches,
            client_cpu=max(point.client_cpu - self.fixed.client_cpu, 1e-6) / batches,
            server_cpu=max((point.server_cpu or 0.0) - (self.fixed.server_cpu or 0.0), 1e-6) / batches,
            lock_waits=point.lock_waits,
        )

    def predicted(self, cost: BatchCost, workers: int, cores: int) -> float:
        """Rows a second by the simulation, with the measured start-up."""
        batches = self.all_rows / BATCH_ROWS
        return self.all_rows / (self.fixed.seconds + batches / simulate(cost, workers, cores).batches_per_second)


def measure_scaling(
    server: BenchServer,
    directory: Path,
    rows: int,
    dimension: int,
    workers: Sequence[int],
    rounds: int,
    cores: int,
    say: Callable[[str], None],
) -> Scaling:
    """Copies without secondary indexes, every number of workers in every round. Raises `CopyFailed`."""
    source = source_file(directory, rows, dimension)
    small = source_file(directory, max(10, rows // _FIXED_SHARE), dimension)
    wanted = expected(source)
    runs: dict[int, list[tuple[CopyRun, float]]] = {count: [] for count in workers}
    fixed: list[tuple[CopyRun, float]] = []
    for number in range(rounds):
        fixed.append(_copy(server, small, expected(small), 1))
        for count in workers if number % 2 == 0 else reversed(workers):
            runs[count].append(_copy(server, source, wanted, count))
            say(f"round {number + 1}: {count} workers {runs[count][-1][0].tables:.2f}")
    return Scaling(
        rows,
        sum(count for count, _ in wanted.values()),
        cores,
        tuple(_point(count, runs[count]) for count in workers),
        _point(1, fixed),
    )


def _copy(server: BenchServer, source: Path, wanted: dict[str, Digest], workers: int) -> tuple[CopyRun, float]:
    with server.database() as url, watched_waits(url) as waits:
        run = measured_copy(server, url, source, wanted, workers, with_indexes=False)
    return run, waits.share


def _point(workers: int, runs: Sequence[tuple[CopyRun, float]]) -> Point:
    copies = [run for run, _ in runs]
    server = [run.server_cpu for run in copies if run.server_cpu is not None]
    seconds = median(run.tables for run in copies)
    return Point(
        workers,
        seconds,
        rows_per_second=copies[0].all_rows / seconds,
        wall=median(run.wall for run in copies),
        client_cpu=median(run.cost.cpu for run in copies),
        server_cpu=median(server) if server else None,
        lock_waits=median(waits for _, waits in runs),
    )
