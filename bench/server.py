"""The PostgreSQL that the benchmark runs against, and one database a run on it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo

from vestige_migrate.destination import embedded

_READ_BYTES = 1 << 20
SERVER_VARIABLE = "VESTIGE_TEST_POSTGRES_URL"
Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class BenchServer:
    """A running server.

    `exchange` is a directory that the server can write into and read from, `postmaster` its process on this machine.
    Both are None for a server that was only given as a URL: it may be anywhere, so the limit cannot be measured there.
    """

    url: str
    name: str
    exchange: Path | None = None
    postmaster: int | None = None

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a database that is new and goes away after use."""
        name = f"bench_{uuid4().hex[:12]}"
        with connect(self.url) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            try:
                yield make_conninfo(self.url, dbname=name)
            finally:
                admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def settle(self, *files: Path) -> None:
        """A checkpoint and a sync, so that no run writes out what the run before it left in memory.

        Then the files that are about to be read are in the page cache, which the bars are stated for: a system that
        reclaims memory early drops what nobody has read for a minute.
        """
        with connect(self.url) as admin, suppress(errors.InsufficientPrivilege):
            admin.execute("CHECKPOINT")
        os.sync()
        for path in files:
            _read_through(path)


def _read_through(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(_READ_BYTES):
            pass


def connect(url: str) -> Connection:
    """An autocommit connection."""
    return psycopg.connect(url, autocommit=True)


@contextmanager
def running_server() -> Iterator[BenchServer]:
    """The server of `VESTIGE_TEST_POSTGRES_URL`, else the bundled one on a directory that goes away afterwards."""
    given = os.environ.get(SERVER_VARIABLE)
    if given:
        yield BenchServer(given, _version(given, SERVER_VARIABLE))
        return
    home = Path(tempfile.mkdtemp(prefix="vestige-bench-"))
    home.chmod(0o711)  # as root the server runs as another account, which has to pass it
    try:
        server = embedded.start(home / "postgres")
        try:
            url = make_conninfo(server.url, dbname="postgres")
            exchange = _exchange_directory(home, server.data_directory)
            yield BenchServer(url, _version(url, "bundled"), exchange, _postmaster(server.data_directory))
        finally:
            embedded.stop(server.data_directory)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _exchange_directory(home: Path, data_directory: Path) -> Path:
    """A directory beside the data directory that belongs to the server's user (root's server runs as another user)."""
    directory = home / "exchange"
    directory.mkdir()
    owner = data_directory.stat()
    if os.geteuid() != owner.st_uid:
        os.chown(directory, owner.st_uid, owner.st_gid)
    return directory


def _postmaster(data_directory: Path) -> int:
    """The server's first process: the first line of postmaster.pid."""
    return int((data_directory / "postmaster.pid").read_text(encoding="ascii").splitlines()[0])


def _version(url: str, whence: str) -> str:
    with connect(url) as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'),"
            " (SELECT default_version FROM pg_available_extensions WHERE name = 'vector')"
        ).fetchone()
    assert row is not None
    return f"PostgreSQL {row[0]}, pgvector {row[1]} ({whence})"
