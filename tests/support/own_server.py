"""A bundled server of a test's own, to be stopped and started."""

from __future__ import annotations

import os
import signal
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
from vestige_migrate.destination import embedded


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

    def start(self) -> None:
        """Starts it where it was."""
        embedded.start(self.data)


def alive(pid: int) -> bool:
    """Whether the process runs still."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


@contextmanager
def own_server(folder: Path) -> Iterator[OwnServer]:
    """A new server in this folder; stopped in the end."""
    started = embedded.start(folder / "postgres")
    try:
        yield OwnServer(started.data_directory, make_conninfo(started.url, dbname="postgres"))
    finally:
        embedded.stop(started.data_directory)
