"""The obvious design: one writer, one connection, row by row, with every index there from the start."""

from __future__ import annotations

from contextlib import closing

from pgvector.psycopg import register_vector

from bench.baselines.common import BATCH_ROWS, analyze, arguments, dimension, open_source, tables
from bench.byhand import create_indexes, create_tables
from bench.server import connect


def main() -> None:
    """Copies everything. psycopg prepares a statement that it has seen five times by itself."""
    path, url = arguments()
    with closing(open_source(path)) as source, connect(url) as connection:
        create_tables(connection, dimension(source))
        create_indexes(connection)
        register_vector(connection)
        connection.autocommit = False
        written = 0
        for insert, rows in tables(source):
            for row in rows:
                connection.execute(insert, row)
                written += 1
                if written % BATCH_ROWS == 0:
                    connection.commit()
        connection.commit()
        connection.autocommit = True
        analyze(connection)


if __name__ == "__main__":
    main()
