"""The bundled server on hosts as they are: odd paths, leftovers, two at once, other people's folders."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from loguru import logger

from tests.acceptance.conftest import copy_of
from tests.conftest import CommandLine
from tests.support.own_server import alive
from tests.support.postmaster import kill, postmaster, write_number
from tests.support.server_folder import server_folder
from tests.support.untouched import everything_below
from vestige_migrate import DestinationUnusable, Refused, SqliteToPostgresPlan, run_sqlite_to_postgres
from vestige_migrate.destination import embedded
from vestige_migrate.destination.embedded.account import server_account
from vestige_migrate.destination.embedded.lock import take_alive

ODD = "a b'c\"d,e@f=g%20h$HOME#i\\j`k`;&?漢ü"
LONG = f"{'d' * 120}/pg"


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as made:
        yield made


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """A data directory that tests stop, kill and start; none runs between them."""
    with server_folder() as made:
        embedded.start(made / "pg")
        embedded.stop(made / "pg")
        yield made / "pg"


@contextmanager
def running(data: Path) -> Iterator[embedded.EmbeddedServer]:
    """The server, stopped in the end."""
    server = embedded.start(data)
    try:
        yield server
    finally:
        embedded.stop(data)


def logged(function: object) -> list[str]:
    """Log lines of a call."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), format="{message}")
    try:
        function()  # type: ignore[operator]
    finally:
        logger.remove(sink)
    return lines


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(ODD, id="odd"),
        pytest.param(LONG, id="long", marks=pytest.mark.in_process),
        pytest.param(os.fsdecode(b"latin \xfc"), id="no UTF-8"),
    ],
)
def test_a_server_on_any_path_takes_a_copy_and_the_printed_psql_line_works(
    name: str, folder: Path, source: Path, command: CommandLine
) -> None:
    """Whatever is in the path and in the environment of who starts it."""
    where = folder / name
    hostile = {"LC_ALL": "xx_XX.UTF-8", "LANG": "yy", "PGPORT": "1", "PGDATA": "/nowhere"}
    done = command(*copy_of(source, f"embedded:{where}"), **hostile)
    try:
        assert done.returncode == 0, done.stderr
        status = command("server", "status", where)
        psql = status.stdout.splitlines()[-1].removeprefix("psql: ")
        asked = subprocess.run(
            ["sh", "-c", f"{psql} -XAtc 'SELECT count(*) FROM knowledge_nodes'"],
            capture_output=True, text=True, timeout=30, check=False, env=command.environment(PGPORT="1"),
        )  # fmt: skip
        assert (asked.returncode, asked.stdout) == (0, "40\n"), asked.stderr
        server = embedded.status(where)
        assert server is not None
        with psycopg.connect(server.url) as connection:
            names = "listen_addresses", "unix_socket_permissions", "server_encoding", "port"
            shown = [connection.execute(f"SHOW {name}").fetchone() for name in names]
            assert shown == [("",), ("0700",), ("UTF8",), ("5432",)]
            sockets = Path(str(connection.info.host))
        assert sockets.stat().st_mode & 0o777 == where.stat().st_mode & 0o777 == 0o700
        assert sockets.stat().st_uid == where.stat().st_uid
    finally:
        assert embedded.stop(where)
    assert name == ODD or not sockets.exists()


@pytest.mark.parametrize("schema", ["agent7", 'It\'s "my"\\ Schema, %41$HOME'])
def test_the_printed_psql_line_leads_to_the_schema_that_was_asked_for(data: Path, source: Path, schema: str) -> None:
    with running(data):
        plan = SqliteToPostgresPlan(source, f"embedded:{data}", workers=1, schema=schema, dry_run=True)
        dry = logged(lambda: run_sqlite_to_postgres(plan))
        lines = logged(lambda: run_sqlite_to_postgres(replace(plan, dry_run=False)))
        psql = next(line for line in lines if "connect with: " in line).strip()
        assert psql in "".join(dry)
        asked = subprocess.run(
            ["sh", "-c", f"{psql.partition('connect with: ')[2]} -XAtc 'SELECT count(embedding <=> embedding) FROM"
             " knowledge_nodes' -c 'SELECT current_schema()'"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert (asked.returncode, asked.stdout) == (0, f"39\n{schema}\n"), asked.stderr


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda where: where.write_text("mine"), "no folder"),
        (lambda where: (where.mkdir(), (where / "notes.txt").write_text("mine")), "not empty"),
        (lambda where: (where.mkdir(), (where / "PG_VERSION").write_text("16\n")), "PostgreSQL 16, .* is 18"),
        (lambda where: (where.mkdir(), (where / "PG_VERSION").write_text("18\n")), "not from this program"),
        (lambda where: where.symlink_to(where), "link that leads back|cannot be looked at"),
    ],
    ids=["file", "other files", "other version", "somebody's server", "loop"],
)
def test_what_is_no_data_directory_of_ours_is_refused_and_stays_as_it_was(
    make: object, words: str, folder: Path, source: Path
) -> None:
    where = folder / "pg"
    make(where)  # type: ignore[operator]
    before = everything_below(folder)
    plan = SqliteToPostgresPlan(source, f"embedded:{where}", workers=1)
    for again in (plan, SqliteToPostgresPlan(source, f"embedded:{where}", workers=1, dry_run=True)):
        with pytest.raises(DestinationUnusable, match=words) as refused:
            run_sqlite_to_postgres(again)
        assert refused.value.exit_code == 3
    for look in (embedded.status, embedded.stop, embedded.start):
        with pytest.raises(DestinationUnusable, match=words):
            look(where)
    assert everything_below(folder) == before


@pytest.mark.parametrize("name", ["two\nlines", "x" * 256, "/".join(["y" * 200] * 5)], ids=len)
def test_a_path_that_postgresql_cannot_have_is_refused_before_anything_is_made(name: str, folder: Path) -> None:
    with pytest.raises(DestinationUnusable, match=r"line break|too long"):
        embedded.start(folder / name)
    assert list(folder.iterdir()) == []


def test_a_number_in_postmaster_pid_counts_only_for_the_server_itself(data: Path, tmp_path: Path) -> None:
    """Of another program; and of one that is called postgres, belongs to the same account and stands in the folder."""
    embedded.start(data)
    kill(data)
    shutil.copy(shutil.which("sleep") or "/bin/sleep", data.parent / "postgres")
    (data.parent / "postgres").chmod(0o755)
    owner = data.stat()
    posing = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    with (
        subprocess.Popen(["sleep", "300"]) as other,
        subprocess.Popen([data.parent / "postgres", "300"], cwd=data, **posing) as posed,  # type: ignore[call-overload]
    ):
        try:
            write_number(data, posed.pid)
            for call in (embedded.status, embedded.stop, embedded.start):
                with pytest.raises(DestinationUnusable, match=rf"process {posed.pid} .*postmaster\.pid .* left alone"):
                    call(data)
            assert posed.poll() is None
            posed.kill()
            posed.wait()
            write_number(data, other.pid)
            assert embedded.status(data) is None
            assert not embedded.stop(data)
            with running(data) as server:
                assert server.started
                assert postmaster(data) != other.pid
            assert other.poll() is None, "another program was ended"
        finally:
            other.kill()
            posed.kill()


@pytest.mark.parametrize(
    "left", ["", "garbled\n\0\n", "1\n", "-77\n/x\n"], ids=["empty", "garbled", "cut", "single user"]
)
def test_what_is_left_of_postmaster_pid_does_not_keep_the_server_from_starting(left: str, data: Path) -> None:
    (data / "postmaster.pid").write_text(left)
    assert embedded.status(data) is None
    assert not embedded.stop(data)
    with running(data) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("lost", [None, ""])
def test_a_server_whose_postmaster_pid_is_lost_is_found_and_stopped(lost: str | None, data: Path) -> None:
    embedded.start(data)
    pid = postmaster(data)
    (data / "postmaster.pid").unlink() if lost is None else (data / "postmaster.pid").write_text(lost)
    found = embedded.status(data)
    assert found is not None
    assert embedded.start(data).started is False
    assert embedded.stop(data)
    assert not alive(pid)


def test_a_server_that_cannot_be_seen_from_here_is_not_started_over(data: Path) -> None:
    """One in another container holds its lock; one on another host left its name."""
    held = take_alive(data, server_account())
    assert held is not None
    try:
        for call in (embedded.status, embedded.stop, embedded.start):
            with pytest.raises(DestinationUnusable, match="cannot be seen from here"):
                call(data)
    finally:
        os.close(held)
    (data / "postmaster.pid").write_text(f"1\n{data}\n1\n5432\n\n\n0 0\nready\n")
    (data / "vestige.host").write_text("another-start\nanother-machine\n")
    with pytest.raises(DestinationUnusable, match=r"on another host.*remove .*postmaster\.pid"):
        embedded.start(data)
    (data / "postmaster.pid").unlink()  # as it says
    with running(data):
        pass


def test_two_first_starts_at_once_end_with_one_server(folder: Path) -> None:
    with ThreadPoolExecutor(3) as threads:
        servers = list(threads.map(embedded.start, [folder / "pg"] * 3))
    try:
        assert sorted(server.started for server in servers) == [False, False, True]
        assert len({server.url for server in servers}) == 1
    finally:
        embedded.stop(folder / "pg")


def test_a_data_directory_that_was_not_finished_is_made_again(folder: Path) -> None:
    """Killed in the middle of initdb, and in the middle of moving what it had made."""
    where = folder / "pg"
    where.mkdir(0o700)
    (where / "vestige.lock").touch()
    (where / ".vestige-making-0123" / "base").mkdir(parents=True)
    (where / "pg_wal" / "archive_status").mkdir(parents=True)
    with running(where) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not list(where.glob(".vestige-making*"))


@pytest.mark.parametrize(
    "name",
    ["vestige.db", "vestige.db-wal", ".vestige.db.swp", "vestige-export/all.json", "pg_backups/vestige.db", "log"],
)
def test_what_lies_beside_an_unfinished_data_directory_is_never_removed(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory put there before, or while the data was being made, which came to nothing."""
    where = folder / "pg"
    (where / ".vestige-making-0123").mkdir(parents=True)
    (where / "vestige.lock").touch()
    (where / name).parent.mkdir(exist_ok=True)
    (where / name).write_text("mine")
    before = everything_below(folder)
    for call in (embedded.status, embedded.stop, embedded.start):
        with pytest.raises(DestinationUnusable, match="not empty, and is no data directory"):
            call(where)
    assert everything_below(folder) == before

    def arrives(data: Path, *_: object) -> None:
        (data / "base").mkdir()
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).write_text("mine")
        raise DestinationUnusable("no room")

    monkeypatch.setattr("vestige_migrate.destination.embedded.make.make_data", arrives)
    with pytest.raises(DestinationUnusable, match="no room"):
        embedded.start(folder / "new")
    assert (folder / "new" / name).read_text() == "mine"
    assert not (folder / "new" / "base").exists()


def test_no_room_for_the_data_is_said_and_leaves_nothing(folder: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(DestinationUnusable, match="could not make its data in"):
            embedded.start(folder / "deep" / "pg")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (folder / "deep" / "pg").exists()


def test_a_server_that_cannot_start_says_why_and_where_its_log_is(data: Path) -> None:
    settings = data / "vestige.conf"
    before = settings.read_text()
    settings.write_text(before + "shared_preload_libraries = 'there_is_none'\n")
    try:
        with pytest.raises(DestinationUnusable) as refused:
            embedded.start(data)
        assert 'could not access file "there_is_none"' in str(refused.value)
        assert str(refused.value).endswith(f"Its log is {data / 'log'}")
        assert (data / "log").is_file()
        assert embedded.status(data) is None
    finally:
        settings.write_text(before)


def test_a_refused_run_stops_the_server_that_it_started_and_no_other(data: Path, source: Path) -> None:
    plan = SqliteToPostgresPlan(source, f"embedded:{data}", workers=200)

    def refuse() -> None:
        with pytest.raises(Refused, match="connections"):
            run_sqlite_to_postgres(plan)

    assert any("stopped the bundled PostgreSQL again" in line for line in logged(refuse))
    assert embedded.status(data) is None
    with running(data):
        refuse()
        assert embedded.status(data) is not None


@pytest.mark.in_process
def test_a_dry_run_starts_and_makes_nothing(data: Path, folder: Path, source: Path, command: CommandLine) -> None:
    fresh = command(*copy_of(source, f"embedded:{folder / 'new' / 'pg'}"), "--dry-run", "--archive", "--report", "-")
    assert fresh.returncode == 0, fresh.stderr
    assert '"url": "the bundled PostgreSQL 18, not made yet"' in fresh.stdout
    assert '"inserted": 40,' in fresh.stdout
    assert list(folder.iterdir()) == []
    stopped = command(*copy_of(source, f"embedded:{data}"), "--dry-run")
    assert stopped.returncode == 3
    assert f"vestige-migrate server start {data}" in stopped.stderr
    assert embedded.status(data) is None
    with running(data):
        asked = command(*copy_of(source, f"embedded:{data}"), "--dry-run")
        assert (asked.returncode, "time: " in asked.stdout) == (0, True), asked.stderr


@pytest.mark.in_process
def test_verify_makes_no_server_where_nothing_was_copied(folder: Path, source: Path, command: CommandLine) -> None:
    done = command("verify", "--sqlite-path", source, "--postgres-url", f"embedded:{folder / 'pg'}")
    assert (done.returncode, "nothing was copied" in done.stderr) == (3, True), done.stderr
    assert list(folder.iterdir()) == []


def test_windows_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    for call in (embedded.start, embedded.status, embedded.stop, embedded.look):
        with pytest.raises(DestinationUnusable, match="Windows"):
            call(folder / "pg")
