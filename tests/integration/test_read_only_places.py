"""Files in folders that nobody may write to, and files that a crash left in need of a repair."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Copier
from tests.support.compare import assert_same, stored
from tests.support.crashed import HALF_WRITTEN, IN_WAL, leave_journal, leave_wal
from tests.support.read_only import ReadOnlyFolder, read_only_folder, report, ways
from tests.support.sources import SourceSpec, build_source
from tests.support.untouched import files


@pytest.fixture(params=ways())
def folder(request: pytest.FixtureRequest, database: str) -> Iterator[ReadOnlyFolder]:
    with read_only_folder(request.param, database) as found:
        yield found


def contents(url: str) -> set[str]:
    return {row["content"] for row in stored(url)["knowledge_nodes"].values()}


def names(folder: ReadOnlyFolder) -> set[str]:
    return {item.name for item in folder.path.iterdir()}


@pytest.mark.parametrize("options", [(), ("--snapshot",)])
def test_a_file_with_nothing_beside_it(folder: ReadOnlyFolder, source: Path, options: tuple[str, ...]) -> None:
    shutil.copyfile(source, folder.path / "vestige.db")
    with folder.locked():
        done = folder.copy(folder.path / "vestige.db", *options)
        assert names(folder) == {"vestige.db"}
    found = report(done)
    assert (found["memories_copied"], found["errors"], found["source_changed"]) == (40, [], False)
    assert_same(source, folder.database)


@pytest.mark.parametrize("options", [(), ("--snapshot",)])
@pytest.mark.parametrize("with_index", [False, True])
def test_rows_that_are_only_in_the_wal(
    folder: ReadOnlyFolder, source: Path, with_index: bool, options: tuple[str, ...]
) -> None:
    path = leave_wal(source, folder.path / "vestige.db", with_index)
    before = files(folder.path)
    with folder.locked():
        done = folder.copy(path, *options)
    assert files(folder.path) == before
    assert report(done)["memories_copied"] == 40
    assert IN_WAL in contents(folder.database)
    assert_same(source, folder.database)


def test_a_write_that_was_broken_off(folder: ReadOnlyFolder, source: Path) -> None:
    path = leave_journal(source, folder.path / "vestige.db")
    before = files(folder.path)
    with folder.locked():
        done = folder.copy(path)
    assert files(folder.path) == before
    assert report(done)["memories_copied"] == 40
    assert not any(content.startswith(HALF_WRITTEN) for content in contents(folder.database))
    assert_same(source, folder.database)


def test_an_older_file_is_refused_an_upgrade_and_copied_by_a_snapshot(folder: ReadOnlyFolder, tmp_path: Path) -> None:
    source = build_source(tmp_path / "vestige.db", SourceSpec(line="shared", version=13, memories=30, edges=5))
    path = Path(shutil.copyfile(source, folder.path / "vestige.db"))
    before = files(folder.path)
    with folder.locked():
        refused = folder.copy(path, "--allow-source-upgrade")
        snapshot = folder.copy(path, "--snapshot")
    assert refused.returncode == 3
    assert "it is unchanged" in refused.stderr
    assert "or use --snapshot" in refused.stderr
    assert report(snapshot)["memories_copied"] == 30
    assert files(folder.path) == before
    assert_same(source, folder.database)


def test_a_folder_without_room_for_a_private_copy(folder: ReadOnlyFolder, source: Path) -> None:
    """Where the changes in a WAL can be read nowhere, the file is refused rather than copied without them."""
    path = leave_wal(source, folder.path / "vestige.db", with_index=False)
    code = (
        "import shutil, errno; from vestige_migrate.cli import vestige_migrate;"
        "full = lambda *a: (_ for _ in ()).throw(OSError(errno.ENOSPC, 'No space left on device'));"
        "shutil.copyfileobj = full; vestige_migrate()"
    )
    with folder.locked():
        done = folder.run_python(code, "copy", "--sqlite-path", str(path), "--postgres-url", folder.database)
    assert done.returncode == 3
    assert done.stderr.startswith(f"error: no private copy of {path} could be made in ")
    assert "No space left on device" in done.stderr
    assert "set TMPDIR" in done.stderr


# The same repairs where the folder may be written to.


def test_a_broken_off_write_in_a_writable_folder_is_undone_in_a_private_copy(
    source: Path, tmp_path: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, temporary = tmp_path / "place", tmp_path / "temporary"
    place.mkdir()
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    path = leave_journal(source, place / "vestige.db")
    before = files(place)
    for options in ({}, {"snapshot": True}, {"dry_run": True}):
        assert copy(path, **options).memories_copied == 40
        assert files(place) == before
        assert list(temporary.glob("vestige-*")) == []
    assert_same(source, copy.database)


def test_an_upgrade_in_place_first_undoes_a_write_that_was_broken_off(tmp_path: Path, copy: Copier) -> None:
    source = build_source(tmp_path / "source.db", SourceSpec(line="shared", version=13, memories=30, edges=5))
    path = leave_journal(source, tmp_path / "vestige.db")
    assert copy(path, allow_source_upgrade=True).source.schema_version == 15
    assert_same(source, copy.database)
    assert HALF_WRITTEN not in "".join(contents(copy.database))
    [backup] = tmp_path.glob("vestige.db.v13-backup-*")
    assert HALF_WRITTEN.encode() not in backup.read_bytes()


def test_a_wal_without_its_index_is_read_in_place(source: Path, tmp_path: Path, copy: Copier) -> None:
    place = tmp_path / "place"
    place.mkdir()
    path = leave_wal(source, place / "vestige.db", with_index=False)
    before = files(place)
    assert copy(path).memories_copied == 40
    assert files(place) == before
    assert IN_WAL in contents(copy.database)
    assert_same(source, copy.database)
