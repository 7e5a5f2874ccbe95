"""Is the copy right? Counts and an order-independent checksum of every table, after every benchmarked copy.

A row's checksum is taken over every column that the source has, in a text form that both sides can write: bytes of
vectors and doubles as hexadecimal, times as microseconds, JSON in jsonb's own spelling. The source's side is written
here with Python's own parsers and shares no code with the program under test. A fast copy that loses or changes a
row is a failed one.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg import sql

from bench import released_rows
from bench.server import Connection, connect
from vestige_migrate.destination.indexes import build as indexes
from vestige_migrate.destination.schema.schema import read_sql, statements

TABLES = (
    "users", "groups", "group_memberships", "domains", "knowledge_nodes", "scheduling", "edges", "review_events",
)  # fmt: skip
Digest = tuple[int, int]
"""Number of rows and the sum of their checksums."""

_NOT_COPIED = {"domains": ("metadata",)}
"""Columns that no source has."""
_BOOTSTRAP = "00000000-0000-0000-0000-000000000001"
_FIELD, _ITEM, _NULL = "\x1e", "\x1f", "\x15"
_HEX_DIGITS = 14
"""56 bits of the row's MD5: its sum over any number of rows stays exact on both sides."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CopyFailed(Exception):
    """Something benchmarked did not end well, or did not bring everything."""


def expected(source: Path) -> dict[str, Digest]:
    """What the destination must hold; read from the file once and kept beside it."""
    kept = source.with_suffix(".digests.json")
    if kept.exists() and kept.stat().st_mtime >= source.stat().st_mtime:
        return {table: (rows, total) for table, (rows, total) in json.loads(kept.read_text()).items()}
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        if released_rows.is_released(connection):
            found = {table: _released_digest(connection, table) for table in released_rows.TABLES}
        else:
            found = {table: _source_digest(connection, table) for table in TABLES}
    kept.write_text(json.dumps(found))
    return found


def _source_digest(connection: sqlite3.Connection, table: str) -> Digest:
    cursor = connection.execute(f"SELECT * FROM {table}")  # noqa: S608
    names = [column[0] for column in cursor.description]
    order = sorted(range(len(names)), key=names.__getitem__)
    writers = [(at, _WRITERS.get(names[at], str)) for at in order]
    count = total = 0
    for row in cursor:
        count += 1
        if table == "users" and row[0] == _BOOTSTRAP:
            continue  # the destination has its own
        text = _FIELD.join(_NULL if row[at] is None else write(row[at]) for at, write in writers)
        total += int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:_HEX_DIGITS], 16)
    return count, total


def _released_digest(connection: sqlite3.Connection, table: str) -> Digest:
    count = total = 0
    writers: dict[str, Callable[[Any], str]] = {**_WRITERS, "metadata": str}
    for row in released_rows.rows_of(connection, table):
        count += 1
        texts = (_NULL if row[name] is None else writers.get(name, str)(row[name]) for name in sorted(row))
        total += int(hashlib.md5(_FIELD.join(texts).encode(), usedforsecurity=False).hexdigest()[:_HEX_DIGITS], 16)
    return count, total


def _micros(text: str) -> str:
    if text.isdecimal():
        return str(int(text) * 1_000_000)
    return str((datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1))


def _jsonb(text: str) -> str:
    """JSON as jsonb prints it: keys by length, then bytes."""
    value = json.loads(text)
    ordered = dict(sorted(value.items(), key=lambda item: (len(item[0].encode()), item[0].encode())))
    return json.dumps(ordered, ensure_ascii=False)


def _items(text: str) -> str:
    return _ITEM.join(json.loads(text))


def _vector(blob: bytes) -> str:
    floats = struct.unpack(f"<{len(blob) // 4}f", blob)
    return struct.pack(f">hh{len(floats)}f", len(floats), 0, *floats).hex()


def _double(value: float) -> str:
    return struct.pack(">d", value).hex()


_WRITERS: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("tags", "domains", "top_terms", "shared_with_groups"), _items),
    **dict.fromkeys(("metadata", "domain_scores"), _jsonb),
    **dict.fromkeys(("embedding", "centroid"), _vector),
    **dict.fromkeys(("created_at", "updated_at", "joined_at", "occurred_at", "last_review", "next_review"), _micros),
    **dict.fromkeys(
        ("stability", "difficulty", "retrievability", "weight", "retrievability_before", "retrievability_after"),
        _double,
    ),
}

_EXPRESSIONS = {
    "uuid": "{}::text",
    "text": "{}",
    "_text": "array_to_string({}, chr(31))",
    "_uuid": "array_to_string({}::text[], chr(31))",
    "jsonb": "{}::text",
    "vector": "encode(vector_send({}), 'hex')",
    "timestamptz": "(extract(epoch FROM {}) * 1000000)::bigint::text",
    "float8": "encode(float8send({}), 'hex')",
    "int2": "{}::text",
    "int4": "{}::text",
}


def _destination_digest(connection: Connection, table: str) -> Digest:
    columns = connection.execute(
        "SELECT a.attname, t.typname FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid"
        " WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''"
        ' AND a.attname <> ALL (%s) ORDER BY a.attname COLLATE "C"',
        (table, list(_NOT_COPIED.get(table, ()))),
    ).fetchall()
    parts = [
        sql.SQL("coalesce({}, chr(21))").format(sql.SQL(_EXPRESSIONS[kind]).format(sql.Identifier(name)))
        for name, kind in columns
    ]
    kept = sql.SQL("id <> {}").format(sql.Literal(_BOOTSTRAP)) if table == "users" else sql.SQL("true")
    row = connection.execute(
        sql.SQL(
            "SELECT count(*), coalesce(sum(('x' || left(md5(concat_ws(chr(30), {})), 14))::bit(56)::bigint)"
            " FILTER (WHERE {}), 0) FROM {}"
        ).format(sql.SQL(", ").join(parts), kept, sql.Identifier(table))
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def problems_of_copy(url: str, wanted: dict[str, Digest]) -> list[str]:
    """What is wrong with the rows of the destination; nothing, one hopes."""
    problems = []
    with connect(url) as connection:
        for table, (rows, total) in wanted.items():
            found_rows, found_total = _destination_digest(connection, table)
            if found_rows != rows:
                problems.append(f"{table} has {found_rows} rows instead of {rows}")
            elif found_total != total:
                problems.append(f"{table} has other content than the source")
    return problems


def problems_of_indexes(url: str) -> list[str]:
    """Indexes that the copy should have left behind, and are missing or not valid."""
    plain = [statement.split()[5] for statement in statements(read_sql("indexes.sql"))]
    with connect(url) as connection:
        valid = {
            name
            for (name,) in connection.execute(
                "SELECT c.relname FROM pg_class AS c JOIN pg_index AS i ON i.indexrelid = c.oid WHERE i.indisvalid"
            )
        }
    return [f"index {name} is missing" for name in [*plain, indexes.HNSW_INDEX] if name not in valid]
