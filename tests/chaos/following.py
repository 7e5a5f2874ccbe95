"""`python -m tests.chaos.following`: a copy follows a source in use while its server is restarted and its workers die.

Another process changes the source all the time (`tests.support.living_writer`). Then that ends, `--until-idle` ends the
copy, and `verify` compares both sides. Prints what was done and how far behind the destination was.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.own_server import OwnServer, fresh_server
from tests.support.running import RunningCopy, end_all
from tests.support.sources import SourceSpec, build_source

FORMS = {
    "plain": SourceSpec(dimension=64),
    "vestige": SourceSpec(form="vestige", dimension=64),
    "released": SourceSpec(line="released", version=35, form="vestige", dimension=64),
}
_IDLE_SECONDS = 5


def follow(
    form: str, memories: int, seconds: float, per_second: float, restarts: int, kills: int, seed: int
) -> dict[str, Any]:
    """One run; what it did, with `exit_code` of the copy and `verify` of the comparison: 0 is well."""
    with fresh_server() as server, TemporaryDirectory(dir=server.data.parent) as folder:
        return _Run(server, Path(folder), form, seed).run(memories, seconds, per_second, restarts, kills)


class _Run:
    def __init__(self, server: OwnServer, folder: Path, form: str, seed: int) -> None:
        self._server = server
        self._form = form
        self._seed = seed
        self._source = folder / "vestige.db"
        self._log, self._report = folder / "follow.log", folder / "report.json"
        self._chance = random.Random(seed)

    def run(self, memories: int, seconds: float, per_second: float, restarts: int, kills: int) -> dict[str, Any]:
        build_source(self._source, FORMS[self._form].sized(memories))
        url = self._server.database()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VESTIGE_")}
        ends = ("--sqlite-path", self._source, "--postgres-url", url)
        copy = RunningCopy.start(
            *ends, "--follow", "--until-idle", str(_IDLE_SECONDS), "--deletions", "apply", "--workers", "2",
            "--log-level", "DEBUG", "--log-file", self._log, "--report", self._report, environment=environment,
        )  # fmt: skip
        try:
            copy.wait_until(self._has_begun, "the first pass")
            writer = subprocess.Popen(
                [sys.executable, "-m", "tests.support.living_writer", self._source, self._form,
                 str(round(seconds * per_second)), str(per_second), str(self._seed)],
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            killed = self._disturb(copy, writer, seconds, restarts, kills)
            written, _ = writer.communicate(timeout=seconds + 120)
            out, err = copy.process.communicate(timeout=180)
        finally:
            end_all()
        verified = subprocess.run(
            [Path(sys.executable).parent / "vestige-migrate", "verify", *ends],
            check=False, capture_output=True, text=True, timeout=180, env=environment,
        )  # fmt: skip
        passes = json.loads(self._report.read_text()).get("passes", [])
        further = [done["behind_seconds"] for done in passes if not done["whole"]]
        return {
            "form": self._form,
            "seed": self._seed,
            "written": json.loads(written),
            "restarts": restarts,
            "killed_workers": killed,
            "exit_code": copy.process.returncode,
            "passes": len(passes),
            "behind_seconds_median": statistics.median(further) if further else None,
            "behind_seconds_most": max(further, default=None),
            "rows": {name: sum(done[name] for done in passes[1:]) for name in ("inserted", "updated", "deleted")},
            "verify": verified.returncode,
            "said": "" if copy.process.returncode == verified.returncode == 0 else out + err + verified.stdout,
        }

    def _has_begun(self) -> bool:
        return self._log.exists() and "every change is brought" in self._log.read_text()

    def _disturb(
        self, copy: RunningCopy, writer: subprocess.Popen[str], seconds: float, restarts: int, kills: int
    ) -> int:
        """Restarts and kills, evenly over the time; how many workers were killed."""
        began, killed = time.monotonic(), 0
        faults = ["restart"] * restarts + ["kill"] * kills
        self._chance.shuffle(faults)
        for number, fault in enumerate(faults, 1):
            while time.monotonic() - began < seconds * number / (len(faults) + 1):
                time.sleep(0.05)
            if fault == "restart":
                self._server.stop(self._chance.choice(["fast", "immediate"]))
                time.sleep(self._chance.uniform(0, 2))
                self._server.start()
                continue
            # There are workers only while a pass is under way.
            while writer.poll() is None and not (pids := copy.worker_pids()):
                time.sleep(0.002)
            with suppress(ProcessLookupError, IndexError):
                os.kill(pids[0], signal.SIGKILL)
                killed += 1
        return killed


def main() -> None:
    """Runs the rounds; exit code 1 where one of them went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--form", choices=FORMS, action="append")
    parser.add_argument("--memories", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--per-second", type=float, default=100)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    well = True
    for form in given.form or FORMS:
        found = follow(form, given.memories, given.seconds, given.per_second, given.restarts, given.kills, given.seed)
        sys.stdout.write(json.dumps(found) + "\n")
        well = well and found["exit_code"] == found["verify"] == 0
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
