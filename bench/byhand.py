"""The destination as a person would make it by hand, with the program's own SQL: tables, and indexes after the load."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from psycopg import sql

from bench.server import Connection, connect
from vestige_migrate.destination.indexes import build as indexes
from vestige_migrate.destination.schema.schema import read_sql, statements
from vestige_migrate.tables import TABLES

CONNECTIONS = 2
"""As many as the copy has workers, on which the bars are stated."""


def create_tables(connection: Connection, dimension: int) -> None:
    """The tables without secondary indexes."""
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute(read_sql("schema.sql").encode())
    connection.execute(
        sql.SQL("ALTER TABLE knowledge_nodes ALTER COLUMN embedding TYPE vector({})").format(sql.Literal(dimension))
    )


def create_indexes(connection: Connection) -> None:
    """All indexes one after the other: for a design that has them from the start."""
    for name in ("indexes.sql", "hnsw.sql"):
        for statement in statements(read_sql(name)):
            connection.execute(statement)


def build_indexes(url: str, dimension: int) -> float:
    """Builds them over two connections at once, then HNSW with the settings that the program chooses, then ANALYZE.

    Returns the seconds that it took.
    """
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(url)) for _ in range(CONNECTIONS)]
        started = time.monotonic()
        waiting = iter(statements(read_sql("indexes.sql")))

        def work(part: int) -> None:
            for statement in waiting:  # shared: each takes the next one that nobody has
                connections[part].execute(statement)

        at_once(work)
        main = connections[0]
        memory = indexes.hnsw_memory(main, dimension)
        main.execute(sql.SQL("SET maintenance_work_mem = {}").format(sql.Literal(f"{memory.given_mib}MB")))
        main.execute(sql.SQL("SET max_parallel_maintenance_workers = {}").format(sql.Literal(CONNECTIONS)))
        main.execute(statements(read_sql("hnsw.sql"))[0])
        for table in TABLES:
            main.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
        return time.monotonic() - started


def halves(connection: Connection, table: sql.Identifier) -> tuple[sql.Composed, sql.Composed]:
    """Two conditions on `ctid` that divide a table's rows by the middle of its pages; they start with the operator."""
    row = connection.execute(
        "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::bigint / 2",
        (table.as_string(connection),),
    ).fetchone()
    assert row is not None
    middle = sql.Literal(f"({row[0]},0)")
    return sql.SQL("< {}::tid").format(middle), sql.SQL(">= {}::tid").format(middle)


def at_once(work: Callable[[int], None]) -> None:
    """`work(0)` to `work(CONNECTIONS - 1)`, each in a thread; returns when all are done, raises the first failure."""
    with ThreadPoolExecutor(max_workers=CONNECTIONS) as threads:
        for done in [threads.submit(work, part) for part in range(CONNECTIONS)]:
            done.result()
