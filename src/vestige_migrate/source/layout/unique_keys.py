"""Whether two rows of a table may have one key, said without reading more than an index."""

from __future__ import annotations

import sqlite3

from vestige_migrate.source.layout.sqlite_schema import indexes_of
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.sqlite.quoting import column, quote_identifier

_UUID_CHARS = 36


def has_unique_key(connection: sqlite3.Connection, source: TableSource) -> bool:
    """Whether the file itself keeps two rows from having one key, byte by byte: by its primary key or an index."""
    key = set(source.key)
    return any(
        index.is_unique
        and not index.is_partial
        # None is an expression, which is no part of a key.
        and {None if name is None else column(name) for name in index.columns} <= key
        for index in indexes_of(connection, source.base)
    )


def has_unusual_key(connection: sqlite3.Connection, source: TableSource, key_types: tuple[str, ...]) -> bool:
    """Whether a key is written otherwise than Vestige writes it, so that another spelling of it may be there too.

    A UUID is usual in lower case with its four hyphens (20 ms for 100,000 of them), a text where PostgreSQL takes it.
    """
    return any(
        _has_unusual_uuid(connection, source, part) if kind == "uuid" else _has_unusual_text(connection, source, part)
        for part, kind in zip(source.key, key_types, strict=True)
    )


def _has_unusual_uuid(connection: sqlite3.Connection, source: TableSource, part: str) -> bool:
    # `>= '{'` is true of braces, and of every BLOB.
    odd = f"length({part}) <> {_UUID_CHARS} OR {part} <> lower({part}) OR {part} >= '{{'"
    row = connection.execute(f"SELECT EXISTS (SELECT 1 FROM {quote_identifier(source.base)} AS n WHERE {odd})")
    return bool(row.fetchone()[0])


def _has_unusual_text(connection: sqlite3.Connection, source: TableSource, part: str) -> bool:
    rows = connection.execute(f"SELECT typeof({part}), CAST({part} AS BLOB) FROM {quote_identifier(source.base)} AS n")
    return any(kind != "null" and (kind != "text" or b"\0" in raw or not _is_utf8(raw)) for kind, raw in rows)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
