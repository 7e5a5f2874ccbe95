"""users: the owners of memories."""

from __future__ import annotations

from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.tables import columns
from vestige_migrate.tables.base import Table, plain_source

COLUMNS = (
    columns.uuid_key("id"),
    columns.text("handle", ""),
    columns.optional_text("display_name"),
    columns.time("created_at"),
    columns.json_object("metadata"),
)


def source_in(layout: Layout) -> TableSource | None:
    """The table of the same name, from V15 of the plan line on."""
    return plain_source(layout, "users", COLUMNS, ("id",))


TABLE = Table("users", COLUMNS, ("id",), source_in, unique="handle")
