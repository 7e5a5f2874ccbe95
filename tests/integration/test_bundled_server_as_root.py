"""The bundled server where root starts it: nobody else gets in, and nothing of anybody's changes its mode or owner."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.conftest import copy_of
from tests.conftest import CommandLine
from tests.support.accounts import STRANGER, as_stranger
from tests.support.own_server import OwnServer, own_server, server_user
from tests.support.server_folder import server_folder
from tests.support.untouched import everything_below
from vestige_migrate import DestinationUnusable
from vestige_migrate.destination import embedded
from vestige_migrate.destination.embedded import programs
from vestige_migrate.destination.embedded.account import server_account
from vestige_migrate.destination.embedded.files import settle_folder
from vestige_migrate.destination.embedded.place import SERVERS
from vestige_migrate.destination.embedded.state import STATE

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _nothing_stays_of_root() -> Iterator[None]:
    """What a test put among root's own servers goes away with it."""
    before = set(SERVERS.glob("*"))
    yield
    for made in set(SERVERS.glob("*")) - before:
        embedded.stop(made)
        shutil.rmtree(made)
    for folder in (SERVERS, STATE):
        with suppress(OSError):
            folder.rmdir()


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as made:
        made.chmod(0o755)
        yield made


def modes(path: Path) -> list[tuple[int, int]]:
    """Mode and owner of a folder and of every one above it."""
    return [(at.stat().st_mode, at.stat().st_uid) for at in (path, *path.parents)]


@pytest.mark.parametrize("name", ["pg", f"{'d' * 100}/{'e' * 60}/pg", "with, comma"], ids=["short", "long", "comma"])
def test_another_account_can_neither_read_nor_connect_nor_run_a_program(
    name: str, folder: Path, source: Path, command: CommandLine
) -> None:
    """Really tried, with every folder above open; the same by root shows that it would work for one who may."""
    where = folder / name
    done = command(*copy_of(source, f"embedded:{where}"))
    try:
        assert done.returncode == 0, done.stderr
        server = embedded.status(where)
        assert server is not None
        url, sockets = server.url, Path(str(psycopg.conninfo.conninfo_to_dict(server.url)["host"]))

        def rows() -> object:
            with psycopg.connect(url) as connection:
                connection.execute("CREATE TEMP TABLE told (line text)")
                connection.execute("COPY told FROM PROGRAM 'id -un'")
                return connection.execute("SELECT count(*), (TABLE told) FROM knowledge_nodes").fetchone()

        assert rows() == (40, server_user())
        attempts = {
            "connect": rows,
            "list the data": lambda: list(where.iterdir()),
            "read the data": lambda: (where / "PG_VERSION").read_text(),
            "read the log": lambda: (where / "log").read_text(),
            "list the socket's folder": lambda: list(sockets.iterdir()),
            "put a socket there": lambda: (sockets / ".s.PGSQL.5433").touch(),
            "take its place": lambda: sockets.rename(sockets.with_name("mine")),
        }
        for what, attempt in attempts.items():
            got = as_stranger(attempt)
            assert isinstance(got, OSError | psycopg.OperationalError), f"{STRANGER} can {what}: {got!r}"
            assert "denied" in str(got) or "not permitted" in str(got), got
        for call in (embedded.status, embedded.stop, embedded.start, embedded.look):
            refused = as_stranger(lambda call=call: call(where))  # type: ignore[misc]
            assert isinstance(refused, DestinationUnusable), refused
            assert "Run this as root" in str(refused)
        assert embedded.status(where) == server
        # Even past the folder's mode the server itself lets nobody in by whom it does not know.
        sockets.chmod(0o711)
        (sockets / ".s.PGSQL.5432").chmod(0o777)
        got = as_stranger(rows)
        assert isinstance(got, psycopg.OperationalError)
        assert "Peer authentication failed" in str(got)
    finally:
        embedded.stop(where)


@pytest.mark.parametrize("name", ["pg", "deep/below/Größe"])
def test_data_that_the_servers_account_cannot_reach_goes_elsewhere_and_no_folder_is_opened(
    name: str, tmp_path: Path, source: Path, command: CommandLine
) -> None:
    """pytest's folders are private, as /root and those of mkdtemp are."""
    private = tmp_path / "private"
    private.mkdir(0o700)
    where, before = private / name, modes(private)
    done = command(*copy_of(source, f"embedded:{where}"))
    assert done.returncode == 0, done.stderr
    assert f"the data of {where} goes to {SERVERS}/" in done.stderr
    assert "cannot pass the folder" in done.stderr
    assert modes(private) == before
    assert (where / "postmaster.pid").exists()
    assert (where / "log").exists()
    data = where.resolve()
    assert (data.parent, data.stat().st_mode & 0o777) == (SERVERS, 0o700)
    assert [at.stat().st_mode & 0o777 for at in (SERVERS, STATE)] == [0o711, 0o711]
    for path in (where, data):
        assert command("server", "status", path).returncode == 0
    assert embedded.stop(where)
    assert embedded.status(data) is None
    where.unlink()  # as rm -r of the folder does: the data is not forgotten
    server = embedded.start(where)
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT count(*) FROM knowledge_nodes").fetchone() == (40,)
    assert where.resolve() == data
    assert embedded.stop(data)


@pytest.mark.parametrize("how", ["open", "theirs", "below theirs"])
def test_data_that_others_could_exchange_goes_elsewhere(
    how: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write to the folder above could put a server's data of his own there, with programs that it runs."""

    def stops(data: Path, *_: object) -> None:
        raise DestinationUnusable(f"made in {data}")

    monkeypatch.setattr("vestige_migrate.destination.embedded.make.make_data", stops)
    shared = folder / "shared"
    (shared / "mine").mkdir(parents=True)
    shared.chmod(0o777) if how == "open" else shutil.chown(shared, STRANGER)
    where = (shared / "mine" if how == "below theirs" else shared) / "deep" / "pg"
    before = everything_below(folder)
    with pytest.raises(DestinationUnusable, match=f"made in {SERVERS}/pg-"):
        embedded.start(where)
    assert {path: state for path, state in everything_below(folder).items() if path in before} == before
    shared.chmod(0o1777)  # as /tmp is
    shutil.chown(shared, "root")
    with pytest.raises(DestinationUnusable, match=f"made in {where}"):
        embedded.start(where)


def test_a_folder_that_another_has_put_in_the_place_of_ours_is_left_alone(folder: Path) -> None:
    """In the moment between its making and the change of its owner."""
    theirs, linked = folder / "theirs", folder / "linked"
    theirs.mkdir(0o755)
    shutil.chown(theirs, STRANGER)
    linked.symlink_to("/root")
    before = everything_below(folder), Path("/root").stat().st_mode
    for account in (server_account(), None):
        with pytest.raises(DestinationUnusable, match="another account has put something else"):
            settle_folder(theirs, account, 0o711)
        with pytest.raises(OSError, match="linked"):
            settle_folder(linked, account, 0o711)
    assert (everything_below(folder), Path("/root").stat().st_mode) == before


@pytest.mark.parametrize("whose", [STRANGER, "root"])
def test_a_folder_that_is_refused_keeps_its_mode_and_owner(whose: str, folder: Path) -> None:
    """Somebody's empty folder, and files of root's own; links that others made are not followed."""
    where = folder / "theirs"
    where.mkdir(0o750)
    if whose == "root":
        (where / "notes.txt").touch()
    shutil.chown(where, whose)
    linked = folder / "linked"
    linked.symlink_to("/etc")
    os.chown(linked, where.stat().st_uid, -1, follow_symlinks=False)
    before, above = everything_below(folder), modes(folder)
    for path in (where, linked, *([where / "notes.txt" / "pg"] if whose == "root" else [])):
        for call in (embedded.start, embedded.look, embedded.status):
            with pytest.raises(DestinationUnusable):
                call(path)
    assert (everything_below(folder), modes(folder)) == (before, above)


def test_a_data_directory_of_an_earlier_version_is_closed_when_it_is_started(folder: Path) -> None:
    """trust, and a socket in a folder that everybody can use: as it was made until now, and running so."""
    where = folder / f"{'d' * 90}" / "pg"
    embedded.start(where)
    embedded.stop(where)
    shared = folder / "sockets"
    shared.mkdir()
    shared.chmod(0o777)
    (where / "pg_hba.conf").write_text("local all all trust\n")
    for name in ("vestige-access.conf", "vestige.sockets", "vestige.alive", "vestige.host"):
        (where / name).unlink()
    old = OwnServer(where, f"postgresql://postgres@/postgres?host={shared}")
    old.run("pg_ctl", "-w", "-D", where, "-l", where / "log", "-o", f'-h "" -k {shared}', "start")

    def count() -> object:
        with psycopg.connect(old.url) as connection:
            return connection.execute("SELECT 1").fetchone()

    assert as_stranger(count) == (1,), "the old server is not as open as it was"
    server = embedded.start(where)
    try:
        assert isinstance(as_stranger(count), psycopg.OperationalError)
        old = OwnServer(where, server.url)
        got = as_stranger(lambda: psycopg.connect(server.url).execute("SELECT 1").fetchone())
        assert isinstance(got, psycopg.OperationalError)
        assert (where / "pg_hba.conf.before").read_text() == "local all all trust\n"
    finally:
        embedded.stop(where)


def test_programs_in_a_folder_that_the_servers_account_cannot_enter_are_copied_once(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """README's first command in /root: the environment is private, and stays so."""
    package = programs.bundled().parent.parent
    private = tmp_path / "site $packages"
    shutil.copytree(package / "pginstall18", private / package.name / "pginstall18")
    shutil.copytree(package.parent / f"{package.name}.libs", private / f"{package.name}.libs")
    private.chmod(0o700)
    monkeypatch.setattr(programs, "bundled", lambda: private / package.name / "pginstall18" / "bin")
    before, there = everything_below(private), set(STATE.glob("postgresql-*"))
    server = embedded.start(folder / "pg")
    try:
        # Perhaps an earlier one: where the suite itself runs from a private environment, its own server has made it.
        number = int((folder / "pg" / "postmaster.pid").read_text().split()[0])
        running = Path(f"/proc/{number}/exe").readlink()
        copied = next(parent for parent in running.parents if parent.parent == STATE)
        for path in (copied, *copied.rglob("*")):
            state = path.lstat()
            assert (state.st_uid, state.st_mode & 0o022) == (0, 0), path
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE EXTENSION vector")
        assert embedded.stop(folder / "pg")
        assert embedded.start(folder / "pg").started
        assert set(STATE.glob("postgresql-*")) == there | {copied}
        assert everything_below(private) == before
    finally:
        embedded.stop(folder / "pg")
        for made in set(STATE.glob("postgresql-*")) - there:
            shutil.rmtree(made)


def test_a_server_in_another_container_is_found_by_its_socket_and_left_alone(folder: Path) -> None:
    """A process namespace of its own, as a container's: its number in postmaster.pid is another one here."""
    with own_server(folder) as made:
        made.stop("fast")
    data = folder / "postgres"
    script = (
        f"import sys; from pathlib import Path; from vestige_migrate.destination import embedded\n"
        f"embedded.start(Path({str(data)!r})); print('up', flush=True); sys.stdin.read()"
    )
    namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--ipc"]
    with subprocess.Popen(
        [*namespace, sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "up\n"
            number = (data / "postmaster.pid").read_text().splitlines()[0]
            assert int(number) < 100, "the namespace is not its own"
            server = embedded.start(data)
            assert not server.started
            with psycopg.connect(server.url) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        finally:
            other.kill()
