"""One fault: a fresh database, a copy that is hurt at a random moment, copies until one is done, and `verify`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.chaos.proxy import cutting
from tests.support.running import RunningCopy, advisory_locks, our_sessions, wait_until

KINDS = (
    "kill worker", "kill workers", "kill coordinator", "SIGTERM", "SIGINT", "terminate worker",
    "terminate coordinator", "restart fast", "restart immediate", "proxy drop", "proxy reset",
)  # fmt: skip
MOST_RUNS = 5
LONGEST_MOMENT_SECONDS = 2.2
PROXIED_BYTES = 6_000_000


@dataclass(frozen=True)
class Outcome:
    """What one fault led to; `problem` is empty where nothing is wrong."""

    seed: int
    kind: str
    moment: float
    hit: bool
    codes: list[int]
    problem: str

    def __str__(self) -> str:
        hit = "hit" if self.hit else "the run had ended"
        return f"seed {self.seed} {self.kind} at {self.moment:.2f} {hit} exits {self.codes} {self.problem or 'ok'}"


@dataclass(frozen=True)
class Bench:
    """The server that is hurt, and what is copied into it."""

    data: Path
    server_url: str
    source: Path
    environment: dict[str, str]

    def one(self, seed: int, kind: str) -> Outcome:
        """One fault in a database of its own; everything random comes from `seed`."""
        chance = random.Random(seed)
        name = f"chaos_{seed}"
        with psycopg.connect(self.server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        url = make_conninfo(self.server_url, dbname=name)
        outcome = self._hurt(seed, kind, chance, url)
        with psycopg.connect(self.server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        return outcome

    def _hurt(self, seed: int, kind: str, chance: random.Random, url: str) -> Outcome:
        moment = chance.uniform(0, LONGEST_MOMENT_SECONDS)
        limit = chance.randrange(PROXIED_BYTES)
        parameters = conninfo_to_dict(url)
        socket_path = f"{parameters['host']}/.s.PGSQL.{parameters.get('port', 5432)}"
        proxied = kind.startswith("proxy")
        with cutting(socket_path, limit, kind == "proxy reset") if proxied else nullcontext() as proxy:
            target = make_conninfo(url, host="127.0.0.1", port=proxy.port) if proxy else url
            run = self._start(target)
            hit = False
            if not proxied:
                time.sleep(moment)  # the moment is the point
                below = _family(run)
                hit = run.process.poll() is None
                self._strike(kind, run, url, chance)
            else:
                below = _family(run)
            code, _, err = run.finish()
            hit = proxy.cut if proxy else hit
        codes = [code]
        problem = f"traceback: {err[-900:]}" if "Traceback" in err else ""
        while codes[-1] != 0 and len(codes) < MOST_RUNS:
            code, _, err = self._start(url).finish()
            codes.append(code)
            problem = problem or ("Traceback" if "Traceback" in err else "")
        problem = problem or (f"never done: {err[-300:]}" if codes[-1] else "") or self._leftovers(url, below)
        return Outcome(seed, kind, limit if proxied else moment, hit, codes, problem or self._verify(url))

    def _start(self, url: str) -> RunningCopy:
        more = ("--workers", "2", "--batch-size", "50")
        return RunningCopy.start(
            "--sqlite-path", self.source, "--postgres-url", url, *more, environment=self.environment
        )

    def _strike(self, kind: str, run: RunningCopy, url: str, chance: random.Random) -> None:
        strikes: dict[str, Callable[[], object]] = {
            "kill worker": lambda: _kill(run.workers(), chance, 1),
            "kill workers": lambda: _kill(run.workers(), chance, 2),
            "kill coordinator": run.process.kill,
            "SIGTERM": run.process.terminate,
            "SIGINT": run.interrupt,
            "terminate worker": lambda: _terminate(url, "worker"),
            "terminate coordinator": lambda: _terminate(url, "coordinator"),
            "restart fast": lambda: self._restart("fast"),
            "restart immediate": lambda: self._restart("immediate"),
        }
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            strikes[kind]()

    def _restart(self, mode: str) -> None:
        """Through a signal to our own server; the library starts it again."""
        from vestige_migrate.destination import embedded

        pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGQUIT if mode == "immediate" else signal.SIGINT)
        wait_until(lambda: not _alive(pid), "the server to stop")
        embedded.start(self.data)

    def _leftovers(self, url: str, below: list[psutil.Process]) -> str:
        try:
            wait_until(lambda: not any(_alive(item.pid) for item in below), "our processes to end")
            wait_until(lambda: our_sessions(url) == 0, "our sessions to end")
            wait_until(lambda: advisory_locks(url) == 0, "the lock to be free")
        except AssertionError as error:
            return str(error)
        return ""

    def _verify(self, url: str) -> str:
        done = subprocess.run(
            [Path(sys.executable).parent / "vestige", "migrate", "verify", "--sqlite-path", self.source,
             "--postgres-url", url],
            capture_output=True, text=True, check=False, timeout=120, env=self.environment,
        )  # fmt: skip
        return f"verify exit {done.returncode}: {done.stdout[-300:]}{done.stderr[-300:]}" if done.returncode else ""


def _family(run: RunningCopy) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return run.descendants()
    return []


def _kill(workers: list[psutil.Process], chance: random.Random, most: int) -> None:
    for process in chance.sample(workers, min(most, len(workers))):
        process.kill()


def _alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _terminate(url: str, who: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE %s",
            (f"vestige-migrate % {who}",),
        )
