"""A copy keeps its locks on the source from its first look to its end, so that no other program takes the log away."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.support.sources import SourceSpec, build_source
from vestige_migrate.plan import SqliteToPostgresPlan
from vestige_migrate.prepare.source import found_source, prepared_source
from vestige_migrate.source.sqlite.raw_file import raw_file

_WRITE_AND_CLOSE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("UPDATE domains SET label = label || '!'")
connection.commit()
connection.close()
"""
_LOCK_OUT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0)
try:
    connection.execute("BEGIN EXCLUSIVE")
except sqlite3.OperationalError:
    sys.exit(7)
"""
SMALL = SourceSpec(memories=20, schedules=20, edges=4, events=4, dimension=8)


def other_program(program: str, path: Path) -> int:
    return subprocess.run([sys.executable, "-c", program, path], check=False, timeout=30).returncode


def descriptors_of(path: Path) -> int:
    """How many this process has of the file."""
    found = 0
    for number in os.listdir("/dev/fd"):  # noqa: PTH208  # names, not paths
        with suppress(OSError):  # that of the listing
            found += os.path.samestat(os.fstat(int(number)), path.stat())
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return build_source(tmp_path / "vestige.db", SMALL)


def test_the_last_program_that_closes_the_source_leaves_its_log_to_the_copy(path: Path) -> None:
    plan = SqliteToPostgresPlan(path, "host=nowhere")
    with found_source(plan) as found, prepared_source(plan, found) as source:
        before = source.state()
        for _ in range(3):
            assert other_program(_WRITE_AND_CLOSE, path) == 0
            assert path.with_name("vestige.db-wal").exists()
            assert source.changed_since(before)
            before = source.state()
            (label,) = source.connection.execute("SELECT max(label) FROM domains").fetchone()
            source.check_same()
        assert label.endswith("!!!")


def test_reading_the_file_itself_keeps_the_locks_of_this_process(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")  # in which a reader's lock is on the file itself
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM domains").fetchall()
        for _ in range(5):
            with raw_file(path) as file:
                assert file.read(6) == b"SQLite"
        assert other_program(_LOCK_OUT, path) == 7
        # Its own, and one that is kept for as long as that.
        assert descriptors_of(path) == 2
    # What was kept open for that is closed when a file is read again.
    with raw_file(path):
        pass
    assert other_program(_LOCK_OUT, path) == 0
    assert descriptors_of(path) == 0


def test_a_file_that_is_read_again_is_read_as_it_is_then(tmp_path: Path) -> None:
    path = tmp_path / "any"
    with path.open("wb", buffering=0) as writer:  # keeps the descriptor of the first look from being closed
        for content in (b"one", b"two"):
            writer.seek(0)
            writer.write(content)
            with raw_file(path) as file:
                assert file.read(10) == content
