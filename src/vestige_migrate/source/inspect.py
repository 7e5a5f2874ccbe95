"""What is in a source file: tables, columns, version, line of development, embedding model.

Two lines of development used the same version numbers for different things, so the line is told from tables and
columns, never from the number (source-schemas.md).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from vestige_migrate.errors import SourceTooOld, SourceUnusable
from vestige_migrate.plan import ModelSignature
from vestige_migrate.source.layout import Layout
from vestige_migrate.source.select import quote_identifier

READABLE_VERSION = 15
"""The plan line's version that has a place for everything the destination holds."""
OLDEST_UPGRADABLE = 11
"""Below it Vestige itself must take steps that an upgrade here would skip."""

_RELEASED_TABLES = {
    "merge_plans", "merge_operations", "composition_events", "composition_members", "composition_outcomes",
    "connector_cursors", "agent_traces", "agent_runs", "memory_receipts", "memory_prs", "embedding_profiles",
    "embedding_profile_state", "vector_journal",
}  # fmt: skip
_RELEASED_COLUMNS = {"protected", "superseded_by", "source_system", "content_hash"}
_PLAN_COLUMNS = {"owner_user_id", "visibility", "shared_with_groups"}


def inspect_source(connection: sqlite3.Connection, path: Path) -> Layout:
    """The layout of an open source. Raises `SourceUnusable` where it is no Vestige file."""
    try:
        tables = _tables(connection)
        if not {"id", "content"} <= set(tables.get("knowledge_nodes", ())):
            raise SourceUnusable(
                f"{path} is an SQLite database but no Vestige file: it has no table knowledge_nodes with id and content"
            )
        version = _version(connection, tables)
        lineage = _lineage(tables, version)
        return _with_model(connection, Layout(tables, version, lineage))
    except sqlite3.DatabaseError as error:
        raise SourceUnusable(f"{path} cannot be read ({error}): it is damaged, or another program locks it") from None


def _tables(connection: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        name: tuple(row[1] for row in connection.execute(f"PRAGMA table_info({quote_identifier(name)})"))
        for name in names
    }


def _version(connection: sqlite3.Connection, tables: dict[str, tuple[str, ...]]) -> int:
    if "version" in tables.get("schema_version", ()):
        (found,) = connection.execute("SELECT MAX(version) FROM schema_version").fetchone()
        if isinstance(found, int):
            return found
    (stamped,) = connection.execute("PRAGMA user_version").fetchone()
    return int(stamped)


def _lineage(tables: dict[str, tuple[str, ...]], version: int) -> str:
    nodes = set(tables["knowledge_nodes"])
    if _PLAN_COLUMNS & nodes or "users" in tables:
        return "plan"
    if _RELEASED_TABLES & set(tables) or _RELEASED_COLUMNS & nodes:
        return "released"
    return "shared" if version < 14 else "plan"


def is_readable(layout: Layout) -> bool:
    """Whether the source can be read as it is: the plan line from V15 on, the released line always."""
    return layout.lineage == "released" or layout.version >= READABLE_VERSION


def check_readable(layout: Layout, path: Path) -> None:
    """Raises `SourceTooOld` unless the source can be read as it is."""
    if is_readable(layout):
        return
    if layout.version < OLDEST_UPGRADABLE:
        raise _too_old(layout, path, _UPGRADE_WOULD_SKIP)
    raise _too_old(
        layout, path, ", or with --allow-source-upgrade, which upgrades the file itself after a backup beside it"
    )


def check_upgradable(layout: Layout, path: Path) -> None:
    """Raises `SourceTooOld` unless the source can be read as it is or be upgraded in place."""
    if not is_readable(layout) and layout.version < OLDEST_UPGRADABLE:
        raise _too_old(layout, path, _UPGRADE_WOULD_SKIP)


_UPGRADE_WOULD_SKIP = (
    f" (--allow-source-upgrade does not work below V{OLDEST_UPGRADABLE}: it would skip steps that Vestige itself must "
    "take)"
)


def _too_old(layout: Layout, path: Path, ways: str) -> SourceTooOld:
    return SourceTooOld(
        f"{path} is at V{layout.version}, and the copy reads V{READABLE_VERSION}: run again with --snapshot, which "
        f"upgrades a private copy and never touches the file{ways}"
    )


def _with_model(connection: sqlite3.Connection, layout: Layout) -> Layout:
    """The layout with its model: registered, of the active profile, or inferred from the vectors."""
    profile, of_profile = _active_profile(connection, layout)
    registered = _registered(connection, layout)
    commonest = _commonest_model(connection, layout)
    model = registered or of_profile or commonest
    dimension = model.dimension if model else _commonest_length(connection, layout)
    return Layout(
        tables=layout.tables,
        version=layout.version,
        lineage=layout.lineage,
        model=model,
        model_registered=registered is not None,
        dimension=dimension,
        vector_model=_vector_model(connection, layout, model, commonest),
        active_profile=profile,
    )


def _registered(connection: sqlite3.Connection, layout: Layout) -> ModelSignature | None:
    if not layout.has("embedding_model", "dimension"):
        return None
    row = connection.execute("SELECT name, dimension, hash FROM embedding_model WHERE id = 1").fetchone()
    return _signature(*row) if row else None


def _signature(name: object, dimension: object, hash_: object = None) -> ModelSignature | None:
    if not isinstance(name, str) or not isinstance(dimension, int) or dimension < 1:
        return None
    return ModelSignature(name, dimension, hash_ if isinstance(hash_, str) and hash_ else None)


def _active_profile(connection: sqlite3.Connection, layout: Layout) -> tuple[str | None, ModelSignature | None]:
    needed = {
        "embedding_profile_state": "active_profile_id",
        "embedding_profile_vectors": "profile_id",
        "embedding_profiles": "model_id",
    }
    if not all(layout.has(table, column) for table, column in needed.items()):
        return None, None
    row = connection.execute(
        "SELECT s.active_profile_id, p.model_id, p.embedding_dimension FROM embedding_profile_state AS s"
        " JOIN embedding_profiles AS p ON p.profile_id = s.active_profile_id WHERE s.singleton = 1"
    ).fetchone()
    if row is None or not isinstance(row[0], str):
        return None, None
    return row[0], _signature(row[1], row[2])


def _commonest_model(connection: sqlite3.Connection, layout: Layout) -> ModelSignature | None:
    if not (layout.has("node_embeddings", "model") and layout.has("node_embeddings", "dimensions")):
        return None
    row = connection.execute(
        "SELECT model, dimensions FROM node_embeddings GROUP BY model, dimensions"
        " ORDER BY COUNT(*) DESC, model, dimensions LIMIT 1"
    ).fetchone()
    return _signature(*row) if row else None


def _commonest_length(connection: sqlite3.Connection, layout: Layout) -> int | None:
    """The commonest dimension of vectors that no model is known of; None where there are none."""
    for table in ("knowledge_nodes", "node_embeddings"):
        if not layout.has(table, "embedding"):
            continue
        row = connection.execute(
            f"SELECT LENGTH(embedding) / 4 FROM {quote_identifier(table)} WHERE typeof(embedding) = 'blob'"
            " AND LENGTH(embedding) > 0 AND LENGTH(embedding) % 4 = 0"
            " GROUP BY LENGTH(embedding) ORDER BY COUNT(*) DESC LIMIT 1"
        ).fetchone()
        if row:
            return int(row[0])
    return None


def _vector_model(
    connection: sqlite3.Connection,
    layout: Layout,
    model: ModelSignature | None,
    commonest: ModelSignature | None,
) -> str | None:
    """The name that rows of node_embeddings carry when they belong to `model`.

    Where the registered name stands in no row at all, the two places merely spell it differently: then every row
    may come over, and its dimension decides.
    """
    if model is None or commonest is None:
        return None
    found = connection.execute("SELECT 1 FROM node_embeddings WHERE model = ? LIMIT 1", (model.name,)).fetchone()
    return model.name if found else None
