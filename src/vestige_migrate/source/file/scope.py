"""`--scope`: one of Vestige's namespaces alone, in a private copy from which everything else has been taken away.

The copy is then read like any file, so that counting, splitting, comparing and everything else need not know of scopes.
Vestige takes a memory whose scope is NULL or blank for one of `user` (its index of V29 is on this very expression).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from vestige_migrate.errors import SourceUnusable
from vestige_migrate.source.file.snapshot import no_snapshot
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.sqlite import driver
from vestige_migrate.source.sqlite.connect import SourceFile
from vestige_migrate.source.sqlite.quoting import quote_identifier

DEFAULT_SCOPE = "user"
_SINCE = 4
_IN_SCOPE = f"coalesce(nullif(trim(scope), ''), '{DEFAULT_SCOPE}') = trim(?)"

_DEPENDENTS: Mapping[str, tuple[str, ...]] = {
    "scheduling": ("memory_id",),
    "edges": ("source_id", "target_id"),
    "memory_connections": ("source_id", "target_id"),
    "review_events": ("memory_id",),
    "node_embeddings": ("node_id",),
    "embedding_profile_vectors": ("node_id",),
}
"""Table -> the columns that all have to name a memory of the scope."""
_NAMES = {"memory_connections": "edges"}
_VECTORS = {"node_embeddings", "embedding_profile_vectors"}
"""Parts of their memories, and not counted beside them."""


def check_scope(connection: sqlite3.Connection, layout: Layout, scope: str, path: Path) -> None:
    """Raises `SourceUnusable` where the file knows no scopes, or has memories and none of this one."""
    if not layout.has("knowledge_nodes", "scope"):
        raise SourceUnusable(
            f"{path} (V{layout.version}, {layout.lineage} line) keeps no scope of its memories, which Vestige has done "
            f"since V{_SINCE}: copy it without --scope"
        )
    found, total = connection.execute(
        f"SELECT COUNT(*) FILTER (WHERE {_IN_SCOPE}), COUNT(*) FROM knowledge_nodes NOT INDEXED", (scope,)
    ).fetchone()
    if total and not found:
        raise SourceUnusable(
            f"none of the {total} memories of {path} has the scope that --scope names. Scopes are told apart by case, "
            f"and a memory without one has {DEFAULT_SCOPE!r}. This names them: sqlite3 FILE 'SELECT scope, COUNT(*) "
            "FROM knowledge_nodes GROUP BY scope'"
        )


def keep_scope(copy: SourceFile, layout: Layout, scope: str, path: Path) -> dict[str, int]:
    """Takes every other scope out of a private copy of `path`; returns how many rows of each table that were.

    An edge stays where both of its memories do, and a domain where a memory that stays names it.
    """
    try:
        with closing(driver.connect(copy.path, copy.cipher, isolation_level=None)) as connection:
            for setting in ("journal_mode = OFF", "synchronous = OFF", "temp_store = MEMORY"):
                connection.execute(f"PRAGMA {setting}").close()
            removed = dict(_keep(connection, layout, scope))
    except driver.errors() as error:
        raise no_snapshot(path, copy.path, error) from None
    left_out: dict[str, int] = {}
    for table, rows in removed.items():
        if table not in _VECTORS and rows:
            name = _NAMES.get(table, table)
            left_out[name] = left_out.get(name, 0) + rows
    return left_out


def _keep(connection: sqlite3.Connection, layout: Layout, scope: str) -> Iterator[tuple[str, int]]:
    """(table, rows taken out). No trigger runs: they keep journals and the full-text index, which nobody reads here."""
    triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for (name,) in triggers:
        connection.execute(f"DROP TRIGGER {quote_identifier(name)}")
    connection.execute("CREATE TEMP TABLE kept (id TEXT PRIMARY KEY) WITHOUT ROWID")
    connection.execute(
        f"INSERT OR IGNORE INTO kept SELECT {_spelt('id')} FROM knowledge_nodes NOT INDEXED"
        f" WHERE {_IN_SCOPE} AND id IS NOT NULL",
        (scope,),
    )
    yield "knowledge_nodes", _delete(connection, "knowledge_nodes", _IN_SCOPE, scope)
    for table, columns in _DEPENDENTS.items():
        if all(layout.has(table, column) for column in columns):
            kept = " AND ".join(f"{_spelt(column)} IN (SELECT id FROM kept)" for column in columns)
            yield table, _delete(connection, table, kept)
    if layout.has("domains", "id") and layout.has("knowledge_nodes", "domains"):
        array = "CASE WHEN typeof(n.domains) = 'text' AND json_valid(n.domains) THEN n.domains ELSE '[]' END"
        named = f"SELECT d.value FROM knowledge_nodes AS n, json_each({array}) AS d WHERE d.type = 'text'"
        yield "domains", _delete(connection, "domains", f"id IS NULL OR id IN ({named})")


def _delete(connection: sqlite3.Connection, table: str, kept: str, *parameters: str) -> int:
    return connection.execute(f"DELETE FROM {table} WHERE ({kept}) IS NOT TRUE", parameters).rowcount


def _spelt(column: str) -> str:
    """An id in one spelling: with and without hyphens, in braces and in capitals it is the same UUID."""
    expression = f"lower(CAST({column} AS TEXT))"
    for ornament in ("urn:uuid:", "-", "{", "}"):
        expression = f"replace({expression}, '{ornament}', '')"
    return expression
