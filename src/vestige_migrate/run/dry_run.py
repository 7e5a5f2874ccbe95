"""--dry-run: what a copy would find on both sides. Writes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from psycopg import sql

from vestige_migrate.report import MigrationReport, TableReport
from vestige_migrate.run.destination import ReadyDestination


def fill_dry_run(report: MigrationReport, counts: dict[str, int], destination: ReadyDestination) -> None:
    """Counts into the report: `inserted` is what a copy would insert, judged by how many rows are there already."""

    def count(table: str) -> int:
        with destination.pool.connection() as connection, connection.transaction():
            connection.execute("SET TRANSACTION READ ONLY")
            if connection.execute("SELECT to_regclass(quote_ident(%s))", (table,)).fetchone() == (None,):
                return 0
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
            return int(row[0]) if row else 0

    with ThreadPoolExecutor(max_workers=destination.pool.max_size, thread_name_prefix="count") as threads:
        there = dict(zip(counts, threads.map(count, counts), strict=True))
    for table, rows in counts.items():
        skipped = min(rows, there[table])
        report.tables[table] = TableReport(source_rows=rows, inserted=rows - skipped, skipped=skipped)
