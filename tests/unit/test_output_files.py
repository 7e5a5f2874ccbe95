"""No report and no log destroys an input of the run, whatever it is called; asking touches nothing."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.in_process import NOWHERE, refusal
from vestige_migrate.cli.in_use import in_use
from vestige_migrate.cli.output_files import accept, check_apart
from vestige_migrate.errors import PlanError

Way = Callable[[Path], Path | str]


def made(path: Path, content: bytes = b"kept") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def link_to(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


def hard_link(path: Path, target: Path) -> Path:
    os.link(target, path)
    return path


def through_folder(source: Path) -> Path:
    return link_to(source.parent / "elsewhere", source.parent) / source.name


def chain(source: Path) -> Path:
    return link_to(source.parent / "second", link_to(source.parent / "first", source))


WAYS: dict[str, Way] = {
    "its name": lambda source: source,
    "another spelling": lambda source: source.parent / "sub" / ".." / source.name,
    "upper case": lambda source: source.with_name(source.name.upper() + "-WAL"),
    "its -wal": lambda source: made(source.with_name(source.name + "-wal")),
    "a -wal that is still to come": lambda source: source.with_name(source.name + "-wal"),
    "a -shm that is still to come": lambda source: source.with_name(source.name + "-shm"),
    "a -journal that is still to come": lambda source: source.with_name(source.name + "-journal"),
    "a link to it": lambda source: link_to(source.parent / "r.json", source),
    "links in a row": chain,
    "a hard link to it": lambda source: hard_link(source.parent / "r.json", source),
    "a hard link to its -journal": lambda source: hard_link(
        source.parent / "r.json", made(source.with_name(source.name + "-journal"))
    ),
    "a link to a -wal that is still to come": lambda source: link_to(
        source.parent / "r.json", source.with_name(source.name + "-wal")
    ),
    "a folder's link": through_folder,
    "a folder's link and a -wal to come": lambda source: f"{through_folder(source)}-wal",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    path = tmp_path / "data" / "my memory.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE knowledge_nodes (id TEXT)")
    path.chmod(0o644)
    return path


@contextmanager
def untouched(folder: Path) -> Iterator[None]:
    def state() -> dict[str, object]:
        found: dict[str, object] = {}
        for path in sorted(folder.rglob("*")):
            at = path.lstat()
            content = path.read_bytes() if path.is_file() else None
            found[str(path)] = (at.st_mode, at.st_ino, at.st_mtime_ns, at.st_uid, content)
        return found

    before = state()
    yield
    assert state() == before


COMMANDS = [("copy",), ("copy", "--dry-run"), ("copy", "--snapshot"), ("verify",)]
PLACES = ["first", "second", "default"]


def some_ways(place: str, command: tuple[str, ...]) -> list[str]:
    """Each place and command tries five of the ways; all of them together try each way four times or more."""
    start = 5 * (len(COMMANDS) * PLACES.index(place) + COMMANDS.index(command))
    return [list(WAYS)[(start + step) % len(WAYS)] for step in range(5)]


@pytest.mark.parametrize("option", ["--report", "--log-file"])
@pytest.mark.parametrize("command", COMMANDS, ids=str)
@pytest.mark.parametrize("place", PLACES)
def test_an_output_that_is_the_source_is_refused_and_nothing_is_touched(
    option: str,
    command: tuple[str, ...],
    place: str,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in some_ways(place, command):
        folder = tmp_path / name
        shutil.copytree(source.parent, folder)
        mine = folder / source.name
        if place == "default":
            mine = mine.rename(folder / "vestige.db")
            monkeypatch.setenv("VESTIGE_DATA_DIR", str(folder))
        output = WAYS[name](mine)
        others = {"first": [mine], "second": [source, mine], "default": []}[place]
        paths = [part for path in others for part in ("--sqlite-path", path)]
        with untouched(folder):
            error = refusal(*command, *paths, "--postgres-url", NOWHERE, option, output)
            assert error.exit_code == 2, name
            assert str(error).startswith(f"{option} {output} is "), name
            assert "writing there would destroy it" in str(error), name


def test_an_open_file_counts_as_what_it_is(source: Path) -> None:
    with source.open("ab") as opened, untouched(source.parent):
        for name in (f"/dev/fd/{opened.fileno()}", f"/proc/self/fd/{opened.fileno()}"):
            for option in ("--report", "--log-file"):
                error = refusal("copy", "--sqlite-path", source, "--postgres-url", NOWHERE, option, name)
                assert error.exit_code == 2
                assert "is the source" in str(error)


def test_another_memory_is_no_output_either(source: Path, tmp_path: Path) -> None:
    """Such as a backup: its content is looked at, whatever its name."""
    backup = Path(shutil.copyfile(source, tmp_path / "report.json"))
    wal = made(tmp_path / "old.log", bytes.fromhex("377f0682") + b"\0" * 28)
    with untouched(tmp_path):
        for path in (backup, wal):
            error = refusal("copy", "--sqlite-path", source, "--postgres-url", NOWHERE, "--report", path)
            assert error.exit_code == 2
            assert "SQLite" in str(error)


def test_a_memory_that_is_encrypted_or_packed_is_no_output_either(source: Path, tmp_path: Path) -> None:
    """It begins as nothing that is known; what was written as text takes a report or a log, also one that was cut."""
    packed = made(tmp_path / "vestige.db.gz", gzip.compress(source.read_bytes()))
    encrypted = made(tmp_path / "vestige.db.old", bytes(range(256)) * 16)
    late = made(tmp_path / "backup.tar", b"vestige.db" * 10 + b"\0" * 10)
    with untouched(tmp_path):
        for path in (packed, encrypted, late):
            for option in ("--report", "--log-file"):
                error = refusal("verify", "--sqlite-path", source, "--postgres-url", NOWHERE, option, path)
                assert error.exit_code == 2
                assert "is no text" in str(error)
    portable = made(tmp_path / "memories.json", b'{\n  "archiveFormat": "vestige.portable.v1",\n  "tables": [')
    with untouched(tmp_path):
        error = refusal("copy", "--sqlite-path", source, "--postgres-url", NOWHERE, "--report", portable)
        assert error.exit_code == 2
        assert "is a portable archive of Vestige, and may be the only one of a memory" in str(error)
    for text in ('{"schema": 1, "ü', "2026-01-01 INFO \x1b[1m done\n"):
        assert accept("--report", str(made(tmp_path / "text", text.encode()[:-1])), in_use([source], NOWHERE))


def test_what_libpq_reads_is_no_output(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PGPASSFILE", str(made(home / "passwords")))
    monkeypatch.setenv("PGSSLCERT", str(made(home / "mine.crt")))
    service = made(home / "services.conf", f"[here]\nsslrootcert = {home / 'ca.crt'}\n[other]\nport=1\n".encode())
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    for name in ("mine.key", "ca.crt", ".postgresql/root.crl", "revoked/list"):
        made(home / name)
    url = f"service=here sslkey={home / 'mine.key'} sslcrldir={home / 'revoked'}"
    guarded = in_use([source], url)
    for name in ("passwords", "mine.crt", "mine.key", "services.conf", "ca.crt", ".postgresql/root.crl", "revoked/new"):
        with pytest.raises(PlanError, match=r"--report .* (is|lies in) (the|libpq's)"):
            accept("--report", str(link_to(tmp_path / f"link-{Path(name).name}", home / name)), guarded)
    assert accept("--report", str(home / "other.json"), guarded).path == home / "other.json"


@pytest.mark.parametrize("url", ["embedded", "embedded:{0}/pg", "host=h"])
def test_a_folder_of_ours_takes_no_output(
    url: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VESTIGE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    where = tmp_path / "pg" if "{0}" in url else tmp_path / "postgres"
    guarded = in_use([source], url.format(tmp_path))
    with pytest.raises(PlanError, match="lies in the data directory of the bundled server"):
        accept("--log-file", str(where), guarded)  # still to be made
    made(where / "base" / "1")
    snapshot = made(tmp_path / "vestige-migrate-snapshot-x" / "copy.db").parent
    strange = made(tmp_path / "other" / "PG_VERSION").parent
    guarded = in_use([source], url.format(tmp_path))
    for folder in (where, where / "base", snapshot, strange):
        with pytest.raises(PlanError, match="lies in"):
            accept("--report", str(folder / "r.json"), guarded)
    assert accept("--report", str(tmp_path / "r.json"), guarded)


@pytest.mark.parametrize("there", [True, False])
def test_a_report_and_a_log_are_two_files(there: bool, tmp_path: Path) -> None:
    one = tmp_path / "one"
    if there:
        made(one)
    for other in (one, tmp_path / "sub" / ".." / "one", tmp_path / "ONE"):
        (tmp_path / "sub").mkdir(exist_ok=True)
        if there and other.name == "ONE":
            continue
        places = [
            accept(option, str(path), in_use([], NOWHERE))
            for option, path in (("--report", one), ("--log-file", other))
        ]
        with pytest.raises(PlanError, match=r"--log-file .* is the file of --report too"):
            check_apart(*places)
    null = [accept(option, os.devnull, in_use([], NOWHERE)) for option in ("--report", "--log-file")]
    check_apart(*null)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing/r.json", "No such file or directory"),
        ("file/r.json", "Not a directory"),
        ("sub", "Is a directory"),
        ("loop", "Too many levels of symbolic links"),
        ("socket", "a socket"),
        ("x" * 300, "File name too long"),
        ("/dev/fd/987", "descriptor 987 is not open"),
    ],
)
def test_what_cannot_be_written_is_said(name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "file")
    (tmp_path / "sub").mkdir()
    link_to(tmp_path / "loop", tmp_path / "loop")
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind("socket")
        with pytest.raises(PlanError, match=words):
            accept("--report", name, in_use([], NOWHERE))


def test_ones_own_link_is_followed(tmp_path: Path) -> None:
    target = tmp_path / "real" / "r.json"
    target.parent.mkdir()
    assert accept("--report", str(link_to(tmp_path / "r.json", target)), in_use([], NOWHERE)).path == target


@pytest.mark.root
def test_a_file_or_link_of_another_account_is_not_written_to(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    precious = made(tmp_path / "folder" / "precious")
    links = [
        link_to(shared / "to-it", precious),
        link_to(shared / "to-nothing", tmp_path / "new"),
    ]
    links.append(link_to(shared / "to-folder", precious.parent))
    for link in links:
        os.lchown(link, 65534, 65534)
    theirs = made(shared / "theirs.json", b"")
    os.chown(theirs, 65534, 65534)
    folder = link_to(tmp_path / "own", shared)
    paths = [links[0], links[1], links[2] / "r.json", theirs, folder / "theirs.json", folder / "to-it"]
    with untouched(tmp_path):
        for path in paths:
            for option in ("--report", "--log-file"):
                with pytest.raises(PlanError, match="another account"):
                    accept(option, str(path), in_use([], NOWHERE))
    assert accept("--report", str(shared / "mine.json"), in_use([], NOWHERE))
