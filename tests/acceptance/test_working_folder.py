"""A working folder that is gone, or that may not be entered: relative paths are named, absolute ones work."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import copy_of
from tests.support.compare import assert_same
from tests.support.in_process import NOWHERE, called, refusal
from vestige_migrate import PlanError, SqliteToPostgresPlan
from vestige_migrate.workers import processes


@pytest.fixture
def gone(tmp_path: Path) -> Iterator[Path]:
    """A folder that was removed, and that this process works in."""
    before = Path.cwd()
    folder = tmp_path / "gone"
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()
    yield folder
    os.chdir(before)


RELATIVE: dict[str, tuple[str, ...]] = {
    "--sqlite-path v.db": ("copy", "--sqlite-path", "v.db"),
    "--sqlite-path ./v.db": ("verify", "--sqlite-path", "./v.db"),
    "--report r.json": ("copy", "--sqlite-path", "/none.db", "--report", "r.json"),
    "--log-file r.log": ("verify", "--sqlite-path", "/none.db", "--log-file", "r.log"),
    "--postgres-url embedded:DIR pg": ("copy", "--sqlite-path", "/none.db", "--postgres-url", "embedded:pg"),
    "DIR pg": ("server", "status", "pg"),
    "--dir d": ("demo", "--dir", "d"),
}


def test_a_relative_path_is_named_as_the_problem(gone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for said, arguments in RELATIVE.items():
        url = () if arguments[0] in ("server", "demo") or "--postgres-url" in arguments else ("--postgres-url", NOWHERE)
        error = refusal(*arguments, *url)
        assert error.exit_code == 2, said
        assert str(error).startswith(f"{said.replace('./', '')} is a relative path, and the folder"), str(error)
    monkeypatch.setenv("VESTIGE_DATA_DIR", "data")
    assert "VESTIGE_DATA_DIR data is a relative path" in str(refusal("copy", "--postgres-url", NOWHERE))
    with pytest.raises(PlanError, match=r"--sqlite-path v\.db is a relative path"):
        SqliteToPostgresPlan(Path("v.db"), NOWHERE)


def test_absolute_paths_work(gone: Path, source: Path, tmp_path: Path, database: str) -> None:
    report, log = tmp_path / "r.json", tmp_path / "r.log"
    assert called(*copy_of(source, database), "--report", report, "--log-file", log) == 0
    assert_same(source, database)
    assert called("verify", "--sqlite-path", source, "--postgres-url", database, "--snapshot", "--report", report) == 0
    with pytest.raises(FileNotFoundError):
        Path.cwd()  # the caller's own folder is what it was


@pytest.mark.root
def test_another_account_in_a_folder_that_it_may_not_enter(source: Path) -> None:
    """As `sudo -u somebody` leaves it; the paths of the processes that it starts are absolute."""
    refusal(*copy_of(source, NOWHERE))  # so that all is loaded while it may be
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        Path(name).chmod(0o755)
        closed, moved = Path(name) / "closed", Path(name) / "v.db"
        closed.mkdir(mode=0o700)
        moved.write_bytes(source.read_bytes())
        moved.chmod(0o644)
        os.chdir(closed)
        os.seteuid(65534)
        try:
            relative = refusal("copy", "--sqlite-path", "v.db", "--postgres-url", NOWHERE)
            assert "--sqlite-path v.db is a relative path" in str(relative)
            error = refusal("copy", "--dry-run", "--sqlite-path", moved, "--postgres-url", NOWHERE)
            assert "cannot connect to" in str(error)
            with processes._working_folder():
                assert Path.cwd() == Path("/")
        finally:
            os.seteuid(0)
            os.chdir(before)
