"""The limit: what the server alone needs to store the same rows, with no client that reads or converts anything.

Two backends at once, each reading one half of the rows from a binary file with COPY: the least work that makes these
tables. Same schema as the copy's (primary keys, foreign keys, checks, the generated tsvector), no secondary index.
Commits are asynchronous, as the copy's workers' are, so neither figure has the last flush in it.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from bench.check import CopyFailed, Digest, problems_of_copy
from bench.load import watched_load
from bench.server import BenchServer, Connection, connect
from vestige_migrate.destination.schema import read_sql

BACKENDS = 2
PARENTS = ("knowledge_nodes",)
DEPENDENTS = ("scheduling", "edges", "review_events")
_SMALL = ("users", "groups", "group_memberships", "domains")


@dataclass(frozen=True)
class Limit:
    """Seconds of the server alone: the memories, and the three tables that depend on them, after them."""

    parents: float
    dependents: float
    server_cpu: float | None
    others_cpu: float | None


@dataclass(frozen=True)
class Dump:
    """A finished copy's tables as files: one for a small table, two halves for any other."""

    directory: Path
    dimension: int
    columns: dict[str, tuple[str, ...]]

    def file(self, table: str, part: int) -> Path:
        """The file of one half."""
        return self.directory / f"{table}.{part}.copy"


def dump(url: str, directory: Path, dimension: int) -> Dump:
    """Writes the tables of a copied database to `directory` (on the server's side)."""
    with connect(url) as connection:
        columns = {table: _columns(connection, table) for table in (*_SMALL, *PARENTS, *DEPENDENTS)}
        made = Dump(directory, dimension, columns)
        for table in _SMALL:
            _dump_part(connection, made, table, 0, sql.SQL("true"))
        for table in (*PARENTS, *DEPENDENTS):
            middle = sql.Literal(f"({_pages(connection, table) // 2},0)")
            for part, operator in enumerate((sql.SQL("<"), sql.SQL(">="))):
                _dump_part(connection, made, table, part, sql.SQL("ctid {} {}::tid").format(operator, middle))
    return made


def _columns(connection: Connection, table: str) -> tuple[str, ...]:
    """The columns that hold data: all but the generated one, which COPY may not write."""
    rows = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
        " AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
        (table,),
    )
    return tuple(name for (name,) in rows)


def _pages(connection: Connection, table: str) -> int:
    row = connection.execute(
        "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::bigint", (table,)
    ).fetchone()
    assert row is not None
    return int(row[0])


def _dump_part(connection: Connection, made: Dump, table: str, part: int, kept: sql.Composable) -> None:
    connection.execute(
        sql.SQL("COPY (SELECT {} FROM {} WHERE {}) TO {} (FORMAT BINARY)").format(
            _names(made, table), sql.Identifier(table), kept, sql.Literal(str(made.file(table, part)))
        )
    )


def _names(made: Dump, table: str) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, made.columns[table]))


def measure_limit(server: BenchServer, made: Dump, wanted: dict[str, Digest]) -> Limit:
    """Loads the dump into a fresh database and times it. Raises `CopyFailed` where that does not make the same rows."""
    with server.database() as url:
        with connect(url) as main:
            _prepare(main, made)
            server.settle()
            workers = [connect(url) for _ in range(BACKENDS)]
            try:
                for worker in workers:
                    worker.execute("SET synchronous_commit = off")
                with watched_load(server.postmaster) as load:
                    parents = _load(workers, made, PARENTS)
                    dependents = _load(workers, made, DEPENDENTS)
            finally:
                for worker in workers:
                    worker.close()
        problems = problems_of_copy(url, wanted)
    if problems:
        raise CopyFailed(f"the limit is not of the same rows: {'; '.join(problems)}")
    return Limit(parents, dependents, load.server, load.others(0.0))


def _prepare(main: Connection, made: Dump) -> None:
    main.execute("CREATE EXTENSION IF NOT EXISTS vector")
    main.execute(read_sql("schema.sql").encode())
    main.execute(
        sql.SQL("ALTER TABLE knowledge_nodes ALTER COLUMN embedding TYPE vector({})").format(
            sql.Literal(made.dimension)
        )
    )
    main.execute("DELETE FROM users")  # the bootstrap user comes with the dump
    for table in _SMALL:
        _copy_from(main, made, table, 0)


def _load(workers: list[Connection], made: Dump, tables: tuple[str, ...]) -> float:
    """Seconds until every backend has its halves in."""

    def work(part: int) -> None:
        for table in tables:
            _copy_from(workers[part], made, table, part)

    with ThreadPoolExecutor(max_workers=BACKENDS) as threads:
        started = time.monotonic()
        for done in [threads.submit(work, part) for part in range(BACKENDS)]:
            done.result()
        return time.monotonic() - started


def _copy_from(connection: Connection, made: Dump, table: str, part: int) -> None:
    connection.execute(
        sql.SQL("COPY {} ({}) FROM {} (FORMAT BINARY)").format(
            sql.Identifier(table), _names(made, table), sql.Literal(str(made.file(table, part)))
        )
    )
