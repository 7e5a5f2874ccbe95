"""What a file's schema says of its tables, whatever they are: ordinary ones, WITHOUT ROWID, virtual ones, views."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from vestige_migrate.decode.text import tolerant_text
from vestige_migrate.source.sqlite import driver
from vestige_migrate.source.sqlite.quoting import quote_identifier

ROWID_NAMES = ("rowid", "_rowid_", "oid")
"""Each means the rowid unless a column has that name (https://sqlite.org/rowidtable.html)."""

_HIDDEN, _VIRTUAL = 1, 2
"""`hidden` in PRAGMA table_xinfo: a column of a virtual table that `*` leaves out; a generated one that is computed
when it is read. 3 is a generated one that is stored (https://sqlite.org/pragma.html#pragma_table_xinfo)."""


class TableKind(Enum):
    """What has a table's name."""

    TABLE = "table"
    VIRTUAL = "virtual table"
    VIEW = "view"


@dataclass(frozen=True)
class Entry:
    """One of them, by its name in the file."""

    name: str
    kind: TableKind


@dataclass(frozen=True)
class ColumnInfo:
    """A column. `key` is its place in the primary key, from 1; 0 where it is not in it."""

    name: str
    declared: str
    key: int
    is_computed: bool


@dataclass(frozen=True)
class IndexInfo:
    """An index. `columns` has None for an expression; `sql` is empty unless it leaves rows out on purpose."""

    name: str
    columns: tuple[str | None, ...]
    collations: tuple[str, ...]
    is_unique: bool
    origin: str
    sql: str = ""

    @property
    def is_partial(self) -> bool:
        """Whether it leaves rows out on purpose."""
        return bool(self.sql)


def entries(connection: sqlite3.Connection) -> list[Entry]:
    """Everything that rows can be selected from, SQLite's own tables apart."""
    before = connection.text_factory
    connection.text_factory = tolerant_text
    try:
        rows = connection.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE type IN ('table', 'view')"
        ).fetchall()
    finally:
        connection.text_factory = before
    return [Entry(name, _kind(type_, sql)) for type_, name, sql in rows if not name.startswith("sqlite_")]


def _kind(type_: str, sql: object) -> TableKind:
    if type_ == "view":
        return TableKind.VIEW
    is_virtual = isinstance(sql, str) and sql.lstrip()[:14].upper() == "CREATE VIRTUAL"
    return TableKind.VIRTUAL if is_virtual else TableKind.TABLE


def columns_of(connection: sqlite3.Connection, table: str) -> list[ColumnInfo]:
    """Its columns in their order, generated ones among them, which `PRAGMA table_info` leaves out."""
    found = connection.execute(f"PRAGMA table_xinfo({quote_identifier(table)})").fetchall()
    return [
        ColumnInfo(name, declared, key, hidden == _VIRTUAL)
        for _, name, declared, _, _, key, hidden in found
        if hidden != _HIDDEN
    ]


def indexes_of(connection: sqlite3.Connection, table: str) -> Iterator[IndexInfo]:
    """Its indexes, those of its constraints among them."""
    for _, name, unique, origin, partial in connection.execute(
        f"PRAGMA index_list({quote_identifier(table)})"
    ).fetchall():
        rows = connection.execute(f"PRAGMA index_xinfo({quote_identifier(name)})").fetchall()
        keys = [(column, collation) for _, _, column, _, collation, is_key in rows if is_key]
        columns, collations = tuple(column for column, _ in keys), tuple(collation for _, collation in keys)
        yield IndexInfo(name, columns, collations, bool(unique), origin, _sql(connection, name) if partial else "")


def _sql(connection: sqlite3.Connection, index: str) -> str:
    row = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND name = ?", (index,)).fetchone()
    return str(row[0]) if row else ""


def rowid_name(connection: sqlite3.Connection, table: str, columns: Sequence[ColumnInfo]) -> str | None:
    """The first name that means the rowid there; None for a table that has none, or none by any name."""
    taken = {item.name.lower() for item in columns}
    for name in ROWID_NAMES:
        if name in taken:
            continue
        try:
            connection.execute(f'SELECT n."{name}" FROM {quote_identifier(table)} AS n NOT INDEXED LIMIT 0').close()
        except driver.operational_errors():
            return None
        return name
    return None


def rowid_column(connection: sqlite3.Connection, table: str, columns: Sequence[ColumnInfo]) -> str | None:
    """The column that is the rowid by another name: an INTEGER PRIMARY KEY.

    One that is declared so and has an index of its own is none (`INTEGER PRIMARY KEY DESC`, and WITHOUT ROWID).
    """
    keys = [item for item in columns if item.key]
    if len(keys) != 1 or keys[0].declared.upper() != "INTEGER":
        return None
    return None if any(index.origin == "pk" for index in indexes_of(connection, table)) else keys[0].name


def affinity(declared: str, strict: bool = False) -> str:
    """A type of the same affinity (https://sqlite.org/datatype3.html, 3.1); what the file calls it may be anything."""
    upper = declared.upper()
    if strict and upper == "ANY":  # keeps every value as it is, which NUMERIC does not
        return "BLOB"
    for found, marks in (("INTEGER", ("INT",)), ("TEXT", ("CHAR", "CLOB", "TEXT")), ("BLOB", ("BLOB",))):
        if any(mark in upper for mark in marks):
            return found
    if not upper:
        return "BLOB"
    return "REAL" if any(mark in upper for mark in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


def collation_of(connection: sqlite3.Connection, table: str, column: str) -> str:
    """NOCASE or RTRIM where the column's values are compared so, else BINARY.

    No PRAGMA says it of a column without an index; how a statement would sort by it does.
    """
    statement = (
        f"EXPLAIN SELECT 1 FROM {quote_identifier(table)} AS n NOT INDEXED ORDER BY n.{quote_identifier(column)}"
    )
    sorters = [str(row[5]) for row in connection.execute(statement) if row[1] in ("SorterOpen", "OpenEphemeral")]
    return next((name for name in ("NOCASE", "RTRIM") if any(name in sorter for sorter in sorters)), "BINARY")


def is_strict(connection: sqlite3.Connection, table: str) -> bool:
    """Whether the table is STRICT (SQLite 3.37 and newer; an older one cannot open a file that has such a table)."""
    found = connection.execute(f"PRAGMA table_list({quote_identifier(table)})").fetchone()
    return bool(found and found[5])
