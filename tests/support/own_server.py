"""A bundled server of a test's own, to be stopped and started."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.running import wait_until
from tests.support.server_folder import server_folder
from vestige_migrate.destination import embedded
from vestige_migrate.destination.embedded.account import SERVER_ACCOUNT, server_account
from vestige_migrate.destination.embedded.programs import programs_for


@dataclass(frozen=True)
class OwnServer:
    """It runs on `data`; `url` is its maintenance database's."""

    data: Path
    url: str

    @property
    def socket_path(self) -> str:
        """Its Unix socket."""
        parameters = conninfo_to_dict(self.url)
        return f"{parameters['host']}/.s.PGSQL.{parameters.get('port', 5432)}"

    def database(self) -> str:
        """The URL of a new database."""
        name = f"test_{uuid4().hex[:12]}"
        self.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return make_conninfo(self.url, dbname=name)

    def drop(self, url: str) -> None:
        """Drops a database, whoever is in it."""
        name = sql.Identifier(str(conninfo_to_dict(url)["dbname"]))
        self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

    def execute(self, statement: sql.Composed | sql.SQL) -> None:
        """Runs a statement in the maintenance database."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    def set(self, name: str, value: str) -> None:
        """A setting that a reload is enough for."""
        self.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        self.execute(sql.SQL("SELECT pg_reload_conf()"))

    def stop(self, mode: str) -> None:
        """`fast` or `immediate`, which is a crash; returns when it is gone."""
        pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGQUIT if mode == "immediate" else signal.SIGINT)
        wait_until(lambda: not alive(pid), "the server to stop")

    def start(self, file_bytes: int | None = None) -> None:
        """Starts it where it was; with `file_bytes` it cannot make any file larger, as under a quota."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, before[1]))
            embedded.start(self.data)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def run(self, program: str, *arguments: str | Path) -> None:
        """Runs one of PostgreSQL's programs as the server's user."""
        command = [programs_for(server_account()) / program, *arguments]
        subprocess.run(command, check=True, user=server_user(), capture_output=True, text=True)

    def require_password(self, role: str) -> None:
        """This role is asked for a password (SCRAM) from now on."""
        rules = self.data / "pg_hba.conf"
        rules.write_text(f"local all {role} scram-sha-256\n" + rules.read_text())
        self.execute(sql.SQL("SELECT pg_reload_conf()"))


def server_user() -> str | None:
    """Who a bundled server runs as; None: as we do. PostgreSQL and PgBouncer refuse to run as root."""
    return SERVER_ACCOUNT if os.geteuid() == 0 else None


def alive(pid: int) -> bool:
    """Whether the process runs still."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


@contextmanager
def fresh_server() -> Iterator[OwnServer]:
    """A new server that goes away with its folder."""
    with server_folder() as folder, own_server(folder) as own:
        yield own


@contextmanager
def own_server(folder: Path) -> Iterator[OwnServer]:
    """A new server in this folder; stopped in the end."""
    folder.chmod(0o711)  # as root the server runs as another account, which has to pass it
    started = embedded.start(folder / "postgres")
    try:
        yield OwnServer(started.data_directory, make_conninfo(started.url, dbname="postgres"))
    finally:
        embedded.stop(started.data_directory)
