"""The command: a server of its own, a source, and one fault after the other."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.chaos.campaign import ENDED_BY_IT, KINDS, Bench
from tests.support.own_server import own_server
from tests.support.sources import SourceSpec, build_source

MEMORIES = 2000
PROXIED_BYTES = 3_000_000


def main() -> int:
    """Exit code 1 where a fault left anything wrong. Fault i of the campaign has seed `--seed` + i."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--kind", choices=KINDS, help="this one alone (default: all, in turn)")
    parser.add_argument("--living", action="store_true", help="another process changes the source meanwhile")
    given = parser.parse_args()
    # Started in the background (`&`, nohup) we have SIGINT ignored, and so would have every copy that is interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    shared = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(prefix="vestige-chaos-", dir=shared if shared.is_dir() else None) as folder,
        own_server(Path(folder)) as server,
    ):
        # Commits that are not flushed stay so for longer: a crash loses more.
        server.set("wal_writer_delay", "2s")
        spec = SourceSpec(memories=MEMORIES, schedules=MEMORIES, edges=500, events=500)
        rows = {"knowledge_nodes": MEMORIES, "scheduling": MEMORIES, "edges": 500, "review_events": 500}
        source = build_source(Path(folder) / "vestige.db", spec)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("VESTIGE_")}
        bench = Bench(server, source, rows, PROXIED_BYTES, {**environment, "HOME": folder}, living=given.living)
        return _campaign(bench, given.seed, given.faults, given.kind)


def _campaign(bench: Bench, first: int, faults: int, kind: str | None) -> int:
    tally: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    failed = []
    for seed in range(first, first + faults):
        outcome = bench.one(seed, kind or KINDS[seed % len(KINDS)])
        sys.stdout.write(f"{outcome}\n")
        sys.stdout.flush()
        tally["hit" if outcome.hit else "too late"] += 1
        if outcome.hit and outcome.kind not in ENDED_BY_IT:
            codes["survived by the run itself" if outcome.codes == [0] else "done by the run after it"] += 1
        if outcome.problem:
            failed.append(outcome)
    sys.stdout.write(f"{faults} faults, {dict(tally)}, {dict(codes)}, {len(failed)} failed\n")
    for outcome in failed:
        sys.stdout.write(f"repeat with: --seed {outcome.seed} --faults 1 --kind '{outcome.kind}'\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
