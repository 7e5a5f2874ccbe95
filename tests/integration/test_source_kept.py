"""Nothing that a run does takes the source away: leftovers that are one, other names of the file, one that moves."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from loguru import logger

from tests.conftest import Copier
from tests.support.accounts import as_stranger
from tests.support.crashed import IN_WAL, leave_journal, leave_wal
from tests.support.server_folder import server_folder
from tests.support.sources import SourceSpec, build_source
from tests.support.untouched import everything_below, files
from vestige_migrate import SourceUnusable, SqliteToPostgresPlan
from vestige_migrate.copy.coordinator import run_several_to_postgres
from vestige_migrate.source.file import other_names as names
from vestige_migrate.source.file.find import find_source
from vestige_migrate.source.file.private_copies import PREFIX
from vestige_migrate.source.file.upgrade import upgrade_in_place
from vestige_migrate.source.sqlite.connect import open_source
from vestige_migrate.verify.coordinator import verify_several_to_postgres

OLD = SourceSpec(version=14, form="vestige").sized(40)


def left_by_a_killed_run(folder: Path, name: str, lock: bool) -> Path:
    """The folder of a snapshot whose run was killed an hour ago, and the snapshot."""
    left = folder / f"{PREFIX}{name}"
    left.mkdir(0o700)
    if lock:
        (left / ".in-use").touch()
    spec = SourceSpec(memories=20, schedules=20, edges=5, events=5)
    made = build_source(left / "vestige.db", spec)
    os.utime(left, (time.time() - 3600,) * 2)
    return made


@pytest.mark.parametrize("lock", [True, False], ids=["with its lock", "without"])
def test_what_a_killed_run_left_may_be_the_source(
    lock: bool, tmp_path: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the only copy there is. What nobody asks for goes, as ever."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    first, second = (left_by_a_killed_run(tmp_path, name, lock) for name in ("a1b2c3_z", "otherone"))
    (tmp_path / "link").symlink_to(second.parent)
    third = left_by_a_killed_run(tmp_path, "unwanted", lock)
    named = left_by_a_killed_run(tmp_path, "kept by me", lock)
    before = [path.read_bytes() for path in (first, second)]
    plans = [
        SqliteToPostgresPlan(path, copy.database, workers=1, snapshot=True)
        for path in (first, tmp_path / "link" / "vestige.db")
    ]
    assert [each.errors for each in run_several_to_postgres(plans).reports] == [[], []]
    assert verify_several_to_postgres(plans).same
    assert [path.read_bytes() for path in (first, second)] == before
    assert not third.exists()
    assert copy(first, snapshot=True, workers=1).nothing_new
    assert first.read_bytes() == before[0]
    assert not second.exists()  # this time nobody asked for it
    assert named.exists()  # by no run of ours


@pytest.mark.parametrize("leave", [leave_wal, leave_journal], ids=["-wal", "-journal"])
def test_another_name_of_the_file_is_refused_where_the_log_is_beside_the_first(
    leave: object, source: Path, tmp_path: Path, copy: Copier
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    first = folder / "vestige.db"
    leave(source, first, True) if leave is leave_wal else leave(source, first)  # type: ignore[operator]
    os.link(first, folder / "hard.db")
    (tmp_path / "soft.db").symlink_to(folder / "hard.db")
    before = files(folder)
    for path in (folder / "hard.db", tmp_path / "soft.db"):
        for options in ({}, {"snapshot": True}, {"dry_run": True}, {"allow_source_upgrade": True}):
            with pytest.raises(SourceUnusable, match=f"another name of the file {first}.*give {first}"):
                copy(path, **options)
    assert files(folder) == before
    assert copy(first).memories_copied == 40  # as it says


@pytest.mark.parametrize("how", ["hard link", "mount"])
def test_a_log_that_may_be_beside_a_name_elsewhere_is_said(
    how: str, source: Path, tmp_path: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a container is given the file and not its folder."""
    if how == "hard link":
        (tmp_path / "elsewhere").mkdir()
        os.link(source, tmp_path / "elsewhere" / "backup.db")
    else:
        pretend_mounted(source, tmp_path / "mounts", monkeypatch)
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), format="{message}")
    try:
        assert copy(source).memories_copied == 40
        said = [line for line in lines if "-wal file beside the name" in line]
        assert len(said) == 1, lines
        assert ("2 names (hard links)" if how == "hard link" else "mounted by itself") in said[0]
        lines.clear()
        with closing(sqlite3.connect(source)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        copy(source)
        assert not any("-wal file" in line for line in lines)
    finally:
        logger.remove(sink)


def pretend_mounted(path: Path, mounts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's list of mounts with this file in it."""
    point = os.fsencode(path.resolve()).replace(b" ", rb"\040")
    mounts.write_bytes(
        b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n99 22 8:1 /data/v.db " + point + b" rw - ext4 /dev/sda1 rw\n"
    )
    monkeypatch.setattr(names, "_MOUNTS", mounts)


@pytest.mark.parametrize("how", ["hard link", "mount"])
def test_a_file_with_another_name_is_not_upgraded_in_place(
    how: str, tmp_path: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other name's -wal would be laid over the upgrade."""
    folder = tmp_path / "data of mine"
    (tmp_path / "elsewhere").mkdir()
    folder.mkdir()
    old = build_source(folder / "vestige.db", OLD)
    if how == "hard link":
        os.link(old, tmp_path / "elsewhere" / "same.db")
    else:
        pretend_mounted(old, tmp_path / "mounts", monkeypatch)
    before = files(folder)
    with pytest.raises(SourceUnusable, match=r"cannot be upgraded in place.*--snapshot"):
        copy(old, allow_source_upgrade=True)
    assert files(folder) == before
    assert copy(old, snapshot=True).memories_copied == 40


@pytest.mark.root
@pytest.mark.parametrize("beside", [(), ("-wal",), ("-wal", "-shm")], ids=["nothing", "a -wal", "-wal and -shm"])
def test_reading_leaves_nothing_of_ours_beside_the_file_of_another_account(
    beside: tuple[str, ...], source: Path
) -> None:
    """In a folder that both may write to: its owner could not write to it any more."""
    with server_folder() as folder:
        path = folder / "vestige.db"
        if beside:
            leave_wal(source, path, with_index="-shm" in beside)
        else:
            shutil.copyfile(source, path)
        folder.chmod(0o777)
        path.chmod(0o644)

        def read() -> object:
            with find_source(path) as found, closing(open_source(found.file)) as connection:
                return connection.execute(
                    "SELECT count(*), sum(content = ?) FROM knowledge_nodes", (IN_WAL,)
                ).fetchone()

        before = {each.name: each.stat().st_uid for each in folder.iterdir()}
        assert as_stranger(read) == (40, 3 if beside else 0)
        assert {each.name: each.stat().st_uid for each in folder.iterdir()} == before


@pytest.mark.root
@pytest.mark.parametrize("how", ["theirs", "open"])
def test_root_upgrades_no_file_in_place_where_others_could_exchange_it(how: str, tmp_path: Path, copy: Copier) -> None:
    """A link in the place of the backup would lead root to another database."""
    folder = tmp_path / "data"
    folder.mkdir(0o755)
    old = build_source(folder / "vestige.db", OLD)
    os.chown(folder, 65534, 65534) if how == "theirs" else folder.chmod(0o777)
    before = files(folder)
    for dry_run in (True, False):
        with pytest.raises(SourceUnusable, match=f"not upgraded in place by root.*{folder}.*--snapshot"):
            copy(old, allow_source_upgrade=True, dry_run=dry_run)
    assert files(folder) == before
    assert copy(old, snapshot=True).memories_copied == 40
    folder.chmod(0o1777)
    os.chown(folder, 0, 0)
    assert copy(old, allow_source_upgrade=True).errors == []


@pytest.mark.parametrize("leave", [True, False], ids=["a -wal stays", "nothing stays"])
def test_an_upgrade_makes_no_file_in_the_place_of_one_that_was_moved(leave: bool, tmp_path: Path) -> None:
    """Nor does it take its -wal away, which goes where the file went."""
    old = build_source(tmp_path / "vestige.db", OLD)
    folder = tmp_path / "data"
    folder.mkdir()
    moved = leave_wal(old, folder / "vestige.db", with_index=False)
    moved.rename(folder / "moved.db")
    if not leave:
        shutil.move(folder / "vestige.db-wal", folder / "moved.db-wal")
    before = everything_below(folder)
    with pytest.raises(SourceUnusable):
        upgrade_in_place(folder / "vestige.db")
    assert everything_below(folder) == before
    if leave:
        assert IN_WAL.encode() in (folder / "vestige.db-wal").read_bytes()
