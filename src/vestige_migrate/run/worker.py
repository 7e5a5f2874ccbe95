"""A worker process: one read-only SQLite connection, one PostgreSQL connection, one range after the other."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import multiprocess
import psycopg
from multiprocess.connection import wait

from vestige_migrate.destination.connect import Connection, connect
from vestige_migrate.destination.faults import describe, is_transient
from vestige_migrate.destination.write import TableWriter, Written
from vestige_migrate.plan import OnConflict
from vestige_migrate.report.rows import RowError
from vestige_migrate.run import channel
from vestige_migrate.run.ask import Answer, KeyAsker
from vestige_migrate.run.companions import keys_of, read_companions
from vestige_migrate.run.messages import (
    BatchDone,
    Begun,
    Connected,
    ErrorsFound,
    Message,
    Ping,
    Pong,
    RangeDone,
    RangeFault,
    Sign,
    Task,
    Waiting,
    WorkerConfig,
)
from vestige_migrate.run.patience import ServerAway, connect_patiently
from vestige_migrate.run.pulse import start_pulse
from vestige_migrate.source import driver
from vestige_migrate.source.chunks import ChunkReader, can_read_chunks, text_columns
from vestige_migrate.source.connect import open_source
from vestige_migrate.source.fate import describe_fault, is_locked
from vestige_migrate.source.ranges import Range
from vestige_migrate.source.read import Row, cover_rowids, read_batches
from vestige_migrate.source.sample import draw_rowids
from vestige_migrate.source.select import TableSource
from vestige_migrate.tables.base import Table
from vestige_migrate.tables.encoder import BatchEncoder
from vestige_migrate.tables.plain import PlainEncoder, PlainRows
from vestige_migrate.wire.batch import Batch, copy_payloads

Send = Callable[[Message | Sign], None]

SAMPLED_ROWS = 100
"""Rows that are tried where it is to be known whether any row of a table goes in."""


def main(pipe: Any, config: WorkerConfig) -> None:
    """Deals with the ranges that come through `pipe` until None comes, or the coordinator is gone."""
    # Ctrl-C reaches the whole terminal group: the coordinator decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    send = _one_at_a_time(pipe)
    start_pulse(send)
    _end_with_coordinator()
    worker = _worker(config, send)
    try:
        while (order := channel.receive(pipe)) is not None:
            if isinstance(order, Ping):
                worker.prove(order)
            else:
                worker.run(order)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The coordinator died. Nothing is left to report to; the transaction ends with the connection.
        os._exit(1)
    finally:
        worker.close()


def _one_at_a_time(pipe: Any) -> Send:
    """Sends through the pipe, for two threads."""
    lock = threading.Lock()

    def send(message: Message | Sign) -> None:
        with lock:
            channel.send(pipe, message)

    return send


def _worker(config: WorkerConfig, send: Send) -> RangeWorker:
    if config.verify is None:
        return RangeCopier(config, send)
    from vestige_migrate.verify.worker import RangeVerifier  # it is a RangeWorker, so it comes after this module

    return RangeVerifier(config, send)


def _end_with_coordinator() -> None:
    """Ends this process within moments when the coordinator is gone, whatever it waits for.

    The pipe alone tells too late: a worker that waits for a lock or a slow server does not read it.
    """
    parent = multiprocess.parent_process()
    if parent is None:  # called in a process of its own, by a test or a library
        return

    def watch() -> None:
        wait([parent.sentinel])
        # No clean-up: the server rolls the transaction back when it sees the connection closed.
        os._exit(1)

    threading.Thread(target=watch, name="coordinator watch", daemon=True).start()


class RangeWorker(ABC):
    """Deals with ranges over connections that it opens when they are first needed and again after a fault."""

    def __init__(self, config: WorkerConfig, send: Send) -> None:
        self._config = config
        self._send = send
        self._sqlite: sqlite3.Connection | None = None
        self._postgres: Connection | None = None
        self._range: Range | None = None

    @abstractmethod
    def _work(self, task: Task) -> None:
        """Does what is to be done with the range, and raises whatever keeps it from that."""

    def run(self, task: Task) -> None:
        """Deals with one range and says how it went; a fault is a message, never an exception."""
        try:
            self._reach_postgres(task.range)
            self._send(Begun(task.range))
            self._work(task)
        except ServerAway as error:
            self._send(RangeFault(task.range, False, f"PostgreSQL: {error}"))
        except psycopg.Error as error:
            self._close_postgres()
            self._send(RangeFault(task.range, is_transient(error), f"PostgreSQL: {describe(error)}"))
        except driver.errors() as error:
            self._close_sqlite()
            reason = describe_fault(self._config.source, error)
            self._send(RangeFault(task.range, is_locked(error), reason))
        else:
            self._send(RangeDone(task.range))

    def prove(self, ping: Ping) -> None:
        """Shows that a worker can live here. A fault at either end is no matter: the next range will say it."""
        try:
            self._reach_postgres(ping.range)
            self._open_sqlite()
            if ping.known is not None:
                self._work(Task(ping.known, ask_first=True))
        except (ServerAway, psycopg.Error):
            self._close_postgres()
        except driver.errors():
            self._close_sqlite()
        self._send(Pong())

    def close(self) -> None:
        """Closes both connections."""
        self._close_postgres()
        self._close_sqlite()

    def _open_sqlite(self) -> sqlite3.Connection:
        if self._sqlite is None:
            self._sqlite = open_source(self._config.source)
        return self._sqlite

    def _reach_postgres(self, range_: Range) -> None:
        """Waits for a server that is away. No row was sent yet, so this is no try of the range."""
        self._range = range_
        connect_patiently(self._open_postgres, self._say)

    def _say(self, reason: str) -> None:
        """Why nothing goes on, for the operator."""
        if self._range is not None:
            self._send(Waiting(self._range, reason))

    def _open_postgres(self) -> Connection:
        if self._postgres is None or self._postgres.closed:
            config = self._config
            postgres = connect(config.postgres_url, config.application_name, config.silence_seconds, config.home)
            postgres.say = self._say
            # Safe because the coordinator's last commit is synchronous: its flush covers every commit before it.
            try:
                postgres.execute("SET synchronous_commit = off")
            except BaseException:
                postgres.close()
                raise
            self._postgres = postgres
            if self._range is not None:
                self._send(Connected(self._range, postgres.server_pid))
        return self._postgres

    def _close_postgres(self) -> None:
        if self._postgres is not None:
            self._postgres.close()
            self._postgres = None

    def _close_sqlite(self) -> None:
        if self._sqlite is not None:
            self._sqlite.close()
            self._sqlite = None


@dataclass(frozen=True)
class _PlainPath:
    """How the rows of one table are copied where there is nothing odd about them."""

    encoder: PlainEncoder
    reader: ChunkReader


class RangeCopier(RangeWorker):
    """Copies ranges."""

    def __init__(self, config: WorkerConfig, send: Send) -> None:
        super().__init__(config, send)
        self._encoders: dict[str, BatchEncoder] = {}
        self._plain_paths: dict[str, _PlainPath | None] = {}

    def _work(self, task: Task) -> None:
        range_ = task.range
        table = self._config.overrides.apply(self._config.shapes.table(range_.table))
        source = table.find_source(self._config.layout)
        assert source is not None
        sqlite = self._open_sqlite()
        postgres = self._open_postgres()
        refresh = table.refresh_from(source) if self._config.on_conflict is OnConflict.NEWER else None
        asker = KeyAsker(table, source, refresh, self._config.layout)
        answer = asker.ask(sqlite, postgres, range_) if task.ask_first else Answer(cover_rowids(sqlite, source, range_))
        if answer.kept:
            self._send(BatchDone(range_, 0, answer.kept, 0, doubtful=answer.unusual))
        others = partial(self._sample, table, source)
        writer = TableWriter(postgres, table, partial(self._report, range_), others, task.last_try)
        for rowids in self._write_plain(range_, table, source, writer, answer.new):
            for _, batch in self._batches(table, source, rowids):
                self._tell(range_, batch, writer.write(batch))
        if refresh is None:
            return
        companion = self._config.shapes.table(refresh.companion) if refresh.companion is not None else None
        for rows, batch in self._batches(table, source, [rowid for rowid, _ in answer.outdated]):
            companions = self._companions(companion, table, source, rows)
            self._tell(range_, batch, writer.replace(batch, refresh, companion, companions))

    def _write_plain(
        self, range_: Range, table: Table, source: TableSource, writer: TableWriter, rowids: Sequence[int]
    ) -> Iterator[Sequence[int]]:
        """Writes the batches that are plain throughout; yields the rowids of the rest."""
        plain = self._plain_path(table, source)
        if plain is None:
            yield rowids
            return
        done = 0
        for asked, values in plain.reader.read(self._open_sqlite(), rowids):
            if not writer.is_direct:
                break
            done += len(asked)
            rows = plain.encoder.encode(values) if values is not None else None
            plain.reader.note(odd=rows is None)
            if rows is None:
                yield asked
            elif len(rows):
                yield from self._write_rows(range_, writer, rows)
        yield rowids[done:]

    def _write_rows(self, range_: Range, writer: TableWriter, rows: PlainRows) -> Iterator[Sequence[int]]:
        size = self._config.batch_rows
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
        sqlite, config = self._open_sqlite(), self._config
        if not can_read_chunks(sqlite):
            return None
        texts = text_columns(sqlite, source.base)
        encoder = PlainEncoder.of(table, source, config.layout, config.run_start, texts)
        if encoder is None:
            return None
        return _PlainPath(encoder, ChunkReader(source, encoder.expressions, encoder.joined, config.batch_bytes))

    def _batches(self, table: Table, source: TableSource, rowids: Sequence[int]) -> Iterator[tuple[list[Row], Batch]]:
        encoder = self._encoder(table, source)
        config = self._config
        for rows, _ in read_batches(self._open_sqlite(), source, rowids, config.batch_rows, config.batch_bytes):
            if rows:
                yield rows, encoder.encode(rows)

    def _sample(self, table: Table, source: TableSource) -> Batch | None:
        """Rows from all over the table."""
        rowids = draw_rowids(self._open_sqlite(), source.base, SAMPLED_ROWS)
        batches = (batch for _, batch in self._batches(table, source, rowids))
        return next((batch for batch in batches if len(batch)), None)

    def _companions(self, companion: Table | None, table: Table, source: TableSource, rows: list[Row]) -> Batch | None:
        theirs = companion.find_source(self._config.layout) if companion is not None else None
        if companion is None or theirs is None:
            return None
        found = read_companions(self._open_sqlite(), theirs, keys_of(table, source, rows))
        return self._encoder(companion, theirs).encode(found) if found else None

    def _tell(self, range_: Range, batch: Batch, written: Written) -> None:
        failed = batch.unplaced_rows + len(written.refused)
        counts = written.inserted, written.skipped, failed, written.updated, written.companions
        # Nobody knew that these are there: another row of the source may have brought them.
        self._send(BatchDone(range_, *counts, doubtful=written.skipped > 0))

    def _report(self, range_: Range, errors: list[RowError]) -> None:
        if errors:
            self._send(ErrorsFound(range_, tuple(errors)))

    def _encoder(self, table: Table, source: TableSource) -> BatchEncoder:
        if table.name not in self._encoders:
            self._encoders[table.name] = BatchEncoder(table, source, self._config.layout, self._config.run_start)
        return self._encoders[table.name]
