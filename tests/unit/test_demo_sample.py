"""The demo writes its sample in place of an earlier one, and of nothing else."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.sources import SourceSpec, build_source, edit
from vestige_migrate.demo.sample import build_sample
from vestige_migrate.errors import PlanError


def test_an_earlier_sample_is_replaced(tmp_path: Path) -> None:
    path = build_sample(tmp_path / "sample.db", 20)
    first = path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:  # as a copy leaves it, with a file or two beside it
        connection.execute("SELECT count(*) FROM knowledge_nodes").fetchone()
        assert build_sample(path, 20).read_bytes() == first
    build_sample(path, 30)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM knowledge_nodes").fetchone() == (30,)
    assert {each.name for each in tmp_path.iterdir()} <= {"sample.db", "sample.db-wal", "sample.db-shm"}


def _with_a_memory_of_the_operators(path: Path) -> None:
    build_sample(path, 20)
    edit(path, ("UPDATE knowledge_nodes SET metadata = '{}' WHERE rowid = 7", ()))


def _with_changes_in_its_wal(path: Path) -> None:
    build_sample(path, 20)
    path.with_name("sample.db-wal").write_bytes(b"x" * 4096)


THERE: dict[str, Callable[[Path], object]] = {
    "another database": lambda path: build_source(path, SourceSpec(memories=3, schedules=3, edges=0, events=0)),
    "a sample with a memory of the operator's": _with_a_memory_of_the_operators,
    "a sample that is being written to": _with_changes_in_its_wal,
    "some file": lambda path: path.write_text("precious"),
    "an empty file": lambda path: path.touch(),
    "a link": lambda path: path.symlink_to(build_sample(path.with_name("other.db"), 20)),
    "a -wal without a database": lambda path: path.with_name("sample.db-wal").write_bytes(b"x" * 4096),
}


@pytest.mark.parametrize("what", THERE)
def test_what_is_no_sample_is_left_alone(what: str, tmp_path: Path) -> None:
    path = tmp_path / "sample.db"
    THERE[what](path)
    before = {each.name: (each.read_bytes(), each.lstat().st_ino) for each in tmp_path.iterdir()}
    with pytest.raises(PlanError, match=r"sample\.db is there already, .* it is left alone\. Give another folder"):
        build_sample(path, 20)
    assert {each.name: (each.read_bytes(), each.lstat().st_ino) for each in tmp_path.iterdir()} == before


@pytest.mark.root
def test_a_sample_of_another_account_is_left_alone(tmp_path: Path) -> None:
    path = build_sample(tmp_path / "sample.db", 20)
    kept = Path(shutil.copyfile(path, tmp_path / "kept"))
    os.chown(path, 65534, 65534)
    with pytest.raises(PlanError, match="left alone"):
        build_sample(path, 30)
    assert path.read_bytes() == kept.read_bytes()


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("vestige_migrate.demo.sample._fill", full)
    with pytest.raises(OSError, match="disk is full"):
        build_sample(tmp_path / "sample.db")
    assert list(tmp_path.iterdir()) == []
