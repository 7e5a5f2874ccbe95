"""psycopg's `executemany` (pipelined since 3.1): one writer, 500 rows at a time, the indexes after the load."""

from __future__ import annotations

from contextlib import closing
from itertools import islice

from pgvector.psycopg import register_vector

from bench.baselines.common import BATCH_ROWS, arguments, dimension, open_source, tables
from bench.byhand import build_indexes, create_tables
from bench.server import connect


def main() -> None:
    """Copies everything; the indexes are built with the settings that the program chooses."""
    path, url = arguments()
    with closing(open_source(path)) as source:
        dimensions = dimension(source)
        with connect(url) as connection:
            create_tables(connection, dimensions)
            register_vector(connection)
            connection.autocommit = False
            with connection.cursor() as cursor:
                for insert, rows in tables(source):
                    while batch := list(islice(rows, BATCH_ROWS)):
                        cursor.executemany(insert, batch)
                        connection.commit()
    build_indexes(url, dimensions)


if __name__ == "__main__":
    main()
