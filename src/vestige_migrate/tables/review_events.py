"""review_events: the log of reviews."""

from __future__ import annotations

from dataclasses import replace

from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.tables import columns
from vestige_migrate.tables.base import Column, Parent, Stored, StoredColumn, Table, plain_source
from vestige_migrate.wire import field

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


def source_in(layout: Layout) -> TableSource | None:
    """The table of the same name; files without it have no review log."""
    return plain_source(layout, "review_events", COLUMNS, ("id",))


TABLE = Table(
    "review_events",
    COLUMNS,
    ("id",),
    source_in,
    parents=(Parent("memory_id", "knowledge_nodes", "id", "review_events_memory_id_fkey"),),
)


_BY_MEMORY = ("memory_id", "id")


def find_source_by_memory(layout: Layout) -> TableSource | None:
    """The same, found again by memory and id."""
    return plain_source(layout, "review_events", COLUMNS, _BY_MEMORY)


def _in_json(column: Column) -> Column:
    """A number that is kept in jsonb, which has no negative zero."""
    return replace(column, instead=(field.float8(-0.0), field.float8(0.0)), one_by_one=True)


# What Vestige's program itself writes there has no id of this form: such a row is named by the number it has (or by the
# end of what it has instead), in a UUID of a form that nobody makes.
_NUMBER = "right(lpad(regexp_replace(o.id::text, '[^0-9a-f]', '', 'g'), 32, '0'), 16)"
_ID = (
    "CASE WHEN o.prior_state ->> 'id' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'"
    " THEN (o.prior_state ->> 'id')::uuid"
    f" ELSE ('ffffffffffffffff' || {_NUMBER})::uuid END"
)
# jsonb has numbers of any size, and whoever wrote there may have used them.
_LARGEST, _SMALLEST = "1.7976931348623157e308", "2.5e-324"
_BEFORE_TEXT = "(o.prior_state ->> 'retrievability')"
_BEFORE = (
    "CASE jsonb_typeof(o.prior_state -> 'retrievability') WHEN 'number' THEN"
    f" CASE WHEN abs({_BEFORE_TEXT}::numeric) < {_SMALLEST} THEN 0"
    f" WHEN abs({_BEFORE_TEXT}::numeric) <= {_LARGEST} THEN {_BEFORE_TEXT}::float8 END END"
)
_AFTER_TEXT = "(o.new_state ->> 'retrievability')"
_AFTER = (
    "CASE jsonb_typeof(o.new_state -> 'retrievability') WHEN 'number' THEN"
    f" CASE WHEN abs({_AFTER_TEXT}::numeric) < {_SMALLEST} THEN 0"
    f" WHEN abs({_AFTER_TEXT}::numeric) <= {_LARGEST} THEN {_AFTER_TEXT}::float8 END END"
)

AS_STATES = replace(
    TABLE,
    columns=tuple(_in_json(column) if column.pg_type == "float8" else column for column in COLUMNS),
    # An index leads to a memory's few events, and none to an id within jsonb.
    key=_BY_MEMORY,
    named_by=("id",),
    source_in=find_source_by_memory,
    stored=Stored(
        columns=(
            StoredColumn("memory_id", "uuid", "s.memory_id"),
            StoredColumn("timestamp", "timestamptz", "s.occurred_at"),
            StoredColumn("rating", "int2", "s.rating"),
            StoredColumn(
                "prior_state",
                "jsonb",
                "jsonb_build_object('retrievability', s.retrievability_before, 'kind', s.kind, 'id', s.id)",
            ),
            StoredColumn(
                "new_state",
                "jsonb",
                "jsonb_build_object('retrievability', s.retrievability_after, 'metadata', s.metadata)",
            ),
        ),
        own=("id",),
        read=(
            _ID,
            "o.memory_id",
            'o."timestamp"',
            _BEFORE,
            _AFTER,
            "o.rating",
            "o.prior_state ->> 'kind'",
            "o.new_state -> 'metadata'",
        ),
        renamed=(("occurred_at", "timestamp"),),
    ),
)
"""An event as two states of its memory: so in the database that Vestige's own plan makes (its plan 0002c)."""
