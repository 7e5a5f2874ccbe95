"""A writer process: one read-only SQLite connection, one PostgreSQL connection, one range after the other."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import multiprocess
import psycopg
from multiprocess.connection import wait

from vestige_migrate.destination.connect import Connection, connect
from vestige_migrate.destination.faults import describe, is_transient
from vestige_migrate.destination.present import PresenceCheck
from vestige_migrate.destination.write import TableWriter
from vestige_migrate.report import RowError
from vestige_migrate.run.messages import (
    BatchDone,
    ErrorsFound,
    Message,
    RangeDone,
    RangeFault,
    Task,
    WorkerConfig,
)
from vestige_migrate.source.connect import open_source
from vestige_migrate.source.ranges import Range
from vestige_migrate.source.read import Row, list_keys, read_batches
from vestige_migrate.source.select import TableSource
from vestige_migrate.tables import TABLES
from vestige_migrate.tables.base import Table
from vestige_migrate.tables.encoder import BatchEncoder
from vestige_migrate.wire.column import texts, uuids

Send = Callable[[Message], None]


def main(pipe: Any, config: WorkerConfig) -> None:
    """Copies the ranges that come through `pipe` until None comes, or the coordinator is gone."""
    # Ctrl-C reaches the whole terminal group: the coordinator decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_coordinator()
    copier = RangeCopier(config, pipe.send)
    try:
        while (task := pipe.recv()) is not None:
            copier.run(task)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The coordinator died. Nothing is left to report to; the transaction ends with the connection.
        os._exit(1)
    finally:
        copier.close()


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


class RangeCopier:
    """Copies ranges over connections that it opens when they are first needed and again after a fault."""

    def __init__(self, config: WorkerConfig, send: Send) -> None:
        self._config = config
        self._send = send
        self._sqlite: sqlite3.Connection | None = None
        self._postgres: Connection | None = None
        self._encoders: dict[str, BatchEncoder] = {}

    def run(self, task: Task) -> None:
        """Copies one range and says how it went; a fault is a message, never an exception."""
        try:
            self._copy(task)
        except psycopg.Error as error:
            self._close_postgres()
            self._send(RangeFault(task.range, is_transient(error), f"PostgreSQL: {describe(error)}"))
        except sqlite3.Error as error:
            self._close_sqlite()
            busy = isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
            self._send(RangeFault(task.range, busy, _describe_sqlite(error)))
        else:
            self._send(RangeDone(task.range))

    def close(self) -> None:
        """Closes both connections."""
        self._close_postgres()
        self._close_sqlite()

    def _copy(self, task: Task) -> None:
        range_ = task.range
        table = TABLES[range_.table]
        source = table.find_source(self._config.layout)
        assert source is not None
        sqlite = self._open_sqlite()
        postgres = self._open_postgres()
        keys = list_keys(sqlite, source, range_)
        if task.ask_first:
            keys = self._without_present(postgres, table, range_, keys)
        encoder = self._encoder(table, source)
        writer = TableWriter(postgres, table, partial(self._report, range_))
        rowids: list[Any] = [key[0] for key in keys]
        for rows, _ in read_batches(sqlite, source, rowids, self._config.batch_rows, self._config.batch_bytes):
            if not rows:
                continue
            batch = encoder.encode(rows)
            written = writer.write(batch)
            failed = batch.unplaced_rows + len(written.refused)
            self._send(BatchDone(range_, written.inserted, written.skipped, failed))

    def _report(self, range_: Range, errors: list[RowError]) -> None:
        if errors:
            self._send(ErrorsFound(range_, tuple(errors)))

    def _without_present(self, postgres: Connection, table: Table, range_: Range, keys: list[Row]) -> list[Row]:
        """The keys that the destination does not have; the others are reported as skipped."""
        if not keys:
            return keys
        columns = list(zip(*keys, strict=True))[1:]
        encoded = [
            (uuids if kind == "uuid" else texts)(values).fields
            for kind, values in zip(table.key_types, columns, strict=True)
        ]
        # A key that cannot be written (no UUID, NULL) is not there for certain: the row goes its normal way.
        null = b"\xff\xff\xff\xff"
        askable = [at for at, parts in enumerate(zip(*encoded, strict=True)) if None not in parts and null not in parts]
        asked: list[list[Any]] = [[fields[at] for at in askable] for fields in encoded]
        present = {askable[at] for at in PresenceCheck(postgres, table).find(asked)}
        if present:
            self._send(BatchDone(range_, 0, len(present), 0))
        return [key for at, key in enumerate(keys) if at not in present]

    def _encoder(self, table: Table, source: TableSource) -> BatchEncoder:
        if table.name not in self._encoders:
            self._encoders[table.name] = BatchEncoder(table, source, self._config.layout, self._config.run_start)
        return self._encoders[table.name]

    def _open_sqlite(self) -> sqlite3.Connection:
        if self._sqlite is None:
            self._sqlite = open_source(self._config.source)
        return self._sqlite

    def _open_postgres(self) -> Connection:
        if self._postgres is None or self._postgres.closed:
            self._postgres = connect(self._config.postgres_url, self._config.application_name)
            # Safe because the coordinator's last commit is synchronous: its flush covers every commit before it.
            self._postgres.execute("SET synchronous_commit = off")
        return self._postgres

    def _close_postgres(self) -> None:
        if self._postgres is not None:
            self._postgres.close()
            self._postgres = None

    def _close_sqlite(self) -> None:
        if self._sqlite is not None:
            self._sqlite.close()
            self._sqlite = None


def _describe_sqlite(error: sqlite3.Error) -> str:
    """SQLite's result code by name: its messages may quote what they stumbled over."""
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    return f"SQLite: {name}"
