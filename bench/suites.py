"""What is measured for which rows of the table: contestants, and the figures that they bring (see `bench.bars`)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.baselines import pgloader
from bench.check import CopyFailed, Digest, expected, problems_of_copy, problems_of_indexes
from bench.contest import Contestant, hold
from bench.grown import grown_file
from bench.limit import Dump, dump, measure_limit
from bench.measure import CopyRun, measured_copy, measured_verify
from bench.process import Cost, run_command
from bench.released import released_file
from bench.server import BenchServer
from bench.source import source_file

WORKERS = 2
"""On which all bars are stated."""
RELEASED = frozenset({"memories_released", "tables_released", "cpu_released"})
LIMITED = frozenset({"memories", "tables", "everything", "memories_released", "tables_released"})
"""Rows that need the limit, which needs a server on this machine."""
BASELINES = ("executemany", "pgloader", "row_by_row")
_FULL_COPIES = ("everything", "again", "grown", "verify", "start", "memory", "cpu", *BASELINES)
_IMPORTS = "import psycopg, numpy, typer, rich"


@dataclass
class Suite:
    """One source: the figures of all rounds, and every copy of ours with all that is known of it.

    `wanted` are the rows of the table to measure, `rounds_of` says in how many rounds each.
    """

    server: BenchServer
    directory: Path
    rows: int
    dimension: int
    wanted: frozenset[str]
    rounds_of: Callable[[str], int]
    say: Callable[[str], None]
    rounds: list[dict[str, float]] = field(default_factory=list)
    copies: list[CopyRun] = field(default_factory=list)
    _source: Path = field(init=False)
    _digests: dict[str, Digest] = field(init=False)

    def measure(self) -> None:
        """Raises `CopyFailed` where a copy, ours or another's, is not the source's equal."""
        if self.wanted & RELEASED:
            self._measure_released()
        if not self.wanted - RELEASED:
            return
        self.say(f"{self.rows:,} x {self.dimension}: source")
        self._source = source_file(self.directory, self.rows, self.dimension)
        self._digests = expected(self._source)
        with self._warm_dump(self._source, self._digests) as made:
            self.rounds += hold(self._load_contestants(made), self.say)
            self.rounds += hold(self._everything_contestants(made), self.say)

    def _measure_released(self) -> None:
        """The rows of the table that are about the file that people have."""
        self.say(f"{self.rows:,} x {self.dimension}: source of the released line")
        source = released_file(self.directory, self.rows, self.dimension)
        digests = expected(source)
        with self._warm_dump(source, digests) as made:
            rounds = self._rounds(*RELEASED)
            limits = [Contestant("limit", rounds, partial(self._limit, made, digests, "_released"))] if made else []
            load = Contestant("load", rounds, partial(self._load, source, digests, "_released"))
            self.rounds += hold([*limits, load], self.say)

    @contextmanager
    def _warm_dump(self, source: Path, digests: dict[str, Digest]) -> Iterator[Dump | None]:
        """A first copy that nobody times: it brings the source into the page cache, and the limit's files come from it.

        None where the server is elsewhere or nothing wants a limit.
        """
        exchange = self.server.exchange if self.wanted & LIMITED else None
        with self.server.database() as url:
            measured_copy(self.server, url, source, digests, WORKERS, with_indexes=False)
            made = None if exchange is None else dump(url, exchange, self.dimension)
        try:
            yield made
        finally:
            if made is not None:
                for file in made.directory.iterdir():
                    file.unlink()

    def _rounds(self, *names: str) -> int:
        return max((self.rounds_of(name) for name in names if name in self.wanted), default=0)

    def _load_contestants(self, made: Dump | None) -> list[Contestant]:
        rounds = self._rounds("memories", "tables")
        limits = [Contestant("limit", rounds, partial(self._limit, made, self._digests, ""))] if made else []
        return [*limits, Contestant("load", rounds, partial(self._load, self._source, self._digests, ""))]

    def _limit(self, made: Dump, digests: dict[str, Digest], which: str) -> dict[str, float]:
        found = measure_limit(self.server, made, digests, with_indexes=False)
        return {f"limit_memories{which}": found.parents, f"limit_tables{which}": found.tables}

    def _load(self, source: Path, digests: dict[str, Digest], which: str) -> dict[str, float]:
        with self.server.database() as url:
            run = measured_copy(self.server, url, source, digests, WORKERS, with_indexes=False)
        self.copies.append(run)
        figures = {f"load_memories{which}": run.phases["parents"], f"load_tables{which}": run.tables}
        return figures | ({f"cpu{which}": run.cost.cpu} if which else {})

    def _everything_contestants(self, made: Dump | None) -> list[Contestant]:
        found = []
        if made is not None:
            found.append(Contestant("by_hand", self._rounds("everything"), partial(self._by_hand, made)))
        found.append(Contestant("imports", self._rounds("start"), self._imports))
        found.append(Contestant("copy", self._rounds(*_FULL_COPIES), self._copy))
        usable = [name for name in BASELINES if name != "pgloader" or pgloader.installed()]
        return found + [Contestant(name, self._rounds(name), partial(self._baseline, name)) for name in usable]

    def _by_hand(self, made: Dump) -> dict[str, float]:
        found = measure_limit(self.server, made, self._digests, with_indexes=True)
        return {"by_hand": found.tables + found.indexes}

    def _imports(self) -> dict[str, float]:
        cost, errors = run_command([sys.executable, "-c", _IMPORTS])
        if cost.exit_code != 0:
            raise CopyFailed(f"{_IMPORTS}: {errors.strip()}")
        return {"imports": cost.wall}

    def _copy(self) -> dict[str, float]:
        """Into a new database; then, with that copy there, what is timed against it."""
        with self.server.database() as url:
            run = measured_copy(self.server, url, self._source, self._digests, WORKERS)
            self.copies.append(run)
            costs = {"copy": run.cost}
            if "verify" in self.wanted:
                costs["verify"] = measured_verify(self.server, url, self._source, WORKERS)
            if "again" in self.wanted:
                costs["again"] = self._second(url, self._source, 0)
            if "grown" in self.wanted:
                grown = grown_file(self._source, self.rows, self.dimension)
                costs["grown"] = self._second(url, grown, self._added_rows(grown))
        return {
            **{name: cost.wall for name, cost in costs.items()},
            "cpu": run.cost.cpu,
            "peak_mib": max(cost.peak_mib for cost in costs.values()),
        }

    def _added_rows(self, grown: Path) -> int:
        return sum(rows for rows, _ in expected(grown).values()) - sum(rows for rows, _ in self._digests.values())

    def _second(self, url: str, source: Path, added: int) -> Cost:
        """A run into the database that has the first copy. Raises `CopyFailed` if it adds another number of rows."""
        run = measured_copy(self.server, url, source, expected(source), WORKERS)
        self.copies.append(run)
        if run.inserted != added:
            raise CopyFailed(f"{source.name}: a second run wrote {run.inserted} rows instead of {added}")
        return run.cost

    def _baseline(self, name: str) -> dict[str, float]:
        with self.server.database() as url:
            self.server.settle(self._source)
            command = [sys.executable, "-m", f"bench.baselines.{name}", str(self._source)]
            cost, errors = run_command(command, url)
            if cost.exit_code != 0:
                raise CopyFailed(f"{name}, {self._source.name}: {errors.strip()}")
            problems = problems_of_copy(url, self._digests) + problems_of_indexes(url)
        if problems:
            raise CopyFailed(f"{name}, {self._source.name}: {'; '.join(problems)}")
        return {name: cost.wall}
