"""What a worker process does to copy a range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from vestige_migrate.copy.changed_rows import Brought, Changed, ChangedRows, RowComparer
from vestige_migrate.copy.companions import keys_of, read_companions
from vestige_migrate.copy.difference import Answer, KeyAsker
from vestige_migrate.copy.forgotten import find_forgotten
from vestige_migrate.copy.job import CopyJob
from vestige_migrate.copy.messages import BatchDone, ErrorsFound, RowsForgotten, RowsKept
from vestige_migrate.copy.same_keys import RepeatedKeys
from vestige_migrate.destination.load.batch_writer import TableWriter
from vestige_migrate.destination.load.run_record import BatchRecord
from vestige_migrate.destination.load.staged_batch import Written
from vestige_migrate.encode.careful import BatchEncoder
from vestige_migrate.encode.plain import PlainEncoder, PlainRows
from vestige_migrate.report.rows import RowError
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.chunks import ChunkReader, can_read_chunks, text_columns
from vestige_migrate.source.read.ranges import Range
from vestige_migrate.source.read.rows import Row, cover_rowids, read_batches
from vestige_migrate.source.sqlite.rowid_sample import draw_rowids
from vestige_migrate.tables.base import Refresh, Table
from vestige_migrate.wire.batch import Batch, copy_payloads
from vestige_migrate.workers.job import Send, WorkerConfig
from vestige_migrate.workers.messages import Task
from vestige_migrate.workers.worker import RangeWorker

SAMPLED_ROWS = 100
"""Rows that are tried where it is to be known whether any row of a table goes in."""


@dataclass(frozen=True)
class _PlainPath:
    """How the rows of one table are copied where there is nothing odd about them."""

    encoder: PlainEncoder
    reader: ChunkReader


class RangeCopier(RangeWorker):
    """Copies ranges."""

    def __init__(self, config: WorkerConfig, job: CopyJob, send: Send) -> None:
        super().__init__(config, send)
        self._job = job
        self._encoders: dict[str, BatchEncoder] = {}
        self._plain_paths: dict[str, _PlainPath | None] = {}
        self._repeated = RepeatedKeys()

    def _work(self, task: Task) -> None:
        range_ = task.range
        table = self._job.overrides.apply(self._job.shapes.table(range_.table))
        source = table.source_in(self._job.layout)
        assert source is not None
        sqlite = self._open_sqlite()
        postgres = self._open_postgres()
        rules = self._job.rules(table, source)
        refresh = rules.refresh
        asker = KeyAsker(table, source, refresh, self._job.layout, rules.compares)
        answer = asker.ask(sqlite, postgres, range_) if task.ask_first else Answer(cover_rowids(sqlite, source, range_))
        new = self._not_forgotten(range_, table, source, answer.new)
        changed: list[Changed] = []
        comparer = None
        if rules.compares and answer.alike:
            comparer = RowComparer(sqlite, postgres, table, source, self._job.layout)
            changed = list(comparer.find(self._repeated.first_of(sqlite, table, source, answer)))
        kept = answer.kept - sum(map(len, changed))
        if kept:
            self._send(BatchDone(range_, 0, kept, 0, doubtful=answer.unusual))
        others = partial(self._sample, table, source)
        run = self._job.recorded.get(table.name)
        record = BatchRecord(postgres, run, table.name, range_.number) if run is not None else None
        writer = TableWriter(postgres, table, partial(self._report, range_), others, task.last_try, record)
        for rowids in self._write_plain(range_, table, source, writer, new):
            for _, batch in self._batches(table, source, rowids):
                self._tell(range_, batch, writer.write(batch))
        if comparer is not None:
            encode = self._encoder(table, source).encode
            bringing = ChangedRows(comparer, encode, writer, rules.whole_row, rules.of_vector)
            for some in changed:
                self._tell_brought(range_, bringing.bring(some))
        if refresh is None:
            return
        companion = self._companion(refresh)
        for rows, batch in self._batches(table, source, [rowid for rowid, _ in answer.outdated]):
            companions = self._companions(companion, table, source, rows)
            self._tell(range_, batch, writer.replace(batch, refresh, companion, companions))

    def _not_forgotten(self, range_: Range, table: Table, source: TableSource, new: Sequence[int]) -> Sequence[int]:
        """The new rows but for those of memories that were deleted in the destination."""
        if not self._job.forgets:
            return new
        found = find_forgotten(self._open_sqlite(), self._open_postgres(), table, source, range_, new)
        if not found.rowids:
            return new
        self._send(RowsForgotten(range_, len(found.rowids), found.memories))
        return [rowid for rowid in new if rowid not in found.rowids]

    def _write_plain(
        self, range_: Range, table: Table, source: TableSource, writer: TableWriter, rowids: Sequence[int]
    ) -> Iterator[Sequence[int]]:
        """Writes the rows that are plain, but for batches that PostgreSQL refuses; yields the rowids of the rest."""
        plain = self._plain_path(table, source)
        if plain is None:
            yield rowids
            return
        done = 0
        odd: list[int] = []
        for asked, values in plain.reader.read(self._open_sqlite(), rowids):
            if not writer.is_direct:
                break
            done += len(asked)
            rows = plain.encoder.encode(values) if values is not None else None
            plain.reader.note(odd=rows is None)
            if rows is None:
                yield asked
                continue
            odd += rows.odd
            if len(rows):
                yield from self._write_rows(range_, writer, rows)
        yield odd
        yield rowids[done:]

    def _write_rows(self, range_: Range, writer: TableWriter, rows: PlainRows) -> Iterator[Sequence[int]]:
        size = self._job.batch_rows
        for at, stream in enumerate(copy_payloads(rows.columns, size)):
            batch = range(at * size, min((at + 1) * size, len(rows)))
            if writer.is_direct and writer.write_plain(stream, len(batch)):
                self._send(BatchDone(range_, len(batch), 0, 0))
            else:
                yield rows.rowids()[batch.start : batch.stop]

    def _plain_path(self, table: Table, source: TableSource) -> _PlainPath | None:
        if table.name not in self._plain_paths:
            self._plain_paths[table.name] = self._make_plain_path(table, source)
        return self._plain_paths[table.name]

    def _make_plain_path(self, table: Table, source: TableSource) -> _PlainPath | None:
        sqlite, job = self._open_sqlite(), self._job
        if not can_read_chunks(sqlite):
            return None
        texts = text_columns(sqlite, source.base)
        encoder = PlainEncoder.of(table, source, job.layout, job.run_start, texts)
        if encoder is None:
            return None
        reader = ChunkReader(source, encoder.expressions, encoder.joined, job.batch_bytes, encoder.extras)
        return _PlainPath(encoder, reader)

    def _batches(self, table: Table, source: TableSource, rowids: Sequence[int]) -> Iterator[tuple[list[Row], Batch]]:
        encoder = self._encoder(table, source)
        job = self._job
        for rows in read_batches(self._open_sqlite(), source, rowids, job.batch_rows, job.batch_bytes):
            if rows:
                yield rows, encoder.encode(rows)

    def _sample(self, table: Table, source: TableSource) -> Batch | None:
        """Rows from all over the table."""
        rowids = draw_rowids(self._open_sqlite(), source.base, SAMPLED_ROWS)
        batches = (batch for _, batch in self._batches(table, source, rowids))
        return next((batch for batch in batches if len(batch)), None)

    def _companion(self, refresh: Refresh) -> Table | None:
        """The table of the companions, with the rule that can be followed for this source."""
        if refresh.companion is None:
            return None
        companion = self._job.shapes.table(refresh.companion)
        theirs = companion.source_in(self._job.layout)
        return replace(companion, refresh=companion.refresh_from(theirs)) if theirs is not None else None

    def _companions(self, companion: Table | None, table: Table, source: TableSource, rows: list[Row]) -> Batch | None:
        theirs = companion.source_in(self._job.layout) if companion is not None else None
        if companion is None or theirs is None:
            return None
        found = read_companions(self._open_sqlite(), theirs, keys_of(table, source, rows))
        return self._encoder(companion, theirs).encode(found) if found else None

    def _tell(self, range_: Range, batch: Batch, written: Written) -> None:
        failed = batch.unplaced_rows + len(written.refused)
        counts = written.inserted, written.skipped, failed, written.updated, written.companions
        # Nobody knew that these are there: another row of the source may have brought them.
        self._send(BatchDone(range_, *counts, doubtful=written.skipped > 0))

    def _tell_brought(self, range_: Range, brought: Brought) -> None:
        if brought.kept or brought.vectors:
            self._send(RowsKept(range_, (*brought.kept, *brought.vectors)))
        self._send(BatchDone(range_, 0, brought.skipped, brought.failed, brought.updated))

    def _report(self, range_: Range, errors: list[RowError]) -> None:
        if errors:
            self._send(ErrorsFound(range_, tuple(errors)))

    def _encoder(self, table: Table, source: TableSource) -> BatchEncoder:
        if table.name not in self._encoders:
            self._encoders[table.name] = BatchEncoder(table, source, self._job.layout, self._job.run_start)
        return self._encoders[table.name]
