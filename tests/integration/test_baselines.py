"""The benchmark's baselines make the same rows and the same indexes as the program, or they would be no measure."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from bench.baselines import executemany, pgloader, row_by_row
from bench.check import TABLES, expected, problems_of_copy, problems_of_indexes
from bench.source import source_file
from tests.support.databases import new_enough

ROWS, DIMENSION = 120, 16


@pytest.fixture(scope="module")
def bench_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small one of the benchmark's own sources."""
    return source_file(tmp_path_factory.mktemp("bench"), ROWS, DIMENSION)


def test_row_by_row_makes_every_row_and_index(database: str, bench_source: Path) -> None:
    assert row_by_row.run(database, bench_source, DIMENSION) > 0
    assert problems_of_copy(database, expected(bench_source)) == []
    assert problems_of_indexes(database) == []


def test_executemany_makes_every_row_and_index(database: str, bench_source: Path) -> None:
    assert executemany.run(database, bench_source, DIMENSION) > 0
    assert problems_of_copy(database, expected(bench_source)) == []
    assert problems_of_indexes(database) == []


@pytest.fixture
def newest(database: str) -> Iterator[str]:
    """A database of PostgreSQL 18, which has the functions that pgloader's baseline turns vectors around with."""
    with new_enough(database, postgresql=18) as url:
        yield url


@pytest.mark.bare_database
def test_the_sql_after_pgloader_makes_every_row(newest: str, bench_source: Path) -> None:
    """pgloader itself runs in the benchmark, where it is installed; its tables are made here as it makes them."""
    with closing(sqlite3.connect(bench_source)) as source, psycopg.connect(newest) as connection:
        for table in TABLES:
            _copy_untyped(source, connection, table)
    pgloader.move(newest, DIMENSION)
    assert problems_of_copy(newest, expected(bench_source)) == []
    assert len(problems_of_indexes(newest)) > 1, "indexes are none of its business"
    with psycopg.connect(newest) as connection:
        assert connection.execute("SELECT to_regnamespace('untyped')").fetchone() == (None,)


_TYPES = {"TEXT": "text", "BLOB": "bytea", "INTEGER": "bigint", "REAL": "double precision"}


def _copy_untyped(source: sqlite3.Connection, connection: psycopg.Connection, table: str) -> None:
    columns = [(name, _TYPES[kind]) for _, name, kind, *_ in source.execute(f"PRAGMA table_info({table})")]
    defined = [sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in columns]
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(table), sql.SQL(", ").join(defined)))
    rows: Iterator[tuple[object, ...]] = source.execute(f"SELECT * FROM {table}")
    with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))) as copy:
        for row in rows:
            copy.write_row(row)
