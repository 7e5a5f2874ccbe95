"""What is no source is refused with exit code 3 and a line that says what it is instead."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from tests.acceptance.conftest import copy_of
from tests.conftest import CommandLine
from tests.support.compare import assert_same
from tests.support.sources import SourceSpec, build_source

pytestmark = pytest.mark.in_process


def absent(path: Path) -> None:
    assert not path.exists()


def other_application(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (id TEXT, body TEXT)")


def truncated(path: Path) -> None:
    build_source(path, SourceSpec().sized(20))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    os.truncate(path, 20_000)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (absent, "does not exist: give Vestige's database with --sqlite-path"),
        (Path.mkdir, "is a directory: give the file in it, usually vestige.db"),
        (os.mkfifo, "is a device, pipe or socket, and no file"),
        (Path.touch, "is an empty file (0 bytes), and no Vestige database"),
        (lambda path: path.write_text("hello\n" * 100), "is a text file, and no SQLite database"),
        (other_application, "is the SQLite database of another application, and no Vestige file"),
        (truncated, "is a truncated SQLite database"),
    ],
    ids=["missing", "directory", "fifo", "empty", "text", "other-application", "truncated"],
)
def test_what_is_no_source_is_named(
    make: Callable[[Path], object], words: str, tmp_path: Path, command: CommandLine
) -> None:
    path = tmp_path / "some.db"
    make(path)
    done = command("copy", "--sqlite-path", path, "--postgres-url", "host=127.0.0.1 port=1")
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {path} ")
    assert words in line


def test_without_a_path_it_is_vestiges_own_file(command: CommandLine, tmp_path: Path) -> None:
    done = command("copy", VESTIGE_DATA_DIR=str(tmp_path / "data"), VESTIGE_POSTGRES_URL="host=127.0.0.1 port=1")
    assert done.returncode == 3
    assert done.stderr.startswith(f"error: {tmp_path / 'data' / 'vestige.db'} does not exist")


def test_an_older_source_is_refused_then_copied_from_a_snapshot_then_upgraded(
    tmp_path: Path, database: str, command: CommandLine
) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(version=14, form="vestige").sized(30))
    before = sha256(path.read_bytes()).digest()
    arguments = copy_of(path, database)
    refused = command(*arguments)
    assert refused.returncode == 3
    (line,) = refused.stderr.splitlines()
    for words in (str(path), "V14", "V15", "--snapshot", "--allow-source-upgrade"):
        assert words in line
    snapshot = command(*arguments, "--snapshot")
    assert snapshot.returncode == 0, snapshot.stderr
    assert sha256(path.read_bytes()).digest() == before
    upgraded = command(*arguments, "--allow-source-upgrade")
    assert upgraded.returncode == 0, upgraded.stderr
    (backup,) = tmp_path.glob("vestige.db.v14-backup-*")
    assert str(backup) in upgraded.stderr
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT MAX(version) FROM schema_version").fetchone() == (15,)
        assert connection.execute("PRAGMA user_version").fetchone() == (15,)
    assert_same(path, database)


@pytest.mark.parametrize("name", [b"m\xc3\xa9moire [b]?#%41.db", b"no\xfftext.db"], ids=["utf-8", "bytes"])
def test_a_path_of_unusual_characters(name: bytes, tmp_path: Path, database: str, command: CommandLine) -> None:
    path = tmp_path / os.fsdecode(name)
    build_source(tmp_path / "plain.db", SourceSpec().sized(10)).rename(path)
    file = command.home / "report.json"
    done = command(*copy_of(path, database), "--report", file, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert b'"memories_copied": 10' in file.read_bytes()


def test_two_models_are_refused_with_both_signatures_and_both_ways(
    source: Path, command: CommandLine, database: str
) -> None:
    done = command(*copy_of(source, database), "--embedding-model", "BAAI/bge-large-en-v1.5",
        "--embedding-dimension", "1024", "--embedding-hash", "1234",
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == (
        "error: embedding model mismatch between source and destination\n\n"
        f"  source registered:  {SourceSpec().model} (dim 256, hash {SourceSpec().model_hash})\n"
        "  embedder presented: BAAI/bge-large-en-v1.5 (dim 1024, hash 1234)\n\n"
        "Nothing was written. Let Vestige re-embed the source with BAAI/bge-large-en-v1.5 and copy again, or run this "
        "command again with the original embedder.\n"
    )
