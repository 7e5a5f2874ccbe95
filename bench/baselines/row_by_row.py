"""The obvious design: one writer, one connection, row by row, with every index there from the start."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from pgvector.psycopg import register_vector

from bench.baselines.common import BATCH_ROWS, analyze, from_command_line, open_source, tables
from bench.byhand import create_indexes, create_tables
from bench.server import connect


def run(url: str, source: Path, dimension: int) -> float:
    """Copies everything into the empty database `url`; returns the seconds that it took.

    psycopg prepares a statement that it has seen five times by itself. One cursor for all rows keeps what it has found
    out about their types: with a new one for each, rows without indexes took half as long again.
    """
    started = time.monotonic()
    with closing(open_source(source)) as opened, connect(url) as connection:
        create_tables(connection, dimension)
        create_indexes(connection)
        register_vector(connection)
        connection.autocommit = False
        written = 0
        with connection.cursor() as cursor:
            for insert, rows in tables(opened):
                for row in rows:
                    cursor.execute(insert, row)
                    written += 1
                    if written % BATCH_ROWS == 0:
                        connection.commit()
        connection.commit()
        connection.autocommit = True
        analyze(connection)
    return time.monotonic() - started


if __name__ == "__main__":
    from_command_line(run)
