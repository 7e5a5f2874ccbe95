"""--dry-run: what a copy would find on both sides. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from psycopg import sql

from vestige_migrate.copy.companions import keys_of, read_companions
from vestige_migrate.copy.difference import KeyAsker
from vestige_migrate.decode.problem import Raw
from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours, relation
from vestige_migrate.destination.load.presence import PresenceCheck
from vestige_migrate.prepare.destination import ReadyDestination
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import TableReport
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.ranges import plan_ranges
from vestige_migrate.tables import TABLES
from vestige_migrate.tables.unreadable_rows import NONE_LOST, LostErrors
from vestige_migrate.wire import field
from vestige_migrate.wire.column import uuids


def fill_dry_run(
    report: MigrationReport,
    counts: dict[str, int],
    destination: ReadyDestination,
    bootstrap: bool,
    lost: Mapping[str, LostErrors],
) -> None:
    """Counts into the report: `inserted` is what a copy would insert, judged by how many rows are there already.

    `bootstrap` says whether the source has the bootstrap user; `lost` are rows, among those of `counts`, that cannot be
    read.
    """

    def count(table: str) -> int:
        with destination.pool.connection() as connection, connection.transaction():
            connection.execute("SET TRANSACTION READ ONLY")
            if not _exists(connection, table):
                return 0
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(ours(connection, table))).fetchone()
            return int(row[0]) if row else 0

    there = dict.fromkeys(counts, 0)
    if destination.made:
        with ThreadPoolExecutor(max_workers=destination.pool.max_size, thread_name_prefix="count") as threads:
            there = dict(zip(counts, threads.map(count, counts), strict=True))
    if "users" in there and bootstrap:
        # The one user that a copy does not insert into an empty destination: the schema has it.
        there["users"] = max(1, there["users"])
    for table, rows in counts.items():
        failed = lost.get(table, NONE_LOST).rows
        skipped = min(rows - failed, there[table])
        report.tables[table] = TableReport(rows, rows - failed - skipped, skipped, failed)
    report.errors += [error for found in lost.values() for error in found.errors]


def fill_updates(
    report: MigrationReport, source: PreparedSource, sources: Mapping[str, TableSource], destination: ReadyDestination
) -> None:
    """With `--on-conflict newer`: the counts of the tables that may be updated, each row asked about by its key."""
    with destination.pool.connection() as connection, connection.transaction():
        connection.execute("SET TRANSACTION READ ONLY")
        for name, found in sources.items():
            table = destination.shapes.table(name)
            refresh = table.refresh_from(found)
            if refresh is None or not _exists(connection, name):
                continue
            asker = KeyAsker(table, found, refresh, source.layout)
            counts, companions = TableReport(), 0
            for range_ in plan_ranges(source.connection, name, found, workers=1):
                answer = asker.ask(source.connection, connection, range_)
                counts += TableReport(
                    source_rows=len(answer.new) + len(answer.outdated) + answer.kept,
                    inserted=len(answer.new),
                    skipped=answer.kept,
                    updated=len(answer.outdated),
                )
                companion = refresh.companion
                if companion is not None and companion in sources and _exists(connection, companion):
                    keys = [key for _, key in answer.outdated]
                    companions += _count_companions(source, connection, companion, sources[companion], keys)
            report.tables[name] = counts
            if refresh.companion is not None:
                report.tables[refresh.companion].mark_updated(companions)


def _count_companions(
    prepared: PreparedSource, postgres: Connection, name: str, source: TableSource, keys: list[Raw]
) -> int:
    """How many companions of these rows are on both sides."""
    rows = read_companions(prepared.connection, source, keys)
    encoded = uuids(keys_of(TABLES[name], source, rows)).fields
    asked = [value for value in encoded if value is not None and value != field.NULL]
    return len(asked) - len(PresenceCheck(postgres, TABLES[name]).find([asked]).absent)


def _exists(connection: Connection, table: str) -> bool:
    return connection.execute(sql.SQL("SELECT {}").format(relation("%s")), (table,)).fetchone() != (None,)
