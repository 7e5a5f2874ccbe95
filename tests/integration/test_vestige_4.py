"""A data directory that Vestige 4 has taken over: its log is no source, and the old file is where it was."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from loguru import logger

from tests.conftest import Copier
from tests.support.compare import assert_same, stored
from tests.support.crashed import IN_WAL, leave_wal
from tests.support.in_process import NOWHERE, refusal
from tests.support.sources import SourceSpec, build_source
from tests.support.untouched import everything_below
from vestige_migrate import SourceUnusable

SMALL = SourceSpec(line="released", version=38, memories=20, edges=4)
SAYS = ("is the log of Vestige 4", "left it where it was", "still has the vectors, which Vestige 4 drops")


def make_log(folder: Path) -> Path:
    """As the first start of 4.0 makes it (its release: `log/`; before: `strata/`)."""
    folder.mkdir(parents=True)
    (folder / "strata.key").write_bytes(bytes(range(32)))
    (folder / "00000000-5a22b30730678cc3c61a8059664d9e4e.seg").write_bytes(b"STRA\0\1" + bytes(52))
    return folder


@pytest.mark.parametrize("name", ["log", "strata"])
@pytest.mark.parametrize(
    "given",
    [
        lambda log: log.parent,
        lambda log: log.parent / "vestige.db",
        lambda log: log,
        lambda log: next(log.glob("*.seg")),
        lambda log: log / "strata.key",
    ],
    ids=["folder", "database", "log", "segment", "key"],
)
def test_it_is_recognised_by_whatever_path_leads_there(
    tmp_path: Path, name: str, given: Callable[[Path], Path]
) -> None:
    data = tmp_path / "my data"
    log = make_log(data / name)
    path = given(log)
    before = everything_below(tmp_path)
    error = refusal("copy", "--dry-run", "--sqlite-path", path, "--postgres-url", NOWHERE)
    assert error.exit_code == 3
    for words in (str(path), str(log), *SAYS, f"It is not in {data} any more: give it, or a backup of it"):
        assert words in str(error)
    assert everything_below(tmp_path) == before
    backup = data / "vestige.db.v3-backup-1780000000001-77"
    for each in (backup, data / "vestige.db.v3-backup-1780000000000-9", backup.with_name(f"{backup.name}.partial")):
        each.touch()
    error = refusal("verify", "--sqlite-path", path, "--postgres-url", NOWHERE)
    assert f"but the copy that the import made of it is: give --sqlite-path {shlex.quote(str(backup))}" in str(error)


def test_it_is_recognised_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for place, variable in ((".local/share/core", ""), (".vestige", ""), ("own", "VESTIGE_DATA_DIR")):
        log = make_log(tmp_path / place / "log")
        if variable:
            monkeypatch.setenv(variable, str(tmp_path / place))
        error = refusal("copy", "--postgres-url", NOWHERE)
        assert error.exit_code == 3
        for words in (str(log), *SAYS):
            assert words in str(error)
        shutil.rmtree(log)


def test_the_file_that_it_left_is_copied_and_what_it_does_not_have_is_said(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SMALL)
    log = make_log(tmp_path / "log")
    error = refusal("copy", "--sqlite-path", tmp_path, "--postgres-url", NOWHERE)
    assert f"Give it with --sqlite-path {path}" in str(error)
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="WARNING", format="{message}")
    try:
        copy(path)
    finally:
        logger.remove(sink)
    [said] = [line for line in lines if "Vestige 4" in line]
    for words in (str(path), str(log), "remembered since it imported this file is only there, and does not come over"):
        assert words in said
    assert_same(path, copy.database)


def test_a_backup_by_its_import_is_not_read_without_its_wal(tmp_path: Path, source: Path, copy: Copier) -> None:
    (tmp_path / "data").mkdir()
    leave_wal(source, tmp_path / "data" / "vestige.db", with_index=False)
    stamp = "v3-backup-1780000000000-9"
    backup = (tmp_path / "data" / "vestige.db").rename(tmp_path / "data" / f"vestige.db.{stamp}")
    wal = (tmp_path / "data" / "vestige.db-wal").rename(tmp_path / "data" / f"vestige.db-wal.{stamp}")
    with pytest.raises(
        SourceUnusable, match="is a copy that Vestige 4 made, and what was written last is in"
    ) as caught:
        copy(backup)
    program, *names = shlex.split(str(caught.value).partition("then run again: ")[2])
    assert (program, names[0]) == ("cp", str(wal))
    shutil.copyfile(*names)
    assert copy(backup).memories_copied == 40
    assert IN_WAL in {row["content"] for row in stored(copy.database)["knowledge_nodes"].values()}


def test_a_file_that_is_not_of_its_log_is_named_as_what_it_is(tmp_path: Path) -> None:
    make_log(tmp_path / "log")
    settings = tmp_path / "vestige.toml"
    settings.write_text("[defaults]\nlimit = 10\n", encoding="utf-8")
    error = refusal("copy", "--sqlite-path", settings, "--postgres-url", NOWHERE)
    assert "is a text file, and no SQLite database: give Vestige's database" in str(error)
