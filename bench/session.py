"""One call of the benchmark: which rows of the table are measured with which sources, and how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.bars import BARS, NAMES, K, M
from bench.baselines import pgloader
from bench.results import kept_peak
from bench.rows import Row, row_of
from bench.scaling import Scaling, measure_scaling
from bench.server import BenchServer
from bench.suites import LIMITED, RELEASED, Suite

SCALING = "workers"
"""The name, beside those of the bars, of the runs with several numbers of workers."""
MEASURABLE = (*NAMES, SCALING)
ROW_BY_ROW = (20 * K, 768)
"""Memories and dimensions of the source that its bar is stated for; a source of 1,000 is good enough to try it out."""
_SMALL = K
_DEFAULT_ROUNDS = {"memories": 3, "tables": 3, "everything": 2, "start": 5, **dict.fromkeys(RELEASED, 3)}
_PEAKS = {"memory", "memory_1m", "memory_growth"}
_LARGE = 200 * K
_AT_LARGE = {"memories", "tables", "everything", "again", "verify", "memory", "cpu"} | _PEAKS | RELEASED
"""Measured with sources larger than `_LARGE` unless --only names others: the rest takes hours there."""


@dataclass(frozen=True)
class Settings:
    """What was asked for. `only` is empty for all; `runs` is None for each row's own number of rounds."""

    rows: tuple[int, ...]
    dimension: int
    runs: int | None
    workers: tuple[int, ...]
    only: frozenset[str]
    smoke: bool
    results: Path

    def rounds_of(self, name: str, rows: int) -> int:
        """In how many rounds a row of the table is measured."""
        if self.runs is not None:
            return self.runs
        return 1 if self.smoke or rows > _LARGE else _DEFAULT_ROUNDS.get(name, 1)

    def wanted(self, rows: int) -> frozenset[str]:
        """The rows of the table that are measured with a source of so many memories.

        `start` is for small files alone, and a small file beside others for `start` alone.
        """
        asked = self.only or (frozenset(_AT_LARGE) if rows > _LARGE else frozenset(MEASURABLE))
        if asked & _PEAKS:
            asked |= {"memory"}
        if rows > _SMALL:
            return asked - {"start"}
        return asked if len(self.rows) == 1 else asked & {"start"}


@dataclass
class Session:
    """Measures, and holds what was measured."""

    server: BenchServer
    settings: Settings
    cores: int
    say: Callable[[str], None]
    suites: list[Suite] = field(default_factory=list)
    scalings: list[Scaling] = field(default_factory=list)

    def measure(self) -> None:
        """All sizes. Raises `CopyFailed`."""
        for rows in self.settings.rows:
            wanted = self.settings.wanted(rows)
            elsewhere = {"row_by_row"} if "row_by_row" in wanted and rows > _SMALL else set()
            self._suite(rows, self.settings.dimension, wanted - elsewhere - {SCALING})
            if elsewhere:
                self._suite(*ROW_BY_ROW, frozenset(elsewhere))
            if SCALING in wanted:
                self._scaling(rows)

    def _suite(self, rows: int, dimension: int, wanted: frozenset[str]) -> None:
        if not wanted:
            return
        suite = Suite(
            self.server,
            self.settings.results,
            rows,
            dimension,
            wanted,
            rounds_of=lambda name: self.settings.rounds_of(name, rows),
            say=self.say,
        )
        suite.measure()
        self.suites.append(suite)

    def _scaling(self, rows: int) -> None:
        self.say(f"{rows:,} x {self.settings.dimension}: numbers of workers")
        settings = self.settings
        rounds = settings.rounds_of(SCALING, rows)
        self.scalings.append(
            measure_scaling(
                self.server, settings.results, rows, settings.dimension, settings.workers, rounds, self.cores, self.say
            )
        )

    def table(self) -> list[Row]:
        """All rows, in the order of the bars; peaks at both sizes also where one is of an earlier call."""
        found = []
        for bar in BARS:
            if bar.name in _PEAKS - {"memory"}:
                continue
            found += [
                row_of(bar, suite.rows, suite.dimension, suite.rounds, self._why_not(bar.name))
                for suite in self.suites
                if bar.name in suite.wanted and not (bar.name == "memory" and suite.rows == M)
            ]
            if bar.name == "memory" and not self.settings.smoke:
                found += self._peaks_at_a_million()
        return found

    def _why_not(self, name: str) -> str:
        if name == "pgloader" and not pgloader.installed():
            return "pgloader is not installed (apt-get install pgloader)"
        if name in LIMITED and self.server.exchange is None:
            return "no limit: the server was given as a URL, its files may be elsewhere"
        return ""

    def _peaks_at_a_million(self) -> list[Row]:
        if self.settings.only and not self.settings.only & (_PEAKS - {"memory"}):
            return []
        figures: dict[str, float] = {}
        for name, rows in (("peak_mib", M), ("peak_mib_100k", 100 * K)):
            peak = self._peak(rows)
            if peak is not None:
                figures[name] = peak
        why_not = "not measured yet: --rows 1000000, and 100000"
        bars = [bar for bar in BARS if bar.name in _PEAKS - {"memory"}]
        return [row_of(bar, M, self.settings.dimension, [figures], why_not) for bar in bars]

    def _peak(self, rows: int) -> float | None:
        """MiB: of this call, else of the last one whose results are kept."""
        now = [
            figures["peak_mib"]
            for suite in self.suites
            if (suite.rows, suite.dimension) == (rows, self.settings.dimension)
            for figures in suite.rounds
            if "peak_mib" in figures
        ]
        return max(now) if now else kept_peak(self.settings.results, rows, self.settings.dimension)
