"""The order of the runs: every round measures the limit and then a copy with each number of workers, so that a machine
that gets slower in the middle slows both sides of every ratio."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.check import Digest, expected
from bench.limit import Dump, Limit, dump, measure_limit
from bench.measure import CopyRun, VerifyRun, measured_copy, measured_verify
from bench.server import BenchServer
from bench.source import source_file

_WARM_UP_WORKERS = 2
VERIFIED_WORKERS = 2
"""The copy with so many workers is compared with its source, as long as it has its indexes (search is tried out)."""


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    rows: tuple[int, ...]
    dimension: int
    runs: int
    workers: tuple[int, ...]
    with_indexes: bool
    judge: bool
    results: Path


@dataclass
class SizeResult:
    """Everything measured with one number of memories. Without `limits`, the server is not on this machine."""

    rows: int
    dimension: int
    limits: list[Limit] = field(default_factory=list)
    copies: list[CopyRun] = field(default_factory=list)
    verifications: list[VerifyRun] = field(default_factory=list)

    def with_workers(self, workers: int) -> list[CopyRun]:
        """The copies with so many workers."""
        return [run for run in self.copies if run.workers == workers]


def measure_size(server: BenchServer, settings: Settings, rows: int, say: Callable[[str], None]) -> SizeResult:
    """All rounds with this number of memories. Raises `CopyFailed`."""
    say(f"{rows:,} memories: source")
    source = source_file(settings.results, rows, settings.dimension)
    wanted = expected(source)
    result = SizeResult(rows, settings.dimension)
    with _warm_dump(server, settings, source, wanted) as made:
        for round_ in range(1, settings.runs + 1):
            if made is not None:
                limit = measure_limit(server, made, wanted)
                result.limits.append(limit)
                seconds = f"{limit.parents:.2f} s + {limit.dependents:.2f} s"
                say(f"{rows:,} memories, round {round_}: limit {seconds}{_busy(limit.others_cpu)}")
            for workers in settings.workers:
                with server.database() as url:
                    run = measured_copy(server, url, source, wanted, workers, settings.with_indexes)
                    if settings.with_indexes and workers == VERIFIED_WORKERS:
                        verified = measured_verify(server, url, source, run)
                        result.verifications.append(verified)
                        share = f"{verified.wall:.2f} s, {verified.ratio:.2f} of the copy"
                        say(f"{rows:,} memories, round {round_}: verify {share}")
                result.copies.append(run)
                say(
                    f"{rows:,} memories, round {round_}: {workers} workers, parents {run.phases['parents']:.2f} s, "
                    f"total {run.wall:.2f} s{_busy(run.others_cpu)}"
                )
    return result


def _busy(others_cpu: float | None) -> str:
    """Named only where something else ran that may have cost time."""
    return f" (others used {others_cpu:.1f} s of CPU)" if others_cpu is not None and others_cpu >= 0.5 else ""


@contextmanager
def _warm_dump(
    server: BenchServer, settings: Settings, source: Path, wanted: dict[str, Digest]
) -> Iterator[Dump | None]:
    """A first copy that nobody times: it brings the source into the page cache, and the limit's files come from it."""
    with server.database() as url:
        measured_copy(server, url, source, wanted, _WARM_UP_WORKERS, with_indexes=False)
        made = None if server.exchange is None else dump(url, server.exchange, settings.dimension)
    try:
        yield made
    finally:
        if made is not None:
            for file in made.directory.iterdir():
                file.unlink()
