"""Paths that need care: special characters, links, home directories, and the place where Vestige keeps its file."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same, stored
from tests.support.crashed import IN_WAL, leave_wal
from tests.support.in_process import called, refusal
from tests.support.sources import SourceSpec, build_source
from tests.support.untouched import files
from vestige_migrate.errors import PlanError
from vestige_migrate.paths import expanded, shown
from vestige_migrate.places import default_demo_directory, default_server_directory

pytestmark = pytest.mark.in_process

SMALL = SourceSpec(memories=20, schedules=20, edges=4, events=4)
OLDER = SourceSpec(line="shared", version=13, memories=20, edges=4)

NAMES = [
    "space? mode=memory&cache=shared #tag 100%25 %2e%2e %zz 記憶 – ünïcødé 🎉 quotes'\"`$HOME\\ line\nbreak.db",
    "what?mode=memory&cache=shared.db",
    "file:memory.db",
    ":memory:",
    "-dash",
    "~tilde.db",
]
"""What means something to SQLite's URIs, a shell or a terminal: all such characters in one, beginnings, whole names."""


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_file_and_its_folder(tmp_path: Path, copy: Copier, name: str) -> None:
    folder = tmp_path / f"folder {name}"
    folder.mkdir()
    path = build_source(folder / name, SMALL)
    report = copy(path)
    assert (report.memories_copied, report.source.path) == (20, str(path))
    assert {item.name for item in folder.iterdir()} <= {name, f"{name}-wal", f"{name}-shm"}
    assert_same(path, copy.database)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_an_older_file(tmp_path: Path, copy: Copier, name: str) -> None:
    path = build_source(tmp_path / name, OLDER)
    before = files(tmp_path)
    copy(path, snapshot=True)
    assert files(tmp_path) == before
    assert copy(path, allow_source_upgrade=True).source.schema_version == 15
    assert sorted(files(tmp_path))[-1].startswith(f"{name}.v13-backup-")
    assert_same(path, copy.database)


def test_a_name_that_is_no_utf8(tmp_path: Path, database: str, command: CommandLine) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.db"))
    build_source(path, OLDER)
    report, log = tmp_path / "report.json", tmp_path / "log"
    options = ("--no-progress", "--report", report, "--log-file", log, "--allow-source-upgrade")
    done = command("copy", "--sqlite-path", path, "--postgres-url", database, *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(report.read_text())["source"]["path"] == f"{tmp_path}/caf\N{REPLACEMENT CHARACTER}.db"
    assert "Traceback" not in log.read_text()
    assert f"upgraded {tmp_path}/caf" in log.read_text()
    assert_same(path, database)


def test_a_link_leads_to_the_file_and_to_what_is_beside_it(source: Path, tmp_path: Path, copy: Copier) -> None:
    real, links = tmp_path / "real", tmp_path / "links"
    real.mkdir()
    links.mkdir()
    leave_wal(source, real / "data.db", with_index=False)
    (links / "first.db").symlink_to("second.db")
    (links / "second.db").symlink_to(real / "data.db")
    report = copy(links / "first.db")
    assert (report.memories_copied, report.source.path) == (40, str(links / "first.db"))
    assert IN_WAL in {row["content"] for row in stored(copy.database)["knowledge_nodes"].values()}
    assert {item.name for item in links.iterdir()} == {"first.db", "second.db"}
    assert_same(source, copy.database)


def test_an_upgrade_through_a_link_upgrades_the_file_and_keeps_the_link(tmp_path: Path, copy: Copier) -> None:
    real, links = tmp_path / "real", tmp_path / "links"
    real.mkdir()
    links.mkdir()
    path = build_source(real / "data.db", OLDER)
    (links / "vestige.db").symlink_to(path)
    assert copy(links / "vestige.db", allow_source_upgrade=True).source.schema_version == 15
    assert (links / "vestige.db").readlink() == path
    assert [item.name for item in links.iterdir()] == ["vestige.db"]
    assert len(list(real.glob("data.db.v13-backup-*"))) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (15,)


def test_a_linked_folder(tmp_path: Path, copy: Copier) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real", target_is_directory=True)
    build_source(tmp_path / "real" / "vestige.db", SMALL)
    assert copy(tmp_path / "link" / "vestige.db").memories_copied == 20


@pytest.mark.parametrize("given", ["~/memory/vestige.db", "memory/vestige.db", "./memory/../memory/vestige.db"])
def test_home_and_relative_paths_on_the_command_line(
    tmp_path: Path, database: str, command: CommandLine, given: str
) -> None:
    (command.home / "memory").mkdir()
    build_source(command.home / "memory" / "vestige.db", SMALL)
    done = command("copy", f"--sqlite-path={given}", "--postgres-url", database, "--no-progress", "--report", "-")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["memories_copied"] == 20


@pytest.mark.parametrize(
    ("places", "environment"),
    [
        (
            [".local/share/core", ".local/share/vestige/core", ".vestige", "project/.vestige"],
            {"XDG_DATA_HOME": "relative/does/not/count"},
        ),
        (["data/core", "data/vestige/core", ".local/share/core"], {"XDG_DATA_HOME": "{home}/data"}),
        (["own"], {"VESTIGE_DATA_DIR": "{home}/own", "XDG_DATA_HOME": "{home}/data"}),
        (["own"], {"VESTIGE_DATA_DIR": "~/own"}),
    ],
    ids=["usual", "other-data-home", "own-folder", "own-folder-below-home"],
)
def test_without_a_path_the_one_file_is_taken_that_is_where_vestige_or_its_pages_put_it(
    database: str, command: CommandLine, monkeypatch: pytest.MonkeyPatch, places: list[str], environment: dict[str, str]
) -> None:
    home = command.home
    (home / "project").mkdir()
    monkeypatch.chdir(home / "project")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(home=home))
    made = build_source(home / "made.db", SMALL)
    paths = [home / place / "vestige.db" for place in places]
    for word in ("copy", "verify"):
        error = refusal(word, "--postgres-url", database)
        assert error.exit_code == 3
        for path in paths:
            assert str(path) in str(error)
    for path in paths:
        path.parent.mkdir(parents=True)
        made.rename(path)
        report = home / "report.json"
        assert called("copy", "--postgres-url", database, "--workers", "1", "--report", report) == 0
        assert called("verify", "--postgres-url", database, "--workers", "1") == 0
        assert json.loads(report.read_text())["source"]["path"] == str(path)
        made = path.rename(home / "made.db")


def test_several_files_where_vestige_may_keep_it_are_all_named_and_none_is_taken(
    database: str, command: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = command.home
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    first, second, third = (
        home / place / "vestige.db" for place in (".local/share/core", ".local/share/vestige/core", ".vestige")
    )
    for path in (first, second, third):
        path.parent.mkdir(parents=True)
    build_source(second, SMALL)
    third.symlink_to(tmp_path / "on-a-disk-that-is-not-mounted.db")
    report = tmp_path / "report.json"
    for arguments in (("copy",), ("copy", "--dry-run"), ("verify",)):
        error = refusal(*arguments, "--postgres-url", database, "--report", report)
        assert error.exit_code == 2
        assert f"found in several places: {second}, {third}. Say which is meant with --sqlite-path" in str(error)
        assert json.loads(report.read_text())["error"]["exit_code"] == 2
    for path in (first, second, third):
        assert refusal("copy", "--postgres-url", database, "--log-file", path).exit_code == 2
    third.unlink()
    first.symlink_to(second)
    assert called("copy", "--postgres-url", database, "--workers", "1", "--report", report) == 0
    assert json.loads(report.read_text())["source"]["path"] == str(first)


def test_what_an_earlier_version_put_into_its_default_folder_is_used_on(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second server, or a second demo, would look like a memory that is lost."""
    home = command.home
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    own, earlier = home / "data/core", home / "data/vestige/core"
    for find, name in ((default_server_directory, "postgres"), (default_demo_directory, "migrate-demo")):
        (earlier / name).mkdir(parents=True)
        assert find() == own / name
        (earlier / name / "PG_VERSION").touch()
        assert find() == earlier / name
        (own / name).mkdir(parents=True)
        assert find() == earlier / name
        (own / name / "PG_VERSION").touch()
        with pytest.raises(PlanError, match=f"{own / name}, {earlier / name} .* say which is meant with"):
            find()
        (own / name / "PG_VERSION").unlink()
        (own / name).rmdir()
        (own / name).symlink_to(earlier / name)
        assert find() == own / name
    assert command("server", "status", XDG_DATA_HOME=str(home / "data")).stderr.startswith(
        f"error: {own / 'postgres'} "
    )
    monkeypatch.setenv("VESTIGE_DATA_DIR", str(home / "mine"))
    assert default_server_directory() == home / "mine" / "postgres"


def test_a_tilde_without_such_a_user_is_a_name_like_any_other() -> None:
    assert expanded("~nobody-of-this-name/x.db") == Path("~nobody-of-this-name/x.db")
    assert expanded("a/~/x.db") == Path("a/~/x.db")
    assert shown(Path("a/ü.db")) == "a/ü.db"
