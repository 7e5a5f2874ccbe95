"""What the baselines share: how they are started, the source's tables, and how a Python program reads their values."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from psycopg import sql

from bench.byhand import build_indexes
from bench.check import TABLES, CopyFailed
from bench.process import URL_VARIABLE
from bench.server import Connection, connect

BATCH_ROWS = 500
"""Rows a transaction: the program's default."""

Row = tuple[Any, ...]


def from_command_line(run: Callable[[str, Path, int], object]) -> None:
    """Calls `run` with the destination's URL, the source file that the command names, and the length of its vectors.

    Ends with 1 and one line where it raises `CopyFailed`.
    """
    path = Path(sys.argv[1]).absolute()
    with closing(open_source(path)) as source:
        found = dimension(source)
    try:
        run(os.environ[URL_VARIABLE], path, found)
    except CopyFailed as error:
        sys.exit(str(error))


def open_source(path: Path) -> sqlite3.Connection:
    """The source, read-only."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def dimension(source: sqlite3.Connection) -> int:
    """The length of the source's vectors."""
    (found,) = source.execute("SELECT dimension FROM embedding_model").fetchone()
    return int(found)


def tables(source: sqlite3.Connection) -> Iterator[tuple[bytes, Iterator[Row]]]:
    """For each table, parents first: the INSERT of one row, and the rows as psycopg takes them.

    The INSERT is finished text: psycopg would put a composed one together anew for every row.
    """
    for table in TABLES:
        cursor = source.execute(f"SELECT * FROM {table}")  # noqa: S608
        names = [column[0] for column in cursor.description]
        yield _insert(table, names), _decoded(cursor, names)


def _insert(table: str, names: list[str]) -> bytes:
    insert = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(sql.Placeholder() * len(names)),
    )
    return insert.as_bytes()


def _decoded(cursor: sqlite3.Cursor, names: list[str]) -> Iterator[Row]:
    decoders = [(at, _DECODERS[name]) for at, name in enumerate(names) if name in _DECODERS]
    for row in cursor:
        values = list(row)
        for at, decode in decoders:
            if values[at] is not None:
                values[at] = decode(values[at])
        yield tuple(values)


def _uuids(text: str) -> list[UUID]:
    return [UUID(item) for item in json.loads(text)]


def _vector(blob: bytes) -> Any:
    """An array, which pgvector's adapter sends in binary (`register_vector`)."""
    return np.frombuffer(blob, "<f4")


# Ids and JSON are text on both sides: the server parses what is sent, and nobody would do it twice.
_DECODERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("tags", "domains", "top_terms"), json.loads),
    **dict.fromkeys(("embedding", "centroid"), _vector),
    **dict.fromkeys(
        ("created_at", "updated_at", "joined_at", "occurred_at", "last_review", "next_review"), datetime.fromisoformat
    ),
    "shared_with_groups": _uuids,
}


def analyze(connection: Connection) -> None:
    """Statistics of all tables, which every way of loading ends with."""
    for table in TABLES:
        connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))


def finish(url: str, dimension: int, indexes: bool) -> None:
    """What comes after the load: the indexes where they are wanted, and statistics in any case."""
    if indexes:
        build_indexes(url, dimension)
        return
    with connect(url) as connection:
        analyze(connection)
