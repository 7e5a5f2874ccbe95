"""--dry-run: what a copy would find on both sides. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from psycopg import sql

from vestige_migrate.copy.changed_rows import ChangedRowsLook, RowComparer
from vestige_migrate.copy.companions import read_companions
from vestige_migrate.copy.difference import KeyAsker
from vestige_migrate.copy.job import Rules
from vestige_migrate.copy.same_keys import RepeatedKeys
from vestige_migrate.decode.problem import Raw
from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours, relation
from vestige_migrate.destination.load.presence import PresenceCheck
from vestige_migrate.encode.careful import BatchEncoder
from vestige_migrate.prepare.destination import ReadyDestination
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import TableReport
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.ranges import plan_ranges
from vestige_migrate.tables.base import Table
from vestige_migrate.tables.unreadable_rows import NONE_LOST, LostErrors
from vestige_migrate.wire import field
from vestige_migrate.wire.column import uuids

_LENGTH_BYTES = 4


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
    report: MigrationReport,
    source: PreparedSource,
    sources: Mapping[str, TableSource],
    destination: ReadyDestination,
    rules_of: Callable[[Table, TableSource], Rules],
) -> None:
    """The counts of the tables whose rows may be updated, each row asked about by its key, and the rows that are kept.

    `rules_of` are the rules of the copy for a table. `fill_dry_run` comes before.
    """
    taken_along: dict[str, set[bytes]] = {}
    """Companions of outdated rows: they are replaced whatever their own rule would say of rows that are alike."""
    with destination.pool.connection() as connection, connection.transaction():
        connection.execute("SET TRANSACTION READ ONLY")
        for name, found in sources.items():
            table = destination.shapes.table(name)
            rules = rules_of(table, found)
            refresh = rules.refresh
            if (refresh is None and not rules.compares) or not _exists(connection, name):
                continue
            asker = KeyAsker(table, found, refresh, source.layout, rules.compares)
            repeated = RepeatedKeys()
            looking = None
            if rules.compares:
                comparer = RowComparer(source.connection, connection, table, found, source.layout)
                looking = ChangedRowsLook(connection, table, comparer, rules)
            lost = report.tables[name].failed  # of a damaged source: they are in no range
            counts = TableReport(source_rows=lost, failed=lost)
            along = taken_along.get(name, set())
            for range_ in plan_ranges(source.connection, name, found, workers=1):
                answer = asker.ask(source.connection, connection, range_)
                counts += TableReport(
                    source_rows=len(answer.new) + len(answer.outdated) + answer.kept,
                    inserted=len(answer.new),
                    skipped=answer.kept,
                    updated=len(answer.outdated),
                )
                if looking is not None and answer.alike:
                    # What is replaced together with its memory is as the source has it then.
                    together = {str(UUID(bytes=key[_LENGTH_BYTES:])) for key in along}
                    would = looking.look(repeated.first_of(source.connection, table, found, answer), together)
                    counts.mark_updated(would.updated)
                    report.kept += would.kept
                    report.replaced_vectors += would.vectors
                    counts.kept += len(would.kept)
                along.difference_update(_written([key for _, key in answer.outdated]) if along else ())
                companion = refresh.companion if refresh is not None else None
                if companion is not None and companion in sources and _exists(connection, companion):
                    keys = [key for _, key in answer.outdated]
                    taken_along.setdefault(companion, set()).update(
                        _replaced_companions(source, connection, destination.shapes.table(companion), sources, keys)
                    )
            counts.mark_updated(len(along))
            report.tables[name] = counts
        for name, along in taken_along.items():
            if destination.shapes.table(name).refresh_from(sources[name]) is None:
                report.tables[name].mark_updated(len(along))


def _written(keys: Sequence[Raw]) -> list[bytes]:
    """The UUIDs among these keys, as they are written to the destination."""
    return [value for value in uuids(keys).fields if value is not None and value != field.NULL]


def _replaced_companions(
    prepared: PreparedSource, postgres: Connection, table: Table, sources: Mapping[str, TableSource], keys: list[Raw]
) -> set[bytes]:
    """The keys of companions of these rows that are on both sides, and not later in the destination."""
    source = sources[table.name]
    rows = read_companions(prepared.connection, source, keys)
    if not rows:
        return set()
    refresh = table.refresh_from(source)
    batch = BatchEncoder(table, source, prepared.layout, None).encode(rows)
    asked = [batch.columns[table.index(name)] for name in (*table.key, *(refresh.decides if refresh else ()))]
    found = PresenceCheck(postgres, table, refresh).find(asked)
    unjudged = {row for row, error in batch.errors if refresh is not None and error.column in refresh.decides}
    left = {*found.absent, *found.later} - (unjudged - {*found.absent})
    return {batch.columns[table.index(table.key[0])][row] for row in range(len(batch)) if row not in left}


def _exists(connection: Connection, table: str) -> bool:
    return connection.execute(sql.SQL("SELECT {}").format(relation("%s")), (table,)).fetchone() != (None,)
