"""edges: the graph between memories."""

from __future__ import annotations

from dataclasses import replace

from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.sqlite.quoting import quote_text
from vestige_migrate.tables import columns
from vestige_migrate.tables.base import Evidence, Parent, Refresh, Table, plain_source

KEY = ("source_id", "target_id")
_NO_TYPE = "semantic"
_TYPE = "edge_type"
COLUMNS = (
    columns.uuid_key("source_id"),
    columns.uuid_key("target_id"),
    columns.label(_TYPE, _NO_TYPE),
    columns.float8("weight", 1.0),
    columns.time("created_at"),
)


def source_in(layout: Layout) -> TableSource | None:
    """Table `edges`, else Vestige's own `memory_connections`."""
    return plain_source(layout, "edges", COLUMNS, KEY) or plain_source(
        layout, "memory_connections", COLUMNS, KEY, edge_type="link_type", weight="strength"
    )


TABLE = Table(
    "edges",
    COLUMNS,
    KEY,
    source_in,
    parents=(
        Parent("source_id", "knowledge_nodes", "id", "edges_source_id_fkey"),
        Parent("target_id", "knowledge_nodes", "id", "edges_target_id_fkey"),
    ),
    # An edge has no time of change: the source's weight counts.
    refresh=Refresh(Evidence.DIFFERENT, decides=("weight",), columns=("weight",)),
)


def find_source_by_type(layout: Layout) -> TableSource | None:
    """The same; the type that an edge without one gets is a part of its key."""
    source = source_in(layout)
    if source is None:
        return None
    type_ = source.values[TABLE.index(_TYPE)]
    nothing = quote_text(_NO_TYPE)
    return replace(source, key=(*source.key, nothing if type_ is None else f"ifnull({type_}, {nothing})"))


BY_TYPE = replace(TABLE, key=(*KEY, _TYPE), source_in=find_source_by_type)
"""Two memories may have several edges, one of each type: so in the database that Vestige's own plan makes."""
