"""Names of tables and columns that this program reads by: all of them in lower case, as Vestige writes them."""

from __future__ import annotations

from vestige_migrate.source.layout.lineage import PLAN, REGISTRY, RELEASED

READ_TABLES = frozenset(
    {
        "knowledge_nodes", "node_embeddings", "embedding_profile_vectors", "scheduling", "edges", "memory_connections",
        "review_events", "users", "groups", "group_memberships", "domains", "embedding_model",
        "embedding_profile_state", "embedding_profiles", "schema_version",
    }
)  # fmt: skip
"""Tables whose rows come over, or say what the others mean. A statement about one of them counts on a rowid."""

READ_COLUMNS = frozenset(
    {
        "id", "content", "node_type", "tags", "metadata", "domains", "domain_scores", "embedding", "codebase",
        "owner_user_id", "visibility", "shared_with_groups", "created_at", "updated_at", "memory_id", "stability",
        "difficulty", "retrievability", "retention_strength", "last_review", "last_accessed", "next_review", "reps",
        "lapses", "source_id", "target_id", "edge_type", "link_type", "weight", "strength", "occurred_at",
        "retrievability_before", "retrievability_after", "rating", "kind", "handle", "display_name", "user_id",
        "group_id", "role", "joined_at", "label", "centroid", "top_terms", "memory_count", "node_id", "dimensions",
        "model", "profile_id", "active_profile_id", "singleton", "model_id", "embedding_dimension", "name", "dimension",
        "hash", "version", "scope", "suppression_count", "has_embedding",
    }
)  # fmt: skip
"""Columns of theirs that have a place in the destination, or say what the others mean."""

_FULL_TEXT = "knowledge_fts"
FULL_TEXT = frozenset(_FULL_TEXT + part for part in ("", "_data", "_idx", "_content", "_docsize", "_config"))
"""Vestige's full-text index and its shadow tables (https://sqlite.org/fts5.html, section 9), which nobody reads. Any
other table that begins so is somebody's own."""

NEEDED_TABLE, NEEDED_COLUMNS = "knowledge_nodes", frozenset({"id", "content"})
"""What every Vestige file has had since V1, and without which there is nothing to copy."""

_MARKS = (*RELEASED.values(), *PLAN.values(), REGISTRY)
_TABLES = READ_TABLES.union(*(marks.tables for marks in _MARKS))
_COLUMNS = READ_COLUMNS.union(*(marks.columns for marks in _MARKS))


def known_table(name: str) -> str:
    """The table's name as this program spells it; SQLite tells no `Users` from `users`."""
    return name.lower() if name.lower() in _TABLES else name


def known_column(name: str) -> str:
    """A column's name in a table of `READ_TABLES` as this program spells it."""
    return name.lower() if name.lower() in _COLUMNS else name
