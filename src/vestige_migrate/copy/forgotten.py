"""Rows of a range that belong to memories which were deleted in the destination: a copy does not bring them back."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from vestige_migrate.copy.difference import KeyAsker
from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.load.forgotten import ForgottenCheck, memory_columns
from vestige_migrate.destination.schema import tombstones
from vestige_migrate.prepare.destination import ReadyDestination
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import TableReport
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.ranges import Range, plan_ranges
from vestige_migrate.source.read.rows import list_keys
from vestige_migrate.tables.base import Table
from vestige_migrate.wire import field
from vestige_migrate.wire.column import uuids

_LENGTH_BYTES = 4


@dataclass(frozen=True)
class Forgotten:
    """Of one range: the rowids that stay behind, and where they are memories, their ids."""

    rowids: Collection[int] = ()
    memories: tuple[str, ...] = ()


NONE = Forgotten()


def find_forgotten(
    sqlite: sqlite3.Connection,
    postgres: Connection,
    table: Table,
    source: TableSource,
    range_: Range,
    new: Collection[int],
) -> Forgotten:
    """Those of the rowids `new`, which the destination lacks."""
    columns = memory_columns(table)
    values = [value for at in columns if (value := source.values[at]) is not None]
    if not values or not new:
        return NONE
    wanted = new if isinstance(new, range) else set(new)
    rows = [row for row in list_keys(sqlite, source, range_, *values) if row[0] in wanted]
    if not rows:
        return NONE
    named = list(zip(*rows, strict=True))[-len(values) :]
    encoded = [[field.NULL if id_ is None else id_ for id_ in uuids(ids).fields] for ids in named]
    found = ForgottenCheck(postgres).find(id_ for ids in encoded for id_ in ids)
    if not found:
        return NONE
    at = [row for row, ids in enumerate(zip(*encoded, strict=True)) if not found.isdisjoint(ids)]
    is_memory = table.name == tombstones.MEMORIES
    memories = {str(UUID(bytes=encoded[0][row][_LENGTH_BYTES:])) for row in at} if is_memory else ()
    rowids = {rowid for row in at if isinstance(rowid := rows[row][0], int)}
    return Forgotten(rowids, tuple(sorted(memories)))


def fill_forgotten(
    report: MigrationReport,
    source: PreparedSource,
    sources: Mapping[str, TableSource],
    destination: ReadyDestination,
) -> None:
    """Of a dry run that has its other counts: where there are tombstones, each row is asked about by its key."""
    with destination.pool.connection() as connection, connection.transaction():
        connection.execute("SET TRANSACTION READ ONLY")
        if not tombstones.are_any(connection):
            return
        for name, found in sources.items():
            table = destination.shapes.table(name)
            if not memory_columns(table) or not tombstones.is_there(connection, name):
                continue
            asker = KeyAsker(table, found, None, source.layout)
            new, kept, forgotten = 0, 0, 0
            for range_ in plan_ranges(source.connection, name, found, workers=1):
                answer = asker.ask(source.connection, connection, range_)
                some = find_forgotten(source.connection, connection, table, found, range_, answer.new)
                new, kept, forgotten = new + len(answer.new), kept + answer.kept, forgotten + len(some.rowids)
                report.forgotten += some.memories
            before = report.tables[name]
            report.tables[name] = TableReport(
                source_rows=before.source_rows,
                inserted=new - forgotten,
                skipped=kept - before.updated,
                failed=before.failed,
                updated=before.updated,
                forgotten=forgotten,
            )
        report.forgotten.sort()
