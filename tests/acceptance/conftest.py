"""Runs of the command that several tests only look at, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.conftest import CommandLine


@pytest.fixture(scope="module")
def module_database(server_url: str) -> Iterator[str]:
    """The URL of an empty database that the tests of one module share."""
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield make_conninfo(server_url, dbname=name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def module_command(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """The console scripts, in a home directory that the tests of one module share."""
    return CommandLine(tmp_path_factory.mktemp("home"))


def copy_of(source: Path, url: str, *more: str | Path) -> tuple[str | Path, ...]:
    """Arguments of a copy with one worker, which starts sooner than two."""
    return ("copy", "--sqlite-path", source, "--postgres-url", url, "--workers", "1", *more)
