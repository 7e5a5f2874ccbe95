"""What a dry run can say of two contents under one id: those within one file, compared with each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from uuid import UUID

from vestige_migrate.limits import BATCH_BYTES
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import RowError, TableReport
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.layout.unique_keys import has_unique_key, has_unusual_key
from vestige_migrate.source.read.rows import read_batches
from vestige_migrate.tables.base import BOOTSTRAP_USER, Table
from vestige_migrate.tables.other_content import other_content_kept
from vestige_migrate.tables.shapes import Shapes
from vestige_migrate.wire import field

_BOOTSTRAP = field.uuid(UUID(BOOTSTRAP_USER))


def name_repeated(
    report: MigrationReport, source: PreparedSource, sources: Mapping[str, TableSource], shapes: Shapes
) -> None:
    """Counts the rows whose key an earlier row of the same table has: failed with another content, else skipped."""
    for name, found in sources.items():
        table = shapes.table(name)
        if has_unique_key(source.connection, found) and not has_unusual_key(source.connection, found, table.key_types):
            continue
        from vestige_migrate.copy.same_keys import find_same_keys  # here: it needs numpy, which few files do

        groups = find_same_keys(table, (source.connection, found), ())
        errors = [error for group in groups for error in _others(table, source, found, group.rowids)]
        report.errors += errors
        _move(report.tables[name], sum(len(group.rowids) - 1 for group in groups), len(errors))


def _move(counts: TableReport, repeated: int, failed: int) -> None:
    """None of the `repeated` rows would be inserted, and so many of them fail."""
    counts.inserted -= min(counts.inserted, repeated)
    counts.failed += failed
    counts.skipped = counts.source_rows - counts.inserted - counts.failed - counts.updated


def _others(table: Table, source: PreparedSource, found: TableSource, rowids: tuple[int, ...]) -> Iterator[RowError]:
    """The rows of one key that hold another content than the first of them that can be placed."""
    first: tuple[bytes, ...] | None = None
    for rowid, id_, content in _contents(table, source, found, rowids):
        if table.name == "users" and content[table.index("id")] == _BOOTSTRAP:
            return
        if first is None:
            first = content
        elif content != first:
            yield other_content_kept(table, id_, f"row {rowid} of {found.base}")


def _contents(
    table: Table, source: PreparedSource, found: TableSource, rowids: tuple[int, ...]
) -> Iterator[tuple[int, str, tuple[bytes, ...]]]:
    """(rowid, id, what the destination would have) of each row."""
    from vestige_migrate.encode.careful import BatchEncoder
    from vestige_migrate.wire.canonical import JsonbFields

    encoder, canonical = BatchEncoder(table, found, source.layout, None), JsonbFields()
    is_json = [column.pg_type == "jsonb" for column in table.columns]
    for rowid in rowids:
        for rows in read_batches(source.connection, found, [rowid], 1, BATCH_BYTES):
            batch = encoder.encode(rows) if rows else None
            if batch is not None and len(batch):
                columns = (canonical(one) if json else one for one, json in zip(batch.columns, is_json, strict=True))
                yield rowid, batch.id_of(0), tuple(one[0] for one in columns)
