"""The command: a server of its own, a source, and one fault after the other."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from psycopg.conninfo import make_conninfo

from tests.chaos.campaign import KINDS, Bench
from tests.support.sources import SourceSpec, build_source
from vestige_migrate.destination import embedded


def main() -> int:
    """Exit code 1 where a fault left anything wrong. Fault i of the campaign has seed `--seed` + i."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=200)
    given = parser.parse_args()
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="vestige-chaos-", dir=shared if shared.is_dir() else None) as folder:
        root = Path(folder)
        source = build_source(root / "vestige.db", SourceSpec(memories=2000, schedules=2000, edges=500, events=500))
        server = embedded.start(root / "postgres")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("VESTIGE_")}
        url = make_conninfo(server.url, dbname="postgres")
        bench = Bench(root / "postgres", url, source, {**environment, "HOME": folder})
        try:
            return _campaign(bench, given.seed, given.faults)
        finally:
            embedded.stop(server.data_directory)


def _campaign(bench: Bench, first: int, faults: int) -> int:
    tally: Counter[str] = Counter()
    failed = []
    for seed in range(first, first + faults):
        outcome = bench.one(seed, KINDS[seed % len(KINDS)])
        sys.stdout.write(f"{outcome}\n")
        sys.stdout.flush()
        tally["hit" if outcome.hit else "too late"] += 1
        if outcome.problem:
            failed.append(seed)
    sys.stdout.write(f"{faults} faults, {dict(tally)}, {len(failed)} failed\n")
    for seed in failed:
        sys.stdout.write(f"repeat with: --seed {seed} --faults 1\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
