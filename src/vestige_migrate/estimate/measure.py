"""What --dry-run's estimate is made from: samples of the source, and questions that write nothing."""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours, relation
from vestige_migrate.destination.indexes import build as indexes
from vestige_migrate.destination.indexes.hnsw_memory import is_local, read_limits
from vestige_migrate.destination.schema import registry
from vestige_migrate.destination.schema.vector_index import Form, forms_here, numbers
from vestige_migrate.estimate.figures import Conditions, Work, estimate
from vestige_migrate.estimate.server_speed import measure_speed
from vestige_migrate.plan import Indexes, SqliteToPostgresPlan, usable_cpus
from vestige_migrate.prepare.destination import ReadyDestination
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.report.estimate import Estimate
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.row_sizes import any_row_size, file_bytes, row_size
from vestige_migrate.tables import TABLES
from vestige_migrate.tables.knowledge_nodes import TABLE as MEMORIES

_PARALLEL_HNSW = (0, 6)
"""The first pgvector that builds an HNSW index with several processes."""


def measure_work(
    report: MigrationReport, source: PreparedSource, sources: Mapping[str, TableSource], fresh: bool
) -> Work:
    """What a copy would have to do, by the counts of a dry run that are in the report, and samples of the rows."""
    connection = source.connection
    work = Work(bytes_at_most=file_bytes(connection))
    for name, found in sources.items():
        counts = report.tables[name]
        rows, asked = counts.inserted + counts.updated, 0 if fresh else counts.source_rows
        if TABLES[name] is MEMORIES:
            size = row_size(connection, found, MEMORIES.index("content"), MEMORIES.index("embedding"))
            work += Work(memories=rows, vectors=round(size.vectors * rows))
        else:
            size = row_size(connection, found, None, None)
            work += Work(dependents=rows)
        work += Work(
            updated=counts.updated,
            asked=asked,
            content_bytes=size.text * rows,
            vector_bytes=size.vector * rows,
            other_bytes=size.other * rows,
            exact=size.exact or not rows,
        )
    for name, rows in (report.archived or {}).items():
        size = any_row_size(connection, name, source.layout.tables[name])
        work += Work(archived=rows, archived_bytes=size.other * rows, exact=size.exact)
    return work


def measure(work: Work, plan: SqliteToPostgresPlan, destination: ReadyDestination, dimension: int | None) -> Estimate:
    """The estimate of this work; `dimension` is that of the source's vectors, None where it has none."""
    return estimate(work, _conditions(plan, destination, dimension))


def _conditions(plan: SqliteToPostgresPlan, destination: ReadyDestination, dimension: int | None) -> Conditions:
    main = destination.main
    known = destination.model.dimension if destination.model else None
    wanted = dimension or registry.column_dimension(main) or known
    found = forms_here(main, wanted) if wanted is not None else ()
    indexable = wanted if found and not indexes.waits_for_owner(main, wanted) else None
    hnsw_lacks = indexes.needs_hnsw(main, indexable)
    absent = indexes.missing_share(main, destination.shapes)
    built = 0.0 if plan.indexes in (Indexes.NONE, Indexes.NOW) else absent
    row = main.execute(
        "SELECT LEAST(current_setting('max_parallel_workers')::int, current_setting('max_worker_processes')::int),"
        " pg_size_bytes(current_setting('max_wal_size'))"
    ).fetchone()
    assert row is not None
    version = destination.info.pgvector_version or "0"
    rows, vectors = (0, 0) if destination.fresh else _there(main, hnsw_lacks)
    return Conditions(
        workers=plan.workers,
        batch_size=plan.batch_size,
        cpus=usable_cpus(),
        local=is_local(main),
        pace=measure_speed(main),
        limits=read_limits(main),
        parallel=row[0] if numbers(version) >= _PARALLEL_HNSW else 0,
        wal_bytes=row[1],
        dimension=indexable,
        form=found[0] if found else Form.WHOLE,
        rows_there=rows,
        vectors_there=vectors,
        plain_built=built,
        plain_kept=1 - absent if plan.indexes is not Indexes.NOW else 1.0,
        hnsw_builds=hnsw_lacks and plan.indexes in (Indexes.AUTO, Indexes.LATER),
        hnsw_kept=indexable is not None and (not hnsw_lacks or plan.indexes is Indexes.NOW),
    )


def _there(connection: Connection, with_vectors: bool) -> tuple[int, int]:
    """Memories by the planner's count, and vectors where a graph of them has to be built, counted."""
    row = connection.execute(
        sql.SQL("SELECT GREATEST(reltuples, 0)::bigint FROM pg_class WHERE oid = {}").format(
            relation("'knowledge_nodes'")
        )
    ).fetchone()
    rows = row[0] if row else 0
    if not with_vectors:
        return rows, rows
    query = sql.SQL("SELECT count(embedding) FROM {}").format(ours(connection, "knowledge_nodes"))
    row = connection.execute(query).fetchone()
    return rows, row[0] if row else 0
