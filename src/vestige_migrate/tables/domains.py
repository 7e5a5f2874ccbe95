"""domains: clusters of memories, each with a centroid vector and its commonest terms."""

from __future__ import annotations

from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.tables import column_types as types
from vestige_migrate.tables import columns
from vestige_migrate.tables.base import Column, Table, plain_source, with_nothing
from vestige_migrate.wire import field

COLUMNS = (
    columns.text_key("id"),
    columns.text("label", ""),
    # No fixed dimension in the destination: old centroids may be of another model than the vectors.
    Column("centroid", types.ANY_VECTOR, field.NULL, droppable=True),
    columns.strings("top_terms"),
    columns.int4("memory_count", 0),
    columns.time("created_at"),
)


def source_in(layout: Layout) -> TableSource | None:
    """The table of the same name (plan line from V14, released line from V16)."""
    source = plain_source(layout, "domains", COLUMNS, ("id",))
    # A BLOB of no bytes is how Vestige writes that there is no centroid.
    return source and with_nothing(source, COLUMNS, centroid="x''")


TABLE = Table("domains", COLUMNS, ("id",), source_in)
