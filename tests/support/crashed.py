"""Files as a killed Vestige leaves them: changes that are only in the WAL, or a write broken off in the middle."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

IN_WAL = "only in the WAL"
HALF_WRITTEN = "never committed"


def leave_wal(path: Path, target: Path, with_index: bool) -> Path:
    """Copies the database to `target` with a committed change that only its `-wal` has; `-shm` beside it or not."""
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("UPDATE knowledge_nodes SET content = ? WHERE rowid <= 3", (IN_WAL,))
        writer.commit()
        _copy(path, target, ("", "-wal", "-shm") if with_index else ("", "-wal"))
    assert IN_WAL.encode() not in target.read_bytes()
    assert IN_WAL.encode() in target.with_name(target.name + "-wal").read_bytes()
    return target


def leave_journal(path: Path, target: Path) -> Path:
    """Copies the database to `target` in the middle of a transaction, in rollback mode: only its journal undoes it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        assert writer.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        writer.execute("PRAGMA cache_size = 2")  # pages: the rest goes to the file before the commit
        writer.execute("BEGIN")
        writer.execute("UPDATE knowledge_nodes SET content = ? || id", (HALF_WRITTEN,))
        _copy(path, target, ("", "-journal"))
        writer.execute("ROLLBACK")
    assert HALF_WRITTEN.encode() in target.read_bytes()
    return target


def _copy(path: Path, target: Path, suffixes: tuple[str, ...]) -> None:
    for suffix in suffixes:
        shutil.copyfile(path.with_name(path.name + suffix), target.with_name(target.name + suffix))
