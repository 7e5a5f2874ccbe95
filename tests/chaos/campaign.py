"""One fault: a fresh database, a copy that is hurt at a random moment, copies until one is done, and `verify`."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from tests.chaos.proxy import Harm, harmful_proxy
from tests.support.killer import Killer
from tests.support.own_server import OwnServer, alive
from tests.support.running import RunningCopy, advisory_locks, end_asking, our_sessions, wait_until

ENDED_BY_IT = {"kill coordinator": -signal.SIGKILL, "SIGTERM": 130, "SIGINT": 130, "kill every worker": 4}
"""Faults that end the run, and with which exit code."""
_BEFORE_IT_BEGAN = {"SIGTERM": (-signal.SIGTERM,), "SIGINT": (-signal.SIGINT,)}
"""Python's own ending, with its own traceback, while the interpreter starts and no line of ours has run."""
SURVIVED = (
    "kill worker", "kill workers", "terminate worker", "terminate coordinator", "terminate any", "restart fast",
    "restart immediate", "refuse", *(f"proxy {harm}" for harm in Harm), "stop worker", "stop coordinator", "full log",
)  # fmt: skip
"""Faults that the run itself gets over."""
KINDS = (*SURVIVED, *ENDED_BY_IT)
MOST_RUNS = 3
LONGEST_MOMENT_SECONDS = 1.5
REFUSED_SECONDS = 20.0
HOSTILE_SECONDS = 60.0
"""A host that kills every worker is to be named within this time."""


@dataclass(frozen=True)
class Outcome:
    """What one fault led to; `problem` is empty where nothing is wrong."""

    seed: int
    kind: str
    moment: str
    hit: bool
    codes: list[int]
    problem: str

    def __str__(self) -> str:
        hit = "hit" if self.hit else "the run had ended"
        return f"seed {self.seed} {self.kind}, {self.moment}: {hit}, exits {self.codes}, {self.problem or 'ok'}"


@dataclass(frozen=True)
class Bench:
    """The server that is hurt, and what is copied into it: so many rows, and so many bytes through a proxy."""

    server: OwnServer
    source: Path
    rows: dict[str, int]
    bytes: int
    environment: dict[str, str]
    refused_seconds: float = REFUSED_SECONDS
    living: bool = False
    """Another process changes the source while the copy is hurt; the runs after it bring what changed."""

    def one(self, seed: int, kind: str) -> Outcome:
        """One fault in a database of its own; everything random comes from `seed`."""
        url = self.server.database()
        with tempfile.TemporaryDirectory(prefix="vestige-chaos-") as folder:
            outcome = _Fault(self, seed, kind, url, Path(folder)).run()
        self.server.drop(url)
        return outcome


@dataclass
class _Fault:
    bench: Bench
    seed: int
    kind: str
    url: str
    folder: Path
    codes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir()
        self.source = self.bench.source
        if self.bench.living:
            self.source = self.folder / "vestige.db"
            shutil.copyfile(self.bench.source, self.source)

    def run(self) -> Outcome:
        """The hurt copy, the ones after it, and every check."""
        with self._living():
            hit, moment, below, problem = self._hurt()
        if self.bench.living and not problem and self.codes[0] == 0:
            problem = self._finish(self._start(self.url), last=True)
        if not problem and hit and self.codes[0] not in self._expected():
            problem = f"exit {self.codes[0]}"
        while not problem and self.codes[-1] != 0:
            if len(self.codes) == MOST_RUNS:
                problem = "never done"
                break
            problem = self._finish(self._start(self.url), last=True)
        problem = problem or self._leftovers(below) or self._verify()
        return Outcome(self.seed, self.kind, moment, hit, self.codes, problem)

    @contextmanager
    def _living(self) -> Iterator[None]:
        if not self.bench.living:
            yield
            return
        writer = subprocess.Popen(
            [sys.executable, "-m", "tests.support.living_writer", self.source, "plain", "100000", "100",
             str(self.seed)],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield
            if writer.poll() is not None:
                raise AssertionError("the living source did not live")
        finally:
            writer.kill()
            writer.wait()

    def _expected(self) -> set[int]:
        """Exit codes of the hurt run. 3: it had only just begun, and was refused."""
        ended = ENDED_BY_IT.get(self.kind)
        if ended is None:
            return {0, 3}
        # 0: it had done everything, and was on its way out.
        return {0, ended, *_BEFORE_IT_BEGAN.get(self.kind, ())}

    def _hurt(self) -> tuple[bool, str, list[psutil.Process], str]:
        _, _, harm = self.kind.partition("proxy ")
        limit = self.chance.randrange(self.bench.bytes)
        if harm:
            with harmful_proxy(self.bench.server.socket_path, limit, Harm(harm)) as proxy:
                run = self._start(make_conninfo(self.url, host="127.0.0.1", port=proxy.port))
                below = _family(run)
                problem = self._finish(run)
                return proxy.struck.is_set(), f"after {limit} bytes", below, problem
        # The log goes nowhere: said once, and the copy is made all the same.
        run = self._start(self.url, *(("--log-file", "/dev/full") if self.kind == "full log" else ()))
        moment = self._await_moment(run)
        below = _family(run)
        hit = False
        while run.process.poll() is None and not hit:
            hit = self._strike(run)
            below += _family(run)
        return hit, moment, below, self._finish(run)

    def _await_moment(self, run: RunningCopy) -> str:
        """Waits for a moment of the run: so many seconds after its start, so many rows of a table, an index build."""
        what = self.chance.choice(("time", "rows", "rows", "index"))
        if what == "time":
            seconds = self.chance.uniform(0, LONGEST_MOMENT_SECONDS)
            time.sleep(seconds)  # the moment is the point
            return f"{seconds:.2f} s after its start"
        table, most = self.chance.choice(list(self.bench.rows.items()))
        rows = self.chance.randrange(most)
        condition = _IS_BUILDING if what == "index" else f"SELECT count(*) > {rows} FROM {table}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            while run.process.poll() is None:
                with suppress(psycopg.errors.UndefinedTable):
                    found = connection.execute(condition.encode()).fetchone()
                    if found is not None and found[0]:
                        break
        return "in an index build" if what == "index" else f"with {rows} rows of {table}"

    def _start(self, url: str, *more: str) -> RunningCopy:
        brings = ("--on-conflict", "newer", "--deletions", "apply") if self.bench.living else ()
        return RunningCopy.start(
            "--sqlite-path", self.source, "--postgres-url", url, "--workers", "2", "--batch-size", "50",
            "--answer-timeout", "2", "--report", self._report, *brings, *more,
            environment={**self.bench.environment, "TMPDIR": str(self.temporary)},
        )  # fmt: skip

    @property
    def _report(self) -> Path:
        return self.folder / "report.json"

    def _finish(self, run: RunningCopy, last: bool = False) -> str:
        """Notes the exit code and says what is wrong with the end of a run."""
        code, _, err = run.finish()
        self.codes.append(code)
        if "Traceback" in err and code not in _BEFORE_IT_BEGAN.get(self.kind, ()):
            return f"traceback: {err[-900:]}"
        # Rows of a source in use may be refused until their memory is there.
        if self.kind == "kill every worker" and "not_copied" in err and not self.bench.living:
            return f"rows were blamed for what the host did: {err[-900:]}"
        if code != 0:
            return f"the run after it failed: {err[-900:]}" if last and code != 3 else ""
        return self._misreported(json.loads(self._report.read_text()))

    def _misreported(self, report: dict[str, Any]) -> str:
        tables: dict[str, dict[str, int]] = report["tables"]
        for name, table in tables.items():
            dealt_with = ("inserted", "updated", "skipped", "failed", "forgotten")
            if table["source_rows"] != sum(table[outcome] for outcome in dealt_with):
                return f"the report of {name} does not add up: {table}"
        all_there = self.bench.living or report["memories_copied"] == self.bench.rows["knowledge_nodes"]
        if not all_there or report["errors"] or not report["complete"]:
            return f"the report has {report['memories_copied']} memories and {len(report['errors'])} errors"
        return ""

    def _strike(self, run: RunningCopy) -> bool:
        """Whether there was anything to strike."""
        strikes: dict[str, Callable[[], bool]] = {
            "kill worker": lambda: _kill(run.workers(), self.chance, 1),
            "kill workers": lambda: _kill(run.workers(), self.chance, 2),
            "kill coordinator": lambda: _signal(run, signal.SIGKILL),
            "SIGTERM": lambda: _signal(run, signal.SIGTERM),
            "SIGINT": lambda: _signal(run, signal.SIGINT),
            "terminate worker": lambda: self._terminate("% worker"),
            "terminate coordinator": lambda: self._terminate("% coordinator"),
            "terminate any": lambda: self._terminate("%"),
            "restart fast": lambda: self._restart("fast", 0),
            "restart immediate": lambda: self._restart("immediate", 0),
            "kill every worker": lambda: self._kill_all(run),
            "stop worker": lambda: _stop(run.workers(), self.chance),
            "stop coordinator": lambda: self._suspend(run),
            "full log": lambda: True,
            "refuse": lambda: self._restart(self.chance.choice(("fast", "immediate")), self.bench.refused_seconds),
        }
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            return strikes[self.kind]()
        return False

    def _kill_all(self, run: RunningCopy) -> bool:
        """Until the run has ended, every worker dies soon after its start."""
        killer = Killer(run.worker_pids, lambda: self.chance.uniform(0.0, 0.05), chance=self.chance)
        killer.until(lambda: run.process.poll() is not None, HOSTILE_SECONDS)
        return killer.killed > 0

    def _suspend(self, run: RunningCopy) -> bool:
        run.process.send_signal(signal.SIGSTOP)
        time.sleep(self.chance.uniform(1.0, 10.0))  # how long is the point; a still worker is ended after 6 s
        run.process.send_signal(signal.SIGCONT)
        return True

    def _restart(self, mode: str, seconds: float) -> bool:
        self.bench.server.stop(mode)
        time.sleep(seconds)  # how long it is away is the point
        self.bench.server.start()
        return True

    def _terminate(self, who: str) -> bool:
        """One session of this run, drawn from those that there are."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            pids = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE %s"
                " ORDER BY pid",
                (f"vestige-migrate {who}",),
            ).fetchall()
            if not pids:
                return False
            connection.execute("SELECT pg_terminate_backend(%s)", self.chance.choice(pids))
        return True

    def _leftovers(self, below: list[psutil.Process]) -> str:
        try:
            wait_until(lambda: not any(alive(item.pid) for item in below), "our processes to end")
            wait_until(lambda: our_sessions(self.url) == 0, "our sessions to end")
            wait_until(lambda: advisory_locks(self.url) == 0, "the lock to be free")
        except AssertionError as error:
            return str(error)
        finally:
            end_asking()
        left = [str(path.relative_to(self.temporary)) for path in self.temporary.rglob("*")]
        return f"left in the temporary folder: {left}" if left else ""

    def _verify(self) -> str:
        done = subprocess.run(
            [Path(sys.executable).parent / "vestige", "migrate", "verify", "--sqlite-path", self.source,
             "--postgres-url", self.url],
            capture_output=True, text=True, check=False, timeout=120, env=self.bench.environment,
        )  # fmt: skip
        return f"verify exit {done.returncode}: {done.stdout[-300:]}{done.stderr[-300:]}" if done.returncode else ""


_IS_BUILDING = "SELECT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE datname = current_database())"


def _family(run: RunningCopy) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return run.descendants()
    return []


def _kill(workers: list[psutil.Process], chance: random.Random, most: int) -> bool:
    struck = chance.sample(workers, min(most, len(workers)))
    for process in struck:
        process.kill()
    return bool(struck)


def _stop(workers: list[psutil.Process], chance: random.Random) -> bool:
    if workers:
        chance.choice(workers).send_signal(signal.SIGSTOP)
    return bool(workers)


def _signal(run: RunningCopy, number: signal.Signals) -> bool:
    """To the coordinator; Ctrl-C to the whole terminal group. A run that has not set up its handlers yet just ends."""
    if number is signal.SIGINT:
        run.interrupt()
    else:
        run.process.send_signal(number)
    return True
