"""The command: rows through the decode path, then whole files through a server of its own."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loguru import logger
from psycopg.conninfo import make_conninfo

from tests.fuzz.check import Result, in_database
from tests.fuzz.files import Maker
from tests.fuzz.huge import HUGE, huge_files
from tests.fuzz.rows import fuzz_rows
from vestige_migrate.destination import embedded


def main() -> int:
    """Exit code 1 where anything is wrong. File i has seed `--seed` + i."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--show", action="store_true", help="what was done to each file")
    parser.add_argument("--huge", action="store_true", help="only values past 200 MB and 1 GiB: 8 GB, minutes")
    given = parser.parse_args()
    logger.remove()
    if given.huge:
        with _server() as (folder, url):
            wrong = list(huge_files(folder, url))
        _say(f"{len(HUGE)} huge files, {len(wrong)} things wrong", *wrong)
        return 1 if wrong else 0
    wrong = list(fuzz_rows(given.seed, given.rows)) if given.rows else []
    _say(f"{given.rows} rows encoded, {len(wrong)} wrong", *wrong)
    if given.files:
        with _server() as (folder, url):
            wrong += _files(folder, url, given.seed, given.files, given.show)
    return 1 if wrong else 0


@contextmanager
def _server() -> Iterator[tuple[Path, str]]:
    """A folder, in memory where there is one, and the URL of a server in it."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="vestige-fuzz-", dir=shared if shared.is_dir() else None) as folder:
        Path(folder).chmod(0o711)  # as root the server runs as another account, which has to pass it
        server = embedded.start(Path(folder) / "postgres")
        try:
            yield Path(folder), make_conninfo(server.url, dbname="postgres")
        finally:
            embedded.stop(server.data_directory)


def _files(folder: Path, url: str, first: int, count: int, show: bool) -> list[str]:
    wrong: list[str] = []
    results: list[Result] = []
    started = time.monotonic()
    maker = Maker(folder)
    for seed in range(first, first + count):
        made = maker.make(seed)
        result = in_database(url, seed, made)
        if show:
            _say(f"file of seed {seed}: {made.spec.line} V{made.spec.version} {made.spec.form}", *made.done)
        if result.refused:
            _say(f"file of seed {seed} refused: {result.refused}")
        found = [f"file of seed {seed}: {problem}" for problem in result.problems]
        if found:
            _say(*found, f"repeat with: --seed {seed} --rows 0 --files 1 --show")
        wrong += found
        results.append(result)
    refused = sum(bool(result.refused) for result in results)
    _say(
        f"{count} files copied twice and compared in {time.monotonic() - started:.0f} s: {refused} refused, "
        f"{sum(result.rows for result in results)} rows, {sum(len(result.errors) for result in results)} row errors, "
        f"{sum(bool(result.problems) for result in results)} files with something wrong"
    )
    return wrong


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
