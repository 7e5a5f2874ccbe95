"""edges: the graph between memories."""

from __future__ import annotations

from vestige_migrate.source.layout import Layout
from vestige_migrate.source.select import TableSource
from vestige_migrate.tables import columns
from vestige_migrate.tables.base import Parent, Refresh, Table, plain_source

KEY = ("source_id", "target_id")
COLUMNS = (
    columns.uuid_key("source_id"),
    columns.uuid_key("target_id"),
    columns.label("edge_type", "semantic"),
    columns.float8("weight", 1.0),
    columns.time("created_at"),
)


def find_source(layout: Layout) -> TableSource | None:
    """Table `edges`, else Vestige's own `memory_connections`."""
    return plain_source(layout, "edges", COLUMNS, KEY) or plain_source(
        layout, "memory_connections", COLUMNS, KEY, edge_type="link_type", weight="strength"
    )


TABLE = Table(
    "edges",
    COLUMNS,
    KEY,
    find_source,
    parents=(
        Parent("source_id", "knowledge_nodes", "id", "edges_source_id_fkey"),
        Parent("target_id", "knowledge_nodes", "id", "edges_target_id_fkey"),
    ),
    # An edge has no time of change: the source's weight counts.
    refresh=Refresh(decides="weight", later=False, columns=("weight",)),
)
