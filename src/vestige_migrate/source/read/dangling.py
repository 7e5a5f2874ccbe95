"""Rows that refer to a memory which the source does not have, or cannot give away."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.rows import Row


def list_dangling(
    connection: sqlite3.Connection, source: TableSource, references: Sequence[str], refused: Iterable[str]
) -> Iterator[Row]:
    """The keys of rows for which one of `references`, expressions over them, is no memory's id as it is written, or is
    among the ids `refused`."""
    missing = [
        f"NOT EXISTS (SELECT 1 FROM knowledge_nodes AS m WHERE m.id = {value})"
        f" OR {value} IN (SELECT r.value FROM json_each(?1) AS r)"
        for value in references
    ]
    if missing:
        keys, table = ", ".join(source.key), source.by_rowid().base_clause
        ids = json.dumps(list(refused))
        yield from connection.execute(f"SELECT {keys} {table} WHERE {' OR '.join(missing)}", (ids,))
