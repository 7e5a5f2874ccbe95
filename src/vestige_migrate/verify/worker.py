"""What a worker process does to compare a range."""

from __future__ import annotations

import sqlite3

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.load.forgotten import ForgottenCheck
from vestige_migrate.encode.careful import BatchEncoder
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.ranges import Range
from vestige_migrate.source.read.rows import list_rowids, read_batches
from vestige_migrate.tables.base import Table
from vestige_migrate.verify.batch_comparer import BatchComparer, Verdict
from vestige_migrate.verify.job import CompareJob
from vestige_migrate.verify.judge import Judge
from vestige_migrate.verify.messages import BatchCompared, NeighboursFound
from vestige_migrate.verify.neighbours import NeighbourSearch
from vestige_migrate.wire.batch import Batch
from vestige_migrate.workers.job import Send, WorkerConfig
from vestige_migrate.workers.messages import Task
from vestige_migrate.workers.worker import RangeWorker

BATCH_ROWS = 2000
"""One question to the server: more than a transaction of the copy, since nothing has to be tried again."""

_MEMORIES = "knowledge_nodes"


class RangeVerifier(RangeWorker):
    """Compares ranges. Writes nothing but a temporary table, which it rolls back, to ask PostgreSQL about a row."""

    def __init__(self, config: WorkerConfig, job: CompareJob, send: Send) -> None:
        super().__init__(config, send)
        self._job = job
        self._encoders: dict[str, BatchEncoder] = {}
        self._comparers: dict[str, BatchComparer] = {}
        self._between: tuple[sqlite3.Connection, Connection] | None = None

    def _work(self, task: Task) -> None:
        range_ = task.range
        table = self._job.overrides.apply(self._job.shapes.table(range_.table))
        source = table.source_in(self._job.layout)
        assert source is not None
        source = source.by_rowid()
        sqlite, postgres = self._open_sqlite(), self._open_postgres()
        if self._between != (sqlite, postgres):
            self._between = (sqlite, postgres)
            self._comparers.clear()
        encoder, comparer = self._encoder(table, source), self._comparer(table, source, sqlite, postgres)
        search = NeighbourSearch(self._job.queries) if table.name == _MEMORIES else None
        rowids = list_rowids(sqlite, source, range_)
        for rows in read_batches(sqlite, source, rowids, BATCH_ROWS, self._job.batch_bytes):
            if not rows:
                continue
            batch = encoder.encode(rows)
            self._send(_compared(range_, batch, comparer.compare(batch)))
            if search is not None and len(batch):
                search.add(batch.columns[table.index("id")], batch.columns[table.index("embedding")])
        if search is not None:
            self._send(NeighboursFound(range_, tuple(map(tuple, search.nearest))))

    def _encoder(self, table: Table, source: TableSource) -> BatchEncoder:
        if table.name not in self._encoders:
            self._encoders[table.name] = BatchEncoder(table, source, self._job.layout, None)
        return self._encoders[table.name]

    def _comparer(
        self, table: Table, source: TableSource, sqlite: sqlite3.Connection, postgres: Connection
    ) -> BatchComparer:
        if table.name not in self._comparers:
            judge = Judge(sqlite, postgres, self._job.layout, table)
            forgotten = ForgottenCheck(postgres) if self._job.forgets else None
            self._comparers[table.name] = BatchComparer(table, source, postgres, judge, forgotten)
        return self._comparers[table.name]


def _compared(range_: Range, batch: Batch, verdict: Verdict) -> BatchCompared:
    named = len(verdict.differences) + len(verdict.not_copied) + len(verdict.altered)
    return BatchCompared(
        range=range_,
        same=len(batch) - named,
        altered=len(verdict.altered),
        not_copied=len(verdict.not_copied) + batch.unplaced_rows,
        differences=tuple(verdict.differences.values()),
        errors=tuple(verdict.errors),
        matched=verdict.matched,
        key_sum=verdict.key_sum,
    )
