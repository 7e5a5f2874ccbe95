"""group_memberships: who belongs to which group."""

from __future__ import annotations

from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.tables import columns
from vestige_migrate.tables.base import Parent, Table, plain_source

KEY = ("user_id", "group_id")
COLUMNS = (
    columns.uuid_key("user_id"),
    columns.uuid_key("group_id"),
    columns.label("role", "member"),
    columns.time("joined_at"),
)


def source_in(layout: Layout) -> TableSource | None:
    """The table of the same name, from V15 of the plan line on."""
    return plain_source(layout, "group_memberships", COLUMNS, KEY)


TABLE = Table(
    "group_memberships",
    COLUMNS,
    KEY,
    source_in,
    parents=(
        Parent("user_id", "users", "id", "group_memberships_user_id_fkey"),
        Parent("group_id", "groups", "id", "group_memberships_group_id_fkey"),
    ),
    checked="role",
)
