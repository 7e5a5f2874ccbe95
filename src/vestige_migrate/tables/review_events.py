"""review_events: the log of reviews."""

from __future__ import annotations

from vestige_migrate.source.layout import Layout
from vestige_migrate.source.select import TableSource
from vestige_migrate.tables import columns
from vestige_migrate.tables.base import Parent, Table, plain_source

COLUMNS = (
    columns.uuid_key("id"),
    columns.uuid_key("memory_id"),
    columns.time("occurred_at"),
    columns.optional_float8("retrievability_before"),
    columns.optional_float8("retrievability_after"),
    columns.int2("rating", 0),
    columns.label("kind", "review"),
    columns.json_object("metadata"),
)


def find_source(layout: Layout) -> TableSource | None:
    """The table of the same name; files without it have no review log."""
    return plain_source(layout, "review_events", COLUMNS, ("id",))


TABLE = Table(
    "review_events",
    COLUMNS,
    ("id",),
    find_source,
    parents=(Parent("memory_id", "knowledge_nodes", "id", "review_events_memory_id_fkey"),),
)
