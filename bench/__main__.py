"""`python -m bench`: makes sources, times copies at several numbers of workers beside the limit, checks every copy.

Exit code 1: a copy failed or is not equal to its source. A missed bar is printed and changes nothing: times depend on
what else the machine does.
"""

from __future__ import annotations

import argparse
import signal
import sys
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from bench.check import CopyFailed
from bench.report import print_size, write_json
from bench.rounds import Settings, measure_size
from bench.server import running_server
from vestige_migrate.errors import MigrationError

RESULTS = Path(__file__).parent / "results"
_PIPE_COLUMNS = 120


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part.replace("_", "")) for part in text.split(","))
    if min(numbers) < 1:
        raise ValueError
    return numbers


def _settings(arguments: list[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Times the copy beside the server's limit.")
    parser.add_argument("--rows", type=_numbers, default=(1_000, 100_000), help="memories (default 1000,100000)")
    parser.add_argument("--dim", type=int, default=256, help="dimensions of the vectors (default 256)")
    parser.add_argument("--runs", type=int, help="rounds; their medians are shown (default 3)")
    parser.add_argument("--workers", type=_numbers, default=(1, 2, 4), help="numbers of workers (default 1,2,4)")
    parser.add_argument(
        "--no-indexes", action="store_true", help="copy the tables only (most of the time goes to indexes)"
    )
    parser.add_argument("--smoke", action="store_true", help="one round, and no time or size is judged (for CI)")
    given = parser.parse_args(arguments)
    return Settings(
        rows=given.rows,
        dimension=given.dim,
        runs=given.runs or (1 if given.smoke else 3),
        workers=given.workers,
        with_indexes=not given.no_indexes,
        judge=not given.smoke,
        results=RESULTS,
    )


def _on_terminate(_signum: int, _frame: FrameType | None) -> NoReturn:
    """As Ctrl-C does, so that a stopped benchmark leaves no server and no database behind."""
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    settings = _settings(arguments)
    signal.signal(signal.SIGTERM, _on_terminate)
    # A table that is cut to the 80 columns of a pipe is of no use to anyone.
    console = Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
    progress = Console(stderr=True, style="dim", highlight=False)
    say = partial(progress.print, markup=False, soft_wrap=True)
    results = []
    try:
        with running_server() as server:
            say(server.name)
            for rows in settings.rows:
                results.append(measure_size(server, settings, rows, say))
                print_size(console, settings, results[-1])
            path = write_json(settings, server.name, results)
    except (CopyFailed, MigrationError) as error:
        Console(stderr=True, highlight=False).print(f"error: {error}", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    console.print(f"written: {path}", soft_wrap=True, highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
