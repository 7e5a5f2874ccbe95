"""A source some time later: a copy of it with memories added, and the schedules, edges and events of these."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from bench.source import Builder

GROWTH = 0.01


def added_memories(rows: int) -> int:
    """How many memories a source of `rows` gains."""
    return max(2, round(rows * GROWTH))


def grown_file(source: Path, rows: int, dimension: int) -> Path:
    """The grown copy of `source`, built where it is not beside it yet."""
    path = source.with_name(f"{source.stem}-grown.db")
    if path.exists():
        return path
    unfinished = path.with_suffix(".tmp")
    shutil.copyfile(source, unfinished)  # nobody writes to a source, so its -wal file is empty
    with closing(sqlite3.connect(unfinished)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        Builder(connection, rows, dimension).append(added_memories(rows))
        connection.commit()
        connection.execute("PRAGMA journal_mode = WAL")
    unfinished.rename(path)
    return path
