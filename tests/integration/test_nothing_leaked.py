"""No row content and no password in any output, log, report, process list or application_name, whatever fails."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.conftest import CommandLine, InProcess
from tests.support import markers
from tests.support.passwords import in_form, owned_with_password
from tests.support.running import RunningCopy, blocked_sessions, held_row
from tests.support.sources import SourceSpec, build_source, edit, node_id
from vestige_migrate.source.file.snapshot import take_snapshot
from vestige_migrate.source.sqlite.connect import SourceFile

pytestmark = pytest.mark.bare_database

PASSWORD = "PWLEAK"
KEY = "x'" + "5EC2E7" * 10 + "0000" + "'"
"""64 hex digits: SQLCipher takes 0.2 s for each page size that it tries with a passphrase."""

_SECRETS = (PASSWORD, "5EC2E7")
SPEC = SourceSpec(memories=60, schedules=60, edges=20, events=20, dimension=8)


@pytest.fixture
def owner(database: str) -> Iterator[str]:
    with owned_with_password(database, PASSWORD) as conninfo:
        yield conninfo


class Runs:
    """Runs commands with everything that makes them talk, and looks for what they may not say."""

    def __init__(self, command: CommandLine, planted: dict[str, str], written: pytest.CaptureFixture[str]) -> None:
        self.command = command
        self.planted = planted
        self._written = written
        self.said = 0

    def arguments(self, source: Path, url: str, *more: str | Path) -> tuple[str | Path, ...]:
        return (
            "--sqlite-path",
            source,
            "--postgres-url",
            url,
            "--workers",
            "1",
            "--debug",
            "--log-level",
            "TRACE",
            *more,
        )

    def here(self, name: str, code: int, source: Path, url: str, *more: str | Path, **environment: str) -> str:
        """The same within this process, for what ends before it has a worker."""
        return self._run(InProcess(self.command.home), name, code, source, url, *more, **environment)

    def __call__(self, name: str, code: int, source: Path, url: str, *more: str | Path, **environment: str) -> str:
        """Runs it and returns all it said: on both streams, in its log and its report."""
        return self._run(self.command, name, code, source, url, *more, **environment)

    def _run(
        self, command: CommandLine, name: str, code: int, source: Path, url: str, *more: str | Path, **environment: str
    ) -> str:
        report, log = self.command.home / "report.json", self.command.home / "run.log"
        files: tuple[str | Path, ...] = () if "--report" in more else ("--report", report, "--log-file", log)
        done = command(name, *self.arguments(source, url, *files, *more), VESTIGE_ENCRYPTION_KEY=KEY, **environment)
        # A library may have written past Python's streams.
        text = done.stdout + done.stderr + "".join(self._written.readouterr())
        for file in (report, log):
            if file.exists():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600
                text += file.read_text(encoding="utf-8")
                file.unlink()
        assert done.returncode == code, text
        self.look(text)
        return text

    def look(self, text: str) -> None:
        """No secret; no marker but a domain's id, and the raw id of a row that cannot be named otherwise."""
        for secret in _SECRETS:
            assert secret not in text, _around(text, secret)
        for line in text.splitlines():
            for marker in re.findall(rf"{markers.PREFIX}\d{{4}}", line):
                where = self.planted[marker]
                if where == "domains.id":  # a text is what names a domain
                    continue
                assert where.endswith("id"), f"{where} is in: {line}"
                assert "is no UUID" in line, f"{where} is in: {line}"
                self.said += 1


def _around(text: str, secret: str) -> str:
    at = text.index(secret)
    return text[max(0, at - 200) : at + 100]


def test_no_content_and_no_password_gets_out(
    tmp_path: Path, owner: str, command: CommandLine, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = build_source(tmp_path / "plain.db", SPEC)
    healthy = Path(shutil.copyfile(plain, tmp_path / "healthy.db"))
    planted = markers.seed(plain)
    assert {"knowledge_nodes.content", "scheduling.reps", "users.handle", "edges.weight"} <= {*planted.values()}
    marker = next(each for each, where in planted.items() if where == "knowledge_nodes.content")
    edit(
        plain,
        ("UPDATE knowledge_nodes SET visibility = ? WHERE rowid = 31", (marker,)),
        ("UPDATE knowledge_nodes SET owner_user_id = ? WHERE rowid = 32", ("11111111-2222-3333-4444-555555555555",)),
        ("UPDATE knowledge_nodes SET content = ? || CAST(x'00FF' AS TEXT) WHERE rowid = 33", (marker,)),
        ("UPDATE knowledge_nodes SET embedding = ? WHERE rowid = 34", (struct.pack("<8f", *[float("nan")] * 8),)),
        ("UPDATE knowledge_nodes SET metadata = ? WHERE rowid = 35", (f'{{"{marker}": 1e400000}}',)),
        ("UPDATE users SET handle = 'local' WHERE rowid = 3", ()),
    )
    runs = Runs(command, planted, capfd)
    url = {form: in_form(form, owner) for form in ("URL", "query", "keywords", "PGPASSWORD")}
    pgpass = tmp_path / "pgpass"
    pgpass.write_text(f"*:*:*:*:{PASSWORD}\n")
    pgpass.chmod(0o600)

    runs.here("copy", 0, plain, url["URL"][0], "--dry-run")
    runs("copy", 4, plain, url["query"][0], "--max-errors", "1", "--batch-size", "5")
    text = runs("copy", 1, plain, url["keywords"][0], "--archive", "--verify", "--report", "-")
    for sqlstate in ("23514", "23503", "23505", "22003"):
        assert f'"{sqlstate}"' in text, f"no row was refused with {sqlstate}"
    assert runs.said > 0, "no id was named that is no UUID"
    with psycopg.connect(owner) as connection:
        connection.execute("UPDATE knowledge_nodes SET content = 'altered' WHERE tags <> '{}'")
        connection.execute("DELETE FROM edges")
    runs("verify", 1, plain, url["PGPASSWORD"][0], **url["PGPASSWORD"][1])
    runs.here("copy", 3, plain, url["URL"][0], "--embedding-model", "other", "--embedding-dimension", "9")
    noise = tmp_path / "noise.db"
    noise.write_bytes(os.urandom(8192))
    assert "does not open" in runs.here("copy", 3, noise, url["URL"][0])
    _refused_passwords(runs, healthy, pgpass)
    _killed_workers(runs, healthy, owner)


def test_no_content_of_a_released_file_gets_out(
    tmp_path: Path, owner: str, command: CommandLine, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = SourceSpec(line="released", version=39, form="vestige").sized(60)
    released = build_source(tmp_path / "released.db", spec)
    planted = markers.seed(released)
    assert len(planted) > 300
    runs = Runs(command, planted, capfd)
    runs("copy", 1, released, owner, "--archive", "--verify")
    assert runs.said > 0


def _refused_passwords(runs: Runs, source: Path, pgpass: Path) -> None:
    """A wrong password. (A server that is not there, with every form: tests/acceptance/test_logs.py.)"""
    with _refusing_server() as port:
        conninfo = (
            f"host=127.0.0.1 port={port} user=me dbname=db password={PASSWORD} sslmode=disable gssencmode=disable"
        )
        for form in ("query", "keywords"):
            assert "password authentication failed" in runs.here("copy", 3, source, in_form(form, conninfo)[0])
        url, _ = in_form("PGPASSWORD", conninfo)
        said = runs.here("verify", 3, source, url, PGPASSFILE=str(pgpass))
        assert "password authentication failed" in said
        assert "Check user and password" in said  # libpq adds a line about the file, behind the SQLSTATE


@contextmanager
def _refusing_server() -> Iterator[int]:
    """A server that asks for the password in clear text and refuses it, as PostgreSQL does (protocol 3.0)."""

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                client.recv(65536)
                client.sendall(struct.pack("!cii", b"R", 8, 3))
                asked = client.recv(65536)
                assert PASSWORD.encode() in asked
                fields = b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "me"\0\0'
                client.sendall(struct.pack("!ci", b"E", len(fields) + 4) + fields)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def _killed_workers(runs: Runs, source: Path, conninfo: str) -> None:
    """Its processes and sessions while it runs, and what it says when its worker is killed."""
    url, _ = in_form("URL", conninfo)
    with psycopg.connect(conninfo) as connection:
        connection.execute("TRUNCATE knowledge_nodes, vestige_run_error CASCADE")
    environment = runs.command.environment(VESTIGE_POSTGRES_URL=url)
    arguments = [each for each in runs.arguments(source, url) if each not in ("--postgres-url", url)]
    with held_row(conninfo, node_id(source, 10)):
        run = RunningCopy.start(*arguments, environment=environment)
        run.wait_until(lambda: blocked_sessions(conninfo), "a worker in mid-range")
        for process in (psutil.Process(run.process.pid), *run.descendants()):
            with process.oneshot():
                runs.look("\n".join([process.name(), *process.cmdline()]))
        with psycopg.connect(conninfo) as connection:
            rows = connection.execute("SELECT application_name FROM pg_stat_activity WHERE usename = current_user")
            runs.look("\n".join(name for (name,) in rows))
        for worker in run.workers():
            worker.send_signal(signal.SIGKILL)
    code, out, err = run.finish()
    assert code == 0, err
    assert "was killed by signal 9" in err
    runs.look(out + err)


@pytest.mark.parametrize("wide", [False, True])
def test_files_are_the_owners_alone_whatever_the_umask(
    tmp_path: Path, database: str, command: CommandLine, wide: bool
) -> None:
    """Also where they are there already and others may read them: they are closed before a word is written."""
    source = build_source(tmp_path / "vestige.db", SourceSpec(version=13, memories=5, edges=0, dimension=8))
    source.chmod(0o644)
    report, log = command.home / "report.json", command.home / "run.log"
    if wide:
        for file in (report, log):
            file.write_text("")
            file.chmod(0o666)
    more = ("--report", report, "--log-file", log, "--allow-source-upgrade")
    before = os.umask(0)
    try:
        done = command("copy", "--sqlite-path", source, "--postgres-url", database, "--workers", "1", *more)
        with take_snapshot(SourceFile(source)) as snapshot:
            assert stat.S_IMODE(snapshot.path.stat().st_mode) == 0o600
            assert stat.S_IMODE(snapshot.path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stderr
    [backup] = tmp_path.glob("vestige.db.v13-backup-*")
    for file in (report, log, backup):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
