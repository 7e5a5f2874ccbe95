"""Folders that other accounts may write to: nothing private is made where they could put something in its place."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.conftest import copy_of
from tests.conftest import CommandLine
from vestige_migrate import DestinationUnusable
from vestige_migrate.destination import embedded
from vestige_migrate.shared_folders import make_folders
from vestige_migrate.source.file.private_copies import PREFIX

NOBODY = 65534


def copied_with(temporary: Path, source: Path, database: str, command: CommandLine) -> tuple[bool, int]:
    """Whether a copy from a snapshot made folders there, and how often it warned of it."""
    seen: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            # Not the files by which Python tries whether it may write there.
            seen.update(path.name for path in temporary.iterdir() if path.name.startswith(("pymp-", PREFIX)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done = command(*copy_of(source, database), "--snapshot", TMPDIR=str(temporary))
    finally:
        ended.set()
        watcher.join()
    assert done.returncode == 0, done.stderr
    return bool(seen), done.stderr.count("could exchange what is in")


@pytest.mark.parametrize(("mode", "below"), [(0o777, ""), (0o777, "mine"), (0o1777, ""), (0o700, "")])
def test_private_copies_and_sockets_are_not_where_everybody_may_exchange_them(
    mode: int, below: str, tmp_path: Path, source: Path, database: str, command: CommandLine
) -> None:
    """In a folder that is open and not sticky, nor in one of our own below it."""
    opened = tmp_path / "opened"
    (opened / below).mkdir(parents=True)
    opened.chmod(mode)
    assert copied_with(opened / below, source, database, command) == ((False, 1) if mode == 0o777 else (True, 0))


@pytest.mark.root
def test_nor_in_a_folder_of_another_account(tmp_path: Path, source: Path, database: str, command: CommandLine) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(0o700)
    os.chown(theirs, NOBODY, NOBODY)
    assert copied_with(theirs, source, database, command) == (False, 1)


@contextmanager
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def test_folders_on_the_way_are_not_open_whatever_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the demo's sample, and to a server's data."""

    def stops(data: Path, *_: object) -> None:
        raise DestinationUnusable(f"{data} was asked for")

    monkeypatch.setattr("vestige_migrate.destination.embedded.make.make_data", stops)
    tmp_path.chmod(0o755)
    with open_umask():
        make_folders(tmp_path / "one" / "two")
        make_folders(tmp_path / "one" / "two")
        with pytest.raises(DestinationUnusable, match="was asked for"):
            embedded.start(tmp_path / "deep" / "er" / "pg")
    made = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert len(made) == 4 or os.geteuid() == 0
    assert [path for path in made if path.stat().st_mode & 0o022] == []
