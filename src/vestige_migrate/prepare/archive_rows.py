"""Rows of any table as the archive has them."""

from __future__ import annotations

from vestige_migrate.destination.load.archive_table import ArchiveRow
from vestige_migrate.source.read.any_table import AnyRow, AnyTable
from vestige_migrate.wire.archive_json import row_json, row_key


def encode(table: AnyTable, row: AnyRow) -> ArchiveRow:
    """The row as the archive has it."""
    return ArchiveRow(row_key(row.key, row.rowid), row_json(table.columns, row.values))
