"""Files that are no Vestige database: refused before anything is written, with a message that says what they are."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.untouched import database_objects, files
from vestige_migrate import SourceUnusable
from vestige_migrate.source.sqlite import connect

pytestmark = pytest.mark.in_process

PAGE = 8192


def other_application(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for table in ("moz_places", "moz_bookmarks", "a", "b", "c", "d", "e"):
            connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, url TEXT)")
        connection.commit()


def no_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 15")
        connection.commit()


def other_knowledge_nodes(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE knowledge_nodes (node INTEGER PRIMARY KEY, title TEXT)")
        connection.commit()


def a_view(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE VIEW knowledge_nodes AS SELECT 1 AS id, 'x' AS content")
        connection.commit()


def a_directory_with_the_file(path: Path) -> None:
    path.mkdir()
    (path / "vestige.db").write_bytes(b"x")


def a_socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as server:
        # A socket's path may have 108 bytes at the most, and pytest's folders are longer.
        here = Path.cwd()
        os.chdir(path.parent)
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def large_text(path: Path) -> None:
    path.write_text("ä" * 5000, encoding="utf-8")  # the sample ends within a character


NOT_VESTIGE: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "another application's",
        other_application,
        "is the SQLite database of another application, and no Vestige file: it has no table knowledge_nodes with id "
        "and content; its tables are a, b, c, d, e and 2 more",
    ),
    ("no table", no_table, "is an SQLite database without any table, and no Vestige file"),
    ("another knowledge_nodes", other_knowledge_nodes, "is the SQLite database of another application"),
    ("a view of that name", a_view, "no Vestige file: it has no table knowledge_nodes"),
    ("text", lambda path: path.write_text('{"memories": []}\n'), "is a text file, and no SQLite database"),
    ("long text", large_text, "is a text file, and no SQLite database"),
    ("empty", lambda path: path.write_bytes(b""), "is an empty file (0 bytes)"),
    ("noise", lambda path: path.write_bytes(os.urandom(16384)), "is no SQLite database, or it is encrypted"),
    ("directory", lambda path: path.mkdir(), "is a directory: give the file in it, usually vestige.db"),
    ("its own directory", a_directory_with_the_file, "is a directory: give "),
    ("pipe", os.mkfifo, "is a device, pipe or socket, and no file"),
    ("socket", a_socket, "is a device, pipe or socket, and no file"),
    ("nothing", lambda _: None, "does not exist: give Vestige's database with --sqlite-path"),
    ("dangling link", lambda path: path.symlink_to("nowhere"), "is a symbolic link to nowhere, which does not exist"),
    ("link to itself", lambda path: path.symlink_to(path.name), "cannot be read: Too many levels of symbolic links"),
    ("cut in the header", lambda path: path.write_bytes(b"SQLite format 3\0" + b"\0" * 30), "is a truncated SQLite"),
]


@pytest.mark.parametrize(("make", "message"), [pytest.param(make, said, id=name) for name, make, said in NOT_VESTIGE])
def test_what_is_no_vestige_file_is_refused_by_name(
    tmp_path: Path, copy: Copier, make: Callable[[Path], object], message: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "file.db"
    make(path)
    before = database_objects(copy.database), files(folder)
    for options in ({}, {"snapshot": True}, {"allow_source_upgrade": True}, {"dry_run": True}):
        with pytest.raises(SourceUnusable) as caught:
            copy(path, **options)
        assert str(caught.value).startswith(f"{path} ")
        assert message in str(caught.value)
        assert caught.value.exit_code == 3
    assert (database_objects(copy.database), files(folder)) == before


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A file whose pages are all in it, and none in a WAL."""
    path = build_source(tmp_path / "vestige.db", SourceSpec(line="released", version=18, memories=120, edges=20))
    assert path.stat().st_size > 40 * PAGE
    return path


@pytest.mark.parametrize("keep", [100, PAGE - 1, PAGE, 3 * PAGE + 17, -PAGE, -1])
def test_a_truncated_file_is_refused_as_such(whole: Path, copy: Copier, keep: int) -> None:
    size = whole.stat().st_size
    left = keep if keep > 0 else size + keep
    os.truncate(whole, left)
    before = database_objects(copy.database)
    with pytest.raises(SourceUnusable, match=rf"is a truncated SQLite database: it has {left} of the {size} bytes"):
        copy(whole)
    assert database_objects(copy.database) == before


def damage(path: Path, at: int, what: bytes = b"\xff" * 512) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(what)


def test_a_corrupt_header_is_refused(whole: Path, copy: Copier) -> None:
    damage(whole, 16, b"\x00\x03")  # a page size that is no power of two
    with pytest.raises(SourceUnusable, match=r"is a corrupt SQLite database \(file is not a database\)"):
        copy(whole)


def test_rows_that_break_the_schemas_own_rules_are_no_corruption(tmp_path: Path, copy: Copier) -> None:
    """PRAGMA quick_check names them, too; they are copied as docs/bad-rows.md says."""
    path = build_source(tmp_path / "vestige.db", SourceSpec(line="released", version=18, memories=20, edges=5))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'source TEXT', 'source TEXT NOT NULL')"
            " WHERE name = 'knowledge_nodes'"
        )
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()
        assert found == ("NULL value in knowledge_nodes.source",)
    assert copy(path).memories_copied == 20
    assert_same(path, copy.database)


def test_a_file_that_another_program_locks_is_refused(
    source: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "BUSY_TIMEOUT_SECONDS", 0.1)
    with closing(sqlite3.connect(source, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SourceUnusable, match="is locked by another program: stop that program, then run again"):
            copy(source)
        other.execute("ROLLBACK")


def test_a_newer_file_with_unknown_tables_is_copied_and_says_what_it_left(
    tmp_path: Path, database: str, command: CommandLine
) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(line="released", version=35, memories=20, edges=5))
    edit(
        path,
        ("UPDATE schema_version SET version = 41", ()),
        ("CREATE TABLE users (name TEXT)", ()),  # of the same name as a table of ours, and without its key
        ("INSERT INTO users VALUES ('somebody')", ()),
        ("CREATE TABLE dreams (id TEXT PRIMARY KEY, dream BLOB) WITHOUT ROWID", ()),
        ("INSERT INTO dreams VALUES ('x', x'00')", ()),
        ("ALTER TABLE knowledge_nodes ADD COLUMN dreamt TEXT DEFAULT 'often'", ()),
    )
    done = command("copy", "--sqlite-path", path, "--postgres-url", database, "--no-progress")
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"WARNING .*is at V41 of the released line, newer than any this program knows \(V39\)", done.stderr
    )
    assert "the source is at V41, newer than any this program knows" in done.stdout
    left = done.stdout.replace("\n", " ")
    assert "dreams 1" in left
    assert "users 1" in left


def test_the_message_is_one_line_and_no_traceback(tmp_path: Path, database: str, command: CommandLine) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("remember the milk\n")
    done = command("copy", "--sqlite-path", path, "--postgres-url", database)
    assert done.returncode == 3
    assert done.stderr == (
        f"error: {path} is a text file, and no SQLite database: give Vestige's database with --sqlite-path\n"
    )
    assert done.stdout == ""
