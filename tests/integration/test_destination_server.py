"""What a server's settings, limits and rules do to a copy: a full disk, timeouts, no connection free, a standby."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import trustme
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same
from tests.support.databases import LOST
from tests.support.own_server import OwnServer, fresh_server, server_user
from tests.support.running import RunningCopy, advisory_locks, our_sessions, wait_until
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.tls_front import tls_front
from tests.support.verifying import Verifier
from vestige_migrate import DestinationUnusable, VerifyReport
from vestige_migrate.destination import embedded

PASSWORD = "QXZJ-secret"
MIB = 1024 * 1024
SPEC = SourceSpec(memories=200, schedules=200)


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    with fresh_server() as own:
        yield own


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_source(tmp_path_factory.mktemp("source") / "vestige.db", SPEC)


@pytest.fixture
def url(server: OwnServer) -> Iterator[str]:
    """A database of a role's own, which is no superuser: superusers pass every limit."""
    made = server.database()
    role = f"role_{uuid4().hex[:8]}"
    with psycopg.connect(made, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute(
            sql.SQL("CREATE ROLE {0} LOGIN PASSWORD {1}; ALTER DATABASE {2} OWNER TO {0}").format(
                sql.Identifier(role), PASSWORD, sql.Identifier(str(conninfo_to_dict(made)["dbname"]))
            )
        )
    yield make_conninfo(made, user=role)
    server.drop(made)
    server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def verified(source: Path, url: str) -> VerifyReport:
    """Both sides compared; fails where they differ."""
    report = Verifier(url)(source)
    assert report.same, report.differences
    return report


def start(command: CommandLine, source: Path, url: str, log: Path, *more: str, **environment: str) -> RunningCopy:
    arguments: tuple[str | Path, ...] = ("--sqlite-path", source, "--postgres-url", url, "--log-file", log)
    return RunningCopy.start(*arguments, "--workers", "2", *more, environment=command.environment(**environment))


def says(log: Path, words: str) -> bool:
    """Whether the log has these words by now."""
    return log.exists() and words in log.read_text(encoding="utf-8")


@contextmanager
def no_room(server: OwnServer) -> Iterator[None]:
    """No file of the server's may grow past 17 MiB (its log takes 16 at once): it meets what a quota's end is to it."""
    server.stop("fast")
    server.start(17 * MIB)
    try:
        yield
    finally:
        server.stop("fast")
        server.start()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Some 20 MB in 140 memories."""
    path = build_source(tmp_path / "large.db", SourceSpec(memories=140, schedules=140))
    edit(path, ("UPDATE knowledge_nodes SET metadata = json_object('noise', hex(randomblob(75000)))", ()))
    return path


def stop_for_want_of_room(command: CommandLine, source: Path, url: str, words: str, report: Path) -> None:
    """A copy that ends with these words. No row is blamed, though the server may call it an internal error."""
    full = command(*copy_of(source, url), "--retries", "1", "--report", report)
    assert full.returncode == 4, full.stderr
    last = full.stderr.splitlines()[-1]
    assert words in last
    assert "make room on its disk" in last
    assert "run again to resume" in last
    assert "Traceback" not in full.stderr
    said = json.loads(report.read_text())
    assert (said["complete"], said["errors"]) == (False, [])
    with psycopg.connect(url) as connection:
        stored = connection.execute("SELECT count(*) > 0 AND count(*) < 140 FROM knowledge_nodes").fetchone()
    assert stored == (True,)


def copy_of(source: Path, url: str) -> tuple[str | Path, ...]:
    return ("copy", "--sqlite-path", source, "--postgres-url", url, "--workers", "2", "--batch-size", "20")


@pytest.mark.in_process
def test_a_disk_that_is_full_stops_the_copy_and_the_next_run_completes_it(
    server: OwnServer, url: str, large: Path, command: CommandLine, tmp_path: Path
) -> None:
    with no_room(server):
        stop_for_want_of_room(command, large, url, "could not write its files", tmp_path / "report.json")
    again = command(*copy_of(large, url))
    assert again.returncode == 0, again.stderr
    verified(large, url)


@pytest.mark.root
def test_a_file_system_that_is_full_does_the_same(
    server: OwnServer, url: str, large: Path, command: CommandLine, tmp_path: Path
) -> None:
    disk = server.data.parent / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], check=True)
    try:
        if (user := server_user()) is not None:
            shutil.chown(disk, user)
        name = sql.Identifier(str(conninfo_to_dict(url)["dbname"]))
        server.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(str(disk)))
        server.execute(sql.SQL("ALTER DATABASE {} SET TABLESPACE small").format(name))
        stop_for_want_of_room(command, large, url, "disk full (SQLSTATE 53100)", tmp_path / "report.json")
        subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
        again = command(*copy_of(large, url))
        assert again.returncode == 0, again.stderr
        verified(large, url)
        server.execute(sql.SQL("ALTER DATABASE {} SET TABLESPACE pg_default").format(name))
        server.execute(sql.SQL("DROP TABLESPACE small"))
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_timeouts_of_the_role_and_a_locked_table_end_no_copy(
    url: str, source: Path, command: CommandLine, tmp_path: Path
) -> None:
    """The lock is held before the run begins, and for longer than the timeouts are."""
    Copier(url)(source, indexes="none")
    with psycopg.connect(url, autocommit=True) as connection:
        for name in ("statement", "lock", "idle_in_transaction_session", "idle_session", "transaction"):
            connection.execute(
                sql.SQL("ALTER ROLE CURRENT_USER SET {} = '500ms'").format(sql.Identifier(f"{name}_timeout"))
            )
        connection.execute(LOST)
        connection.execute("DELETE FROM knowledge_nodes")
    log = tmp_path / "log"
    with psycopg.connect(url, user="postgres", application_name="nightly report") as holder:
        holder.execute("LOCK TABLE knowledge_nodes IN ACCESS EXCLUSIVE MODE")
        run = start(command, source, url, log, "--answer-timeout", "1")
        expected = (
            f"waiting for a lock on knowledge_nodes that is held by process {holder.info.backend_pid} (nightly rep"
        )
        run.wait_until(lambda: says(log, expected), "the lock to be named")
    code, _, err = run.finish()
    assert code == 0, err
    assert_same(source, url)


@pytest.mark.bare_database
def test_no_free_connection_is_refused_at_first_and_waited_for_later(
    url: str, source: Path, command: CommandLine, tmp_path: Path
) -> None:
    role, database = (sql.Identifier(str(conninfo_to_dict(url)[name])) for name in ("user", "dbname"))
    with psycopg.connect(url, user="postgres", autocommit=True) as owner:
        owner.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 3").format(role))
        for dry_run in (True, False):
            with pytest.raises(DestinationUnusable, match=r"too many for the 3 connections .* CONNECTION LIMIT"):
                Copier(url)(source, workers=2, max_connections=1, dry_run=dry_run)
        owner.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT -1").format(role))
        owner.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 5").format(database))
        log = tmp_path / "log"
        with ExitStack() as others:
            taken: list[psycopg.Connection[tuple[object, ...]]] = []
            for _ in range(4):
                wait_until(lambda: another(others, url, taken), "a connection to be free")
            with pytest.raises(DestinationUnusable, match=r"too many connections .* End other sessions, or raise"):
                Copier(url)(source)
            taken.pop().close()
            wait_until(lambda: sessions(url) == 3, "the session to end")
            run = start(command, source, url, log, "--max-connections", "1")
            run.wait_until(lambda: says(log, "no connection: "), "a worker to wait")
            assert run.process.poll() is None
    code, _, err = run.finish()
    assert code == 0, err
    assert err == ""
    assert "too many connections for database" in log.read_text()
    verified(source, url)


def sessions(url: str) -> int:
    """How many sessions the database has, our question's not among them."""
    with psycopg.connect(url, user="postgres") as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename <> 'postgres'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def another(others: ExitStack, url: str, taken: list[psycopg.Connection[tuple[object, ...]]]) -> bool:
    """Takes one more of the connections; False where none is free: a session of before may not have ended yet."""
    try:
        taken.append(others.enter_context(psycopg.connect(url)))
    except psycopg.OperationalError:
        return False
    return True


def test_a_standby_is_refused_by_copy_and_taken_by_verify(server: OwnServer, url: str, source: Path) -> None:
    Copier(url)(source)
    folder = server.data.parent / "standby"
    folder.mkdir(mode=0o700)
    if (user := server_user()) is not None:
        shutil.chown(folder, user)
    server.run("pg_basebackup", "-D", folder, "-R", "-c", "fast", "-X", "stream", "-d", server.url)
    (folder / ".s.PGSQL.5432.lock").unlink()  # of the running server, whose socket is in its folder
    standby = embedded.start(folder)
    try:
        there = make_conninfo(standby.url, **{name: conninfo_to_dict(url)[name] for name in ("user", "dbname")})
        for dry_run in (False, True):
            with pytest.raises(DestinationUnusable, match=r"read-only \(a standby.* give the primary's URL") as refused:
                Copier(there)(source, dry_run=dry_run)
            assert refused.value.exit_code == 3
        verified(source, there)
    finally:
        embedded.stop(folder)


def test_tls_passwords_and_services_as_libpq_asks(
    server: OwnServer, url: str, source: Path, command: CommandLine, tmp_path: Path
) -> None:
    """Every connection is made over TLS and checked against the CA; nothing tells the password."""
    role = str(conninfo_to_dict(url)["user"])
    name = str(conninfo_to_dict(url)["dbname"])
    server.require_password(role)
    own, other = trustme.CA(), trustme.CA()
    certificate = own.issue_cert("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    for ca, file in ((own, "own.pem"), (other, "other.pem")):
        ca.cert_pem.write_to_path(tmp_path / file)
    with tls_front(server.socket_path, context) as front:
        passwords = tmp_path / "pgpass"
        passwords.write_text(f"localhost:{front.port}:{name}:{role}:{PASSWORD}\n")
        passwords.chmod(0o600)
        services = tmp_path / "services"
        services.write_text(
            f"[memory]\nhost=localhost\nport={front.port}\ndbname={name}\nuser={role}\npassword={PASSWORD}\n"
            f"sslmode=verify-full\nsslrootcert={tmp_path / 'own.pem'}\n"
        )
        given = f"postgresql://{role}@localhost:{front.port}/{name}?sslmode=verify-full"
        trusted = {"PGSSLROOTCERT": str(tmp_path / "own.pem"), "PGPASSFILE": str(passwords)}
        said = []

        def run(verb: str, target: str, **environment: str) -> subprocess.CompletedProcess[str]:
            more = ("--workers", "2", "--debug") + (("--indexes", "now") if verb == "copy" else ())
            done = command(verb, "--sqlite-path", source, "--postgres-url", target, *more, **environment)
            said.append(done.stdout + done.stderr)
            return done

        def refused(words: str, target: str = given, **environment: str) -> None:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in environment.items():
                    patch.setenv(name, value)
                with pytest.raises(DestinationUnusable) as refusal:
                    Copier(target)(source, dry_run=True)
            said.append(str(refusal.value))
            assert words in said[-1]
            assert refusal.value.exit_code == 3

        refused("certificate verify failed", **{**trusted, "PGSSLROOTCERT": str(tmp_path / "other.pem")})
        refused("sslrootcert (or PGSSLROOTCERT)", **{**trusted, "PGSSLROOTCERT": str(tmp_path / "none.pem")})
        refused("PGPASSFILE", PGSSLROOTCERT=trusted["PGSSLROOTCERT"], PGPASSFILE=os.devnull)
        refused("PGSERVICEFILE", "service=nowhere", PGSERVICEFILE=str(services))
        wrong = run("copy", given.replace(role, f"{role}:{PASSWORD}x"), **trusted)
        assert (wrong.returncode, "password authentication failed" in wrong.stderr) == (3, True), wrong.stderr

        before = front.sessions
        assert run("copy", given, **trusted).returncode == 0, said[-1]
        # The coordinator, two workers, and one at least of the pool that builds the indexes.
        assert front.sessions - before >= 4
        assert run("verify", "service=memory", PGSERVICEFILE=str(services)).returncode == 0, said[-1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PGSERVICEFILE", str(services))
            patch.setenv("PGSERVICE", "memory")
            assert Copier("postgresql://")(source, dry_run=True).memories_copied == SPEC.memories
        assert front.plain == 0
    assert PASSWORD not in "".join(said)
    as_superuser = make_conninfo(url, user="postgres")
    # The front passes on the end of a connection after the command that ended it.
    wait_until(lambda: our_sessions(as_superuser) == advisory_locks(as_superuser) == 0, "the sessions to end")
