"""knowledge_nodes: the memories themselves, with their embeddings."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.layout.tags import first_tag
from vestige_migrate.source.layout.vectors import vector_source
from vestige_migrate.source.sqlite.quoting import column
from vestige_migrate.tables import column_types as types
from vestige_migrate.tables import columns, scheduling
from vestige_migrate.tables.base import BOOTSTRAP_USER, Column, Evidence, Null, Parent, Refresh, Table
from vestige_migrate.wire import field

COLUMNS = (
    columns.uuid_key("id"),
    columns.text("content", "", Null.ERROR),
    columns.label("node_type", "fact"),
    columns.strings("tags"),
    columns.json_object("metadata"),
    columns.strings("domains"),
    columns.json_object("domain_scores"),
    Column("embedding", types.EMBEDDING, field.NULL, droppable=True),
    columns.optional_text("codebase"),
    Column(
        "owner_user_id",
        types.USER_ID,
        field.uuid(UUID(BOOTSTRAP_USER)),
        Null.DEFAULT,
        required=True,
    ),
    columns.label("visibility", "private"),
    columns.uuids("shared_with_groups"),
    columns.time("created_at", twin="updated_at"),
    columns.time("updated_at", twin="created_at"),
)

ORDER = ("created_at", "id")
_AT = {item.name: at for at, item in enumerate(COLUMNS)}
_CODEBASE_TAG = "codebase:"


def source_in(layout: Layout) -> TableSource | None:
    """`knowledge_nodes`, with the vectors joined on from wherever this file keeps them."""
    if not layout.has("knowledge_nodes"):
        return None
    present = layout.tables["knowledge_nodes"]
    vectors = vector_source(layout)
    of_columns = tuple(item.name if item.name in present and item.name != "embedding" else None for item in COLUMNS)
    values = [column(name) if name is not None else None for name in of_columns]
    values[_AT["embedding"]] = vectors.value
    values[_AT["codebase"]] = _codebase(present)
    return TableSource(
        base="knowledge_nodes",
        values=tuple(values),
        key=(column("id"),),
        joins=vectors.joins,
        order=tuple(name for name in ORDER if name in present),
        extras=tuple(name for name in present if name not in _placed(layout)),
        of_columns=of_columns,
    )


def _placed(layout: Layout) -> set[str]:
    """Columns of the source's knowledge_nodes that have a place in the destination."""
    placed = {item.name for item in COLUMNS}
    if scheduling.is_in_nodes(layout):
        placed |= set(scheduling.NODE_COLUMNS.values())
    return placed


def _codebase(present: Collection[str]) -> str | None:
    """The column; where there is none, `metadata.codebase`; where both are NULL, the first tag `codebase:NAME`.

    Vestige's own tool names the codebase of a memory in such a tag and leaves the column NULL.
    """
    from_metadata = _codebase_from_metadata() if "metadata" in present else None
    own = column("codebase") if "codebase" in present else from_metadata
    if "tags" not in present:
        return own
    tag = first_tag(column("tags"), _CODEBASE_TAG, unless=from_metadata if "codebase" in present else None)
    return tag if own is None else f"ifnull({own}, {tag})"


def _codebase_from_metadata() -> str:
    metadata = column("metadata")
    return (
        f"CASE WHEN typeof({metadata}) = 'text' AND json_valid({metadata})"
        f" AND json_type({metadata}, '$.codebase') = 'text' THEN json_extract({metadata}, '$.codebase') END"
    )


TABLE = Table(
    "knowledge_nodes",
    COLUMNS,
    ("id",),
    source_in,
    parents=(Parent("owner_user_id", "users", "id", "knowledge_nodes_owner_user_id_fkey"),),
    refresh=Refresh(
        Evidence.LATER,
        decides=("updated_at",),
        columns=tuple(item.name for item in COLUMNS if item.name != "id"),
        companion=scheduling.TABLE.name,
    ),
    # Vestige leaves updated_at as it is when it embeds a memory anew (docs/versions.md).
    refresh_vector=Refresh(Evidence.SAME_TIME, decides=("updated_at", "embedding"), columns=("embedding",)),
    checked="visibility",
)
