"""What is unusual about a file that SQLite opens, so that reading it in place would read it wrongly.

SQLite believes an index whatever it holds, takes a view for a table, and names no rowid where there is none. A file of
which any of this is true is read from a private copy in which every table is an ordinary one (`source.file.rebuild`).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from vestige_migrate.source.layout import sqlite_schema as schema
from vestige_migrate.source.layout.known_names import (
    NEEDED_COLUMNS,
    NEEDED_TABLE,
    READ_TABLES,
    known_column,
    known_table,
)
from vestige_migrate.source.layout.sqlite_schema import Entry, IndexInfo, TableKind
from vestige_migrate.source.layout.vectors import VECTOR_TABLES
from vestige_migrate.source.sqlite import driver
from vestige_migrate.source.sqlite.connect import SourceFile, open_source
from vestige_migrate.source.sqlite.quoting import quote_identifier

_BINARY = "BINARY"
_BUILT_IN = frozenset({_BINARY, "NOCASE", "RTRIM"})
_MISSING_COLLATION = re.compile(r"no such collation sequence: (.+)", re.DOTALL)
_MISSING_FUNCTION = re.compile(r"(?:unknown|no such) function: (.+?)(?:\(\))?", re.DOTALL)
_THREADS = 4
_MOST_MESSAGES = 100
"""So many PRAGMA integrity_check gives, and then it stops."""

_BY_ROWID = frozenset({"edges", "memory_connections", "review_events"})
"""Large tables whose rows are found by their rowid alone: by no index (`TableSource.base_clause`)."""


@dataclass(frozen=True)
class Oddities:
    """`clauses` say what the file has or is. `indexes` are (index, table) of those that disagree with their table,
    `collations` those that the schema names and this SQLite lacks, `left_out` are computed columns (table, column) for
    which it lacks a function."""

    clauses: tuple[str, ...] = ()
    indexes: tuple[tuple[str, str], ...] = ()
    collations: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.clauses or self.indexes or self.collations or self.left_out)


def describe(oddities: Oddities) -> str:
    """All of it in one line."""
    parts = [f"index {index} of {table} disagrees with its table" for index, table in oddities.indexes]
    parts += [f"it names the collation {name}, which is not there" for name in oddities.collations]
    parts += [f"{table}.{column} needs a function that is not there" for table, column in oddities.left_out]
    return "; ".join((*parts, *oddities.clauses))


def find_oddities(file: SourceFile, by_key: bool = False) -> Oddities:
    """Everything unusual about a file that is whole. Nothing is looked for in one that is no Vestige file.

    `by_key`: single memories and their schedules will be looked up by their ids. Raises `driver.errors()`.
    """
    with closing(open_source(file)) as connection:
        entries = schema.entries(connection)
        if not _is_vestige(connection, entries):
            return Oddities()
        read = [entry for entry in entries if known_table(entry.name) in READ_TABLES]
        (encoding,) = connection.execute("PRAGMA encoding").fetchone()
        clauses = [] if encoding == "UTF-8" else [f"its texts are in {encoding}"]
        clauses += [clause for entry in entries for clause in _of_entry(connection, entry)]
        collations = _missing_collations(connection, entries)
        left_out = tuple(
            (entry.name, name)
            for entry in entries
            if entry.kind is TableKind.TABLE
            for name in uncomputable_columns(connection, entry.name)
        )
        by_key = by_key or any(known_table(entry.name) in VECTOR_TABLES for entry in read)  # which are joined by it
        checks = [
            (entry.name, index)
            for entry in read
            if entry.kind is TableKind.TABLE
            for index in schema.indexes_of(connection, entry.name)
            if _is_used(known_table(entry.name), index, by_key) and not set(index.collations).intersection(collations)
        ]
    wrong, foreign = _check_indexes(file, checks)
    clauses += [f"index {index} of {table} needs a function that this SQLite does not have" for index, table in foreign]
    return Oddities(tuple(clauses), tuple(wrong), tuple(collations), left_out)


def _is_vestige(connection: sqlite3.Connection, entries: Sequence[Entry]) -> bool:
    for entry in entries:
        if entry.name.lower() == NEEDED_TABLE and entry.kind is TableKind.TABLE:
            columns = {item.name.lower() for item in schema.columns_of(connection, entry.name)}
            return columns >= NEEDED_COLUMNS
    return False


def _of_entry(connection: sqlite3.Connection, entry: Entry) -> Iterator[str]:
    """What is unusual about one table or view."""
    known = known_table(entry.name)
    if (known != entry.name and entry.kind is TableKind.TABLE) or (known in READ_TABLES and known != entry.name):
        yield f"{known} is written {entry.name}"
    if known not in READ_TABLES:
        return
    if entry.kind is not TableKind.TABLE:
        yield f"{entry.name} is a {entry.kind.value}"
        return
    columns = schema.columns_of(connection, entry.name)
    yield from (
        f"{entry.name}.{known_column(item.name)} is written {item.name}"
        for item in columns
        if known_column(item.name) != item.name
    )
    found = schema.rowid_name(connection, entry.name, columns)
    named = [item.name for item in columns if item.name.lower() == "rowid"]
    if named and schema.rowid_column(connection, entry.name, columns) not in named:
        yield f"{entry.name} has a column called {named[0]}, which hides the rowid"
    elif found is None and not named:
        yield f"{entry.name} has no rowid"


def _missing_collations(connection: sqlite3.Connection, entries: Sequence[Entry]) -> list[str]:
    """Collations that the columns and indexes of ordinary tables name and this SQLite lacks."""
    found: dict[str, None] = {}
    for entry in entries:
        if entry.kind is not TableKind.TABLE:
            continue
        for index in schema.indexes_of(connection, entry.name):
            found.update(dict.fromkeys(name for name in index.collations if name.upper() not in _BUILT_IN))
        for item in schema.columns_of(connection, entry.name):
            column = quote_identifier(item.name)
            statement = f"SELECT 1 FROM {quote_identifier(entry.name)} AS n NOT INDEXED ORDER BY n.{column} LIMIT 0"
            try:
                connection.execute(statement).close()
            except driver.operational_errors() as error:
                if missing := missing_collation(error):
                    found[missing] = None
    return list(found)


def missing_collation(error: sqlite3.Error) -> str | None:
    """The collation for whose lack a statement failed; None where it failed for anything else."""
    found = _MISSING_COLLATION.fullmatch(str(error))
    return found[1] if found else None


def missing_function(error: sqlite3.Error) -> str | None:
    """The function for whose lack a statement failed; None where it failed for anything else."""
    found = _MISSING_FUNCTION.fullmatch(str(error))
    return found[1] if found else None


def check(connection: sqlite3.Connection, pragma: str) -> tuple[str] | None:
    """The first line of a check of the file's pages, with stand-ins for what it names and this SQLite lacks.

    They say nothing about a row that can be believed, so the connection is for nothing else.
    """
    while True:
        try:
            row: tuple[str] | None = connection.execute(pragma).fetchone()
        except driver.operational_errors() as error:
            if collation := missing_collation(error):
                connection.create_collation(collation, lambda one, other: (one > other) - (one < other))
            elif function := missing_function(error):
                connection.create_function(function, -1, lambda *_: None, deterministic=True)
            else:
                raise
        else:
            return row


def uncomputable_columns(connection: sqlite3.Connection, table: str) -> dict[str, str]:
    """Columns of an ordinary table that are computed when they are read, by a function that this SQLite lacks."""
    found = {}
    for item in schema.columns_of(connection, table):
        if item.is_computed:
            try:
                connection.execute(
                    f"SELECT n.{quote_identifier(item.name)} FROM {quote_identifier(table)} AS n NOT INDEXED LIMIT 0"
                ).close()
            except driver.operational_errors() as error:
                if missing := missing_function(error):
                    found[item.name] = missing
    return found


def _is_used(table: str, index: IndexInfo, by_key: bool) -> bool:
    """Whether a statement of ours may find rows by this index, or read their keys from it."""
    if table in _BY_ROWID or (table == "scheduling" and not by_key):
        return False
    if table != NEEDED_TABLE:
        return True
    used = ("id", "created_at") if by_key else ("created_at",)
    names = [str(name).lower() for name in index.columns]
    # Keys are read from an index that has them, whichever of its columns comes first.
    # As words: `id` is in the name of every `idx_...`, and each such check takes a second of 100,000 memories.
    in_condition = index.is_partial and any(re.search(rf"\b{name}\b", index.sql, re.IGNORECASE) for name in used)
    return in_condition or bool(set(names).intersection(used))


def _check_indexes(
    file: SourceFile, checks: Sequence[tuple[str, IndexInfo]]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Of these indexes, those that lack rows of their table, or have others, and those that cannot be asked.

    Each is asked for every row of its table: on 100,000 memories that takes 0.1 s of CPU where their times lie in the
    order of their rowids, 0.16 s for their ids, and several are asked at a time. `PRAGMA integrity_check` says the same
    of every index of the file, and takes 0.7 s there, and seconds for a file with Vestige's fifteen; `PRAGMA
    quick_check` does not look at what is in an index.
    """

    def agrees(what: tuple[str, IndexInfo]) -> bool | None:
        with closing(open_source(file)) as connection:
            return _agrees(connection, *what)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="index") as threads:
        found = [
            (index.name, table, verdict)
            for (table, index), verdict in zip(checks, threads.map(agrees, checks), strict=True)
        ]
    wrong = [(index, table) for index, table, verdict in found if verdict is False]
    return wrong, [(index, table) for index, table, verdict in found if verdict is None]


def _agrees(connection: sqlite3.Connection, table: str, index: IndexInfo) -> bool | None:
    """Whether an index has exactly the rows of its table, each under its key; None where it needs what is missing."""
    quoted, by = quote_identifier(table), f"INDEXED BY {quote_identifier(index.name)}"
    rowid = schema.rowid_name(connection, table, schema.columns_of(connection, table))
    if rowid is None:
        return True  # a table without one is its own index, and it is read in its own order
    if index.is_partial or None in index.columns:
        return _integrity(connection, table, index)
    terms = [f'm."{rowid}" = n."{rowid}"']
    for name, collation in zip(index.columns, index.collations, strict=True):
        column = quote_identifier(str(name))
        terms.append(f"m.{column} IS n.{column}")
        if collation != _BINARY:  # equal to it is not the same
            terms.append(f"CAST(m.{column} AS BLOB) IS CAST(n.{column} AS BLOB)")
    there = f"SELECT 1 FROM {quoted} AS m {by} WHERE {' AND '.join(terms)}"
    try:
        in_table, lacks, in_index = connection.execute(
            f"SELECT COUNT(*), COUNT(*) FILTER (WHERE NOT EXISTS ({there})), (SELECT COUNT(*) FROM {quoted} {by})"
            f" FROM {quoted} AS n NOT INDEXED"
        ).fetchone()
    except driver.operational_errors():
        # It cannot be asked in this way, such as by another collation than its column's.
        return _integrity(connection, table, index)
    return in_table == in_index and not lacks


def _integrity(connection: sqlite3.Connection, table: str, index: IndexInfo) -> bool | None:
    """The same by SQLite's own check of the whole table; False where it has more to say than it says."""
    try:
        found = [str(line) for (line,) in connection.execute(f"PRAGMA integrity_check({quote_identifier(table)})")]
    except driver.operational_errors() as error:
        if missing_collation(error) or missing_function(error):
            return None
        raise
    return len(found) < _MOST_MESSAGES and not any(f"index {index.name}" in line for line in found)
