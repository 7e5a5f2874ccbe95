"""The limit: what the server alone needs to store the same rows, with no client that reads or converts anything.

Two backends at once, each reading one half of the rows from a binary file with COPY: the least work that makes these
tables. Same schema as the copy's (primary keys, foreign keys, checks, the generated tsvector), no secondary index.
Commits are asynchronous, as the copy's workers' are, so neither figure has the last flush in it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from bench.byhand import CONNECTIONS, at_once, build_indexes, create_tables, halves
from bench.check import CopyFailed, Digest, problems_of_copy, problems_of_indexes
from bench.load import watched_load
from bench.server import BenchServer, Connection, connect

PARENTS = ("knowledge_nodes",)
DEPENDENTS = ("scheduling", "edges", "review_events")
_SMALL = ("users", "groups", "group_memberships", "domains")


@dataclass(frozen=True)
class Limit:
    """Seconds of the server alone: the memories, the three tables that depend on them, then all indexes (else 0)."""

    parents: float
    dependents: float
    indexes: float
    server_cpu: float | None
    others_cpu: float | None

    @property
    def tables(self) -> float:
        """Seconds of all rows."""
        return self.parents + self.dependents


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
            for part, where in enumerate(halves(connection, sql.Identifier(table))):
                _dump_part(connection, made, table, part, sql.SQL("ctid {}").format(where))
    return made


def _columns(connection: Connection, table: str) -> tuple[str, ...]:
    """The columns that hold data: all but the generated one, which COPY may not write."""
    rows = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
        " AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
        (table,),
    )
    return tuple(name for (name,) in rows)


def _dump_part(connection: Connection, made: Dump, table: str, part: int, kept: sql.Composable) -> None:
    connection.execute(
        sql.SQL("COPY (SELECT {} FROM {} WHERE {}) TO {} (FORMAT BINARY)").format(
            _names(made, table), sql.Identifier(table), kept, sql.Literal(str(made.file(table, part)))
        )
    )


def _names(made: Dump, table: str) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, made.columns[table]))


def measure_limit(server: BenchServer, made: Dump, wanted: dict[str, Digest], with_indexes: bool) -> Limit:
    """Loads the dump into a fresh database and times it. Raises `CopyFailed` where that does not make the same rows."""
    with server.database() as url:
        with connect(url) as main:
            _prepare(main, made)
            server.settle(*made.directory.iterdir())
            workers = [connect(url) for _ in range(CONNECTIONS)]
            try:
                for worker in workers:
                    worker.execute("SET synchronous_commit = off")
                with watched_load(server.postmaster) as load:
                    parents = _load(workers, made, PARENTS)
                    dependents = _load(workers, made, DEPENDENTS)
                    indexes = build_indexes(url, made.dimension) if with_indexes else 0.0
            finally:
                for worker in workers:
                    worker.close()
        problems = problems_of_copy(url, wanted) + (problems_of_indexes(url) if with_indexes else [])
    if problems:
        raise CopyFailed(f"the limit is not of the same rows: {'; '.join(problems)}")
    return Limit(parents, dependents, indexes, load.server, load.others(0.0))


def _prepare(main: Connection, made: Dump) -> None:
    create_tables(main, made.dimension)
    main.execute("DELETE FROM users")  # the bootstrap user comes with the dump
    for table in _SMALL:
        _copy_from(main, made, table, 0)


def _load(workers: list[Connection], made: Dump, tables: tuple[str, ...]) -> float:
    """Seconds until every backend has its halves in."""

    def work(part: int) -> None:
        for table in tables:
            _copy_from(workers[part], made, table, part)

    started = time.monotonic()
    at_once(work)
    return time.monotonic() - started


def _copy_from(connection: Connection, made: Dump, table: str, part: int) -> None:
    connection.execute(
        sql.SQL("COPY {} ({}) FROM {} (FORMAT BINARY)").format(
            sql.Identifier(table), _names(made, table), sql.Literal(str(made.file(table, part)))
        )
    )
