"""A program that writes to a source while it is copied: `python -m tests.support.live_writer FILE STATE`.

100 transactions a second, each a new memory with its schedule and an edge to the one before, and a change to an
older memory, as Vestige makes them: WAL mode, a busy timeout of five seconds. Ends when its standard input does, and
then writes what it did to STATE.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from uuid import UUID

BUSY_TIMEOUT_SECONDS = 5.0
_PAUSE_SECONDS = 0.01
_FIRST = 0xA000_0000


def memory_id(number: int) -> str:
    """The id of the writer's memory with this number."""
    return str(UUID(int=(_FIRST << 96) + number, version=4))


def write_until(path: Path, over: threading.Event) -> dict[str, float | int | str]:
    """Writes until the event; returns how much, and the longest that one transaction took."""
    longest, done, failure = 0.0, 0, ""
    with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)) as connection:
        while not over.is_set():
            started = time.monotonic()
            try:
                write_one(connection, done)
            except sqlite3.OperationalError as error:
                failure = str(error)
                break
            longest = max(longest, time.monotonic() - started)
            done += 1
            over.wait(_PAUSE_SECONDS)
    return {"written": done, "longest_seconds": longest, "failure": failure}


def write_one(connection: sqlite3.Connection, number: int) -> None:
    """One transaction: the memory of this number with its schedule, an edge to the one before, and a change."""
    now = f"2027-01-01T00:00:00.{number:06}Z"
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "INSERT INTO knowledge_nodes (id, content, node_type, created_at, updated_at) VALUES (?, 'live', 'fact', ?, ?)",
        (memory_id(number), now, now),
    )
    connection.execute("INSERT INTO scheduling (memory_id, stability) VALUES (?, 2.5)", (memory_id(number),))
    if number:
        connection.execute(
            "INSERT INTO edges (source_id, target_id, edge_type, weight, created_at) VALUES (?, ?, 'semantic', 0.5, ?)",
            (memory_id(number), memory_id(number - 1), now),
        )
    connection.execute(
        "UPDATE knowledge_nodes SET content = content || '.', updated_at = ? WHERE rowid = ?", (now, number % 50 + 1)
    )
    connection.execute("COMMIT")


@contextmanager
def live_writer(path: Path, state: Path) -> Iterator[Popen[str]]:
    """The writer as a process of its own, until the context ends."""
    command = [sys.executable, "-m", "tests.support.live_writer", str(path), str(state)]
    process = Popen(command, stdin=PIPE, text=True)
    try:
        yield process
    finally:
        process.communicate(timeout=30)


if __name__ == "__main__":
    stop = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    Path(sys.argv[2]).write_text(json.dumps(write_until(Path(sys.argv[1]), stop)), encoding="utf-8")
