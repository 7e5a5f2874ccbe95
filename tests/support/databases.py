"""Databases of the test server that go away after use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.own_server import fresh_server


@contextmanager
def new_database(server_url: str, template: str = "template1") -> Iterator[str]:
    """The URL of one that is what `template` is: empty.

    Its files are copied, what the server remembers of the catalogs included: the first session does not gather that
    anew. A third of a database's price; only a server that has to be durable pays more for the checkpoints.
    """
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        try:
            yield make_conninfo(server_url, dbname=name)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def with_pgvector(server_url: str) -> Iterator[str]:
    """The name of an empty database that has pgvector, to make others of: a fifth of a short copy is installing it."""
    with new_database(server_url) as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE EXTENSION vector")
        yield str(conninfo_to_dict(url)["dbname"])


class Templates:
    """Databases that are made once, by whatever fills them, to make the tests' own of."""

    def __init__(self, server_url: str, empty: str) -> None:
        self._server_url, self._empty = server_url, empty
        self._made: dict[object, str] = {}
        self._open = ExitStack()

    def name(self, key: object, fill: Callable[[str], object]) -> str:
        """The name of the one for this key. Every session of `fill` has to be closed when it returns."""
        if key not in self._made:
            url = self._open.enter_context(new_database(self._server_url, self._empty))
            fill(url)
            self._made[key] = str(conninfo_to_dict(url)["dbname"])
        return self._made[key]

    def drop(self) -> None:
        self._open.close()


def run(url: str, statement: str, *parameters: Any) -> list[Any]:
    """Runs a statement in a transaction of its own; its rows, where it has any."""
    with psycopg.connect(url) as connection:
        cursor = connection.execute(statement.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


LOST = "SET vestige_migrate.deletes = 'on'"
"""What this session deletes is lost, as in a crash: no tombstone says that somebody wanted it gone."""


def lose(url: str, statement: str, *parameters: Any) -> None:
    """Runs a DELETE by which rows are lost."""
    with psycopg.connect(url) as connection:
        connection.execute(LOST)
        connection.execute(statement.encode(), parameters)


def pgvector_version(database: str) -> tuple[int, ...]:
    """The version that the server has."""
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "SELECT string_to_array(default_version, '.')::int[] FROM pg_available_extensions WHERE name = 'vector'"
        ).fetchone()
    assert row is not None
    return tuple(row[0])


@contextmanager
def new_enough(database: str, *, postgresql: int = 0, pgvector: tuple[int, ...] = ()) -> Iterator[str]:
    """This database, or one of the bundled server where the suite runs on an older one than these versions."""
    with psycopg.connect(database) as connection:
        major = connection.info.server_version // 10_000
    if major >= postgresql and pgvector_version(database) >= pgvector:
        yield database
        return
    with fresh_server() as own:
        yield own.database()
