"""What a source tells of itself while it is open."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.sources import edit
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.report.endpoints import SourceInfo
from vestige_migrate.source.layout.inspect import inspect_source
from vestige_migrate.source.sqlite.connect import SourceFile, open_source


@contextmanager
def opened(path: Path, immutable: bool) -> Iterator[PreparedSource]:
    file = SourceFile(path, immutable)
    with closing(open_source(file)) as connection:
        yield PreparedSource(file, inspect_source(connection, path), SourceInfo(str(path), 15, "plan"), connection)


def commit(path: Path) -> None:
    edit(path, ("UPDATE knowledge_nodes SET content = 'changed' WHERE rowid = 1", ()))


def commit_to_the_wal(path: Path) -> None:
    """A writer that stays: what it wrote is in the WAL only, and the file itself is as it was."""
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute("UPDATE knowledge_nodes SET content = 'changed' WHERE rowid = 1")
    writer.commit()
    _WRITERS.append(writer)


_WRITERS: list[sqlite3.Connection] = []


@pytest.fixture(autouse=True)
def _close_writers() -> Iterator[None]:
    yield
    while _WRITERS:
        _WRITERS.pop().close()


@pytest.mark.parametrize("immutable", [False, True])
@pytest.mark.parametrize("write", [commit, commit_to_the_wal])
def test_the_state_changes_with_another_programs_commit_and_only_then(
    source: Path, immutable: bool, write: Callable[[Path], None]
) -> None:
    """Also where the file was opened as one that nobody writes to, which SQLite itself does not watch."""
    with opened(source, immutable) as prepared:
        before = prepared.state()
        prepared.connection.execute("SELECT COUNT(*) FROM knowledge_nodes").fetchone()
        assert prepared.state() == before
        write(source)
        assert prepared.state() != before
