"""Secondary indexes: after the load, in parallel, and the HNSW graph last with memory for all of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import LiteralString

from psycopg import errors, sql

from vestige_migrate.destination.builds import Build
from vestige_migrate.destination.connect import Connection
from vestige_migrate.destination.schema import read_sql, statements
from vestige_migrate.errors import DestinationUnusable
from vestige_migrate.tables import TABLES

HNSW_INDEX = "idx_knowledge_nodes_embedding_hnsw"
MAX_HNSW_DIMENSION = 2000
"""pgvector's limit of an HNSW index on `vector` (https://github.com/pgvector/pgvector#hnsw)."""

_NAME = re.compile(r"CREATE INDEX IF NOT EXISTS (\w+)")
_MIB = 1024 * 1024
_GRAPH_ROW_BYTES = 720
_GRAPH_FLOAT_BYTES = 4
_GRAPH_MARGIN = 1.1
_FREE_SHARE = 0.5
"""How much of the machine's free memory the graph may take."""


@dataclass(frozen=True)
class HnswMemory:
    """Memory for the HNSW build, in MiB: what the graph of so many vectors needs and what it gets; `local` is
    whether the server runs on this machine."""

    vectors: int
    wanted_mib: int
    given_mib: int
    local: bool

    @property
    def fits(self) -> bool:
        """Whether the graph stays in memory; past it pgvector goes on, several times slower."""
        return self.given_mib >= self.wanted_mib

    @property
    def advice(self) -> str:
        """What to do where it does not fit."""
        if self.local:
            return f"free {self.wanted_mib - self.given_mib} MiB more on this machine"
        return f"let the role have maintenance_work_mem = '{self.wanted_mib}MB' if the server's machine has that much"


def graph_bytes(rows: int, dimension: int) -> int:
    """What pgvector's in-memory graph takes at m = 16 (measured: 4 x dim + 720 bytes a row), with a tenth to spare."""
    return int(rows * (_GRAPH_FLOAT_BYTES * dimension + _GRAPH_ROW_BYTES) * _GRAPH_MARGIN)


def invalid(connection: Connection) -> list[str]:
    """Names of our indexes that a broken build left INVALID."""
    rows = connection.execute(
        "SELECT c.relname FROM pg_class AS c JOIN pg_index AS i ON i.indexrelid = c.oid"
        " WHERE c.oid = ANY(SELECT to_regclass(quote_ident(name)) FROM unnest(%s::text[]) AS n(name))"
        " AND NOT i.indisvalid",
        (_names(),),
    )
    return [name for (name,) in rows]


def drop_invalid(connection: Connection) -> list[str]:
    """Drops them, so that they are built again; returns their names."""
    found = invalid(connection)
    for name in found:
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    return found


def missing(connection: Connection) -> list[tuple[str, LiteralString]]:
    """(name, statement) of the plain indexes that do not exist."""
    there = _existing(connection)
    return [(name, statement) for name, statement in _plain() if name not in there]


def check_names(connection: Connection) -> None:
    """Raises `DestinationUnusable` where something else has the name of an index of ours.

    `IF NOT EXISTS` goes by the name alone: the index would never be built, and nobody told.
    """
    rows = connection.execute(
        "SELECT name FROM unnest(%s::text[]) AS n(name) WHERE to_regclass(quote_ident(name)) IS NOT NULL ORDER BY name",
        (_names(),),
    ).fetchall()
    taken = [name for (name,) in rows if name not in _existing(connection)]
    if taken:
        raise DestinationUnusable(
            f"the destination has something else under the name of an index of ours: {', '.join(taken)}. "
            "Rename or drop it, or copy into another database or schema"
        )


def _existing(connection: Connection) -> set[str]:
    """Names of our indexes that are there, on tables of ours."""
    rows = connection.execute(
        "SELECT name FROM unnest(%s::text[]) AS n(name) JOIN pg_index ON indexrelid = to_regclass(quote_ident(name))"
        " WHERE indrelid = ANY(SELECT to_regclass(quote_ident(t.name)) FROM unnest(%s::text[]) AS t(name))",
        (_names(), list(TABLES)),
    )
    return {name for (name,) in rows}


def _names() -> list[str]:
    return [name for name, _ in _plain()] + [HNSW_INDEX]


def _plain() -> list[tuple[str, LiteralString]]:
    found = []
    for statement in statements(read_sql("indexes.sql")):
        match = _NAME.match(statement)
        assert match is not None
        found.append((match.group(1), statement))
    return found


def plain_builds(wanted: list[tuple[str, LiteralString]]) -> list[Build]:
    """A build for each of `missing`'s statements."""

    def build(connection: Connection, statement: LiteralString) -> None:
        connection.execute(statement)

    return [partial(build, statement=statement) for _, statement in wanted]


def needs_hnsw(connection: Connection, dimension: int | None) -> bool:
    """Whether the HNSW index is wanted (there is a dimension, and pgvector can index it) and not there."""
    return dimension is not None and dimension <= MAX_HNSW_DIMENSION and HNSW_INDEX not in _existing(connection)


def choose_memory(connection: Connection, dimension: int) -> HnswMemory:
    """Memory for the whole graph, bounded by what the server's machine can spare."""
    row = connection.execute(
        "SELECT count(embedding), pg_size_bytes(current_setting('maintenance_work_mem')),"
        " pg_size_bytes(current_setting('effective_cache_size')) FROM knowledge_nodes"
    ).fetchone()
    assert row is not None
    rows, current, cache = row
    wanted = graph_bytes(rows, dimension)
    free = _free_bytes() if _is_local(connection) else None
    # A server elsewhere: its own estimate of the memory around it is all there is to go by.
    spare = int(free * _FREE_SHARE) if free is not None else cache // 4
    given = max(current // _MIB, min(_mib(wanted), spare // _MIB))
    return HnswMemory(rows, _mib(wanted), given, free is not None)


def _mib(size: int) -> int:
    return -(-size // _MIB)


def _is_local(connection: Connection) -> bool:
    return connection.info.host.startswith("/") or connection.info.host in (
        "",
        "localhost",
        "127.0.0.1",
        "::1",
    )


def _free_bytes() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    match = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


def hnsw_build(memory: HnswMemory, workers: int, warn: Callable[[str], None]) -> Build:
    """The build of the HNSW index with this memory and up to `workers` parallel maintenance workers."""
    statement = statements(read_sql("hnsw.sql"))[0]

    def build(connection: Connection) -> None:
        try:
            _build(connection, statement, memory.given_mib, workers)
        except (errors.DiskFull, errors.OutOfMemory):
            # A parallel build keeps its graph in shared memory, which a container limits to 64 MB (/dev/shm).
            warn("the parallel HNSW build found too little shared memory: building it with one process instead")
            _build(connection, statement, memory.given_mib, 0)

    return build


def _build(connection: Connection, statement: LiteralString, memory_mib: int, workers: int) -> None:
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL maintenance_work_mem = {}").format(sql.Literal(f"{memory_mib}MB")))
        connection.execute(sql.SQL("SET LOCAL max_parallel_maintenance_workers = {}").format(sql.Literal(workers)))
        connection.execute(statement)


def analyze(connection: Connection, changed: set[str]) -> list[str]:
    """ANALYZE of the tables that changed or never had one; returns the ones whose owner has not given us the right.

    Then a record in the log that is flushed: it comes after every batch's, so this makes them all durable. (ANALYZE
    writes one as well, but skips a table of another owner.)
    """
    connection.execute("SET synchronous_commit = on")
    maintains = "has_table_privilege(c.oid, 'MAINTAIN')" if connection.info.server_version >= 170_000 else "false"
    rows = connection.execute(
        sql.SQL(
            "SELECT name, pg_has_role(c.relowner, 'USAGE') OR {} OR EXISTS ("
            "   SELECT FROM pg_database WHERE datname = current_database() AND pg_has_role(datdba, 'USAGE'))"
            " FROM unnest(%s::text[]) AS n(name) JOIN pg_class AS c ON c.oid = to_regclass(quote_ident(name))"
            " WHERE reltuples < 0 OR name = ANY(%s) ORDER BY name"
        ).format(sql.SQL(maintains)),
        (list(TABLES), list(changed)),
    ).fetchall()
    for table, allowed in rows:
        if allowed:
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
    connection.execute("SELECT pg_logical_emit_message(true, 'vestige-migrate', 'loaded')")
    return [table for table, allowed in rows if not allowed]
