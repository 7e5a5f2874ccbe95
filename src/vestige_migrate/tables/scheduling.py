"""scheduling: when each memory is due for review."""

from __future__ import annotations

from dataclasses import replace

from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.tables import columns
from vestige_migrate.tables.base import Evidence, Parent, Refresh, Table, plain_source, with_nothing

KEY = ("memory_id",)
COLUMNS = (
    columns.uuid_key("memory_id"),
    columns.float8("stability", 1.0),
    columns.float8("difficulty", 5.0),
    columns.float8("retrievability", 1.0),
    columns.optional_time("last_review"),
    columns.optional_time("next_review"),
    columns.int4("reps", 0),
    columns.int4("lapses", 0),
)

NODE_COLUMNS = {
    "memory_id": "id",
    "stability": "stability",
    "difficulty": "difficulty",
    "retrievability": "retention_strength",
    "last_review": "last_accessed",
    "next_review": "next_review",
    "reps": "reps",
    "lapses": "lapses",
}
"""Destination column -> the column of `knowledge_nodes` in Vestige's own storage (FSRS state is kept there)."""


def is_in_nodes(layout: Layout) -> bool:
    """Whether the schedules are columns of knowledge_nodes: no table of their own, and FSRS columns there."""
    return not layout.has("scheduling") and layout.has("knowledge_nodes", "stability")


def source_in(layout: Layout) -> TableSource | None:
    """Table `scheduling`, else one schedule a memory from the columns of `knowledge_nodes`."""
    if is_in_nodes(layout):
        source = plain_source(layout, "knowledge_nodes", COLUMNS, KEY, **NODE_COLUMNS)
        # The memories themselves take every other column.
        source = source and replace(source, dropped=())
    else:
        source = plain_source(layout, "scheduling", COLUMNS, KEY)
    # An empty text is how Vestige writes that there was no review yet.
    return source and with_nothing(source, COLUMNS, last_review="''", next_review="''")


TABLE = Table(
    "scheduling",
    COLUMNS,
    KEY,
    source_in,
    parents=(Parent("memory_id", "knowledge_nodes", "id", "scheduling_memory_id_fkey"),),
    # A recall does not touch the memory's updated_at (docs/versions.md).
    refresh=Refresh(
        Evidence.REVIEWED,
        decides=("last_review", "reps", "lapses"),
        columns=tuple(item.name for item in COLUMNS if item.name not in KEY),
    ),
)
