"""psycopg's `executemany` (pipelined since 3.1): one writer, 500 rows at a time, the indexes after the load."""

from __future__ import annotations

import time
from contextlib import closing
from itertools import islice
from pathlib import Path

from pgvector.psycopg import register_vector

from bench.baselines.common import BATCH_ROWS, finish, from_command_line, open_source, tables
from bench.byhand import create_tables
from bench.server import connect


def run(url: str, source: Path, dimension: int, indexes: bool = True) -> float:
    """Copies everything into the empty database `url`; returns the seconds that it took.

    The indexes are built with the settings that the program chooses; without them the tables are only analyzed.
    """
    started = time.monotonic()
    with closing(open_source(source)) as opened, connect(url) as connection:
        create_tables(connection, dimension)
        register_vector(connection)
        connection.autocommit = False
        with connection.cursor() as cursor:
            for insert, rows in tables(opened):
                while batch := list(islice(rows, BATCH_ROWS)):
                    cursor.executemany(insert, batch)
                    connection.commit()
    finish(url, dimension, indexes)
    return time.monotonic() - started


if __name__ == "__main__":
    from_command_line(run)
