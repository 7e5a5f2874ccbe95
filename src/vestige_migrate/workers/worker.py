"""A worker process: one read-only SQLite connection, one PostgreSQL connection, one range after the other."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from abc import ABC, abstractmethod
from typing import Any

import multiprocess
import psycopg
from multiprocess.connection import wait

from vestige_migrate.destination.connection.connect import Connection, connect
from vestige_migrate.destination.connection.faults import describe, is_transient
from vestige_migrate.destination.connection.reconnect import ServerAway, connect_patiently
from vestige_migrate.source.file.mid_run_changes import describe_fault, is_locked
from vestige_migrate.source.read.ranges import Range
from vestige_migrate.source.sqlite import driver
from vestige_migrate.source.sqlite.connect import open_source
from vestige_migrate.workers import channel
from vestige_migrate.workers.job import Send, WorkerConfig
from vestige_migrate.workers.messages import (
    Begun,
    Connected,
    Message,
    Ping,
    Pong,
    RangeDone,
    RangeFault,
    Sign,
    Task,
    Waiting,
)
from vestige_migrate.workers.pulse import start_pulse


def main(pipe: Any, config: WorkerConfig) -> None:
    """Deals with the ranges that come through `pipe` until None comes, or the coordinator is gone."""
    # Ctrl-C reaches the whole terminal group: the coordinator decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    send = _one_at_a_time(pipe)
    start_pulse(send)
    _end_with_coordinator()
    worker = config.job.make_worker(config, send)
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
    """Deals with ranges over connections that it opens when they are first needed and again after a fault.

    Both ends are reached before a range is begun, also by a job that only reads.
    """

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
            postgres = connect(config.postgres_url, config.application_name, config.answer_timeout, config.home)
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
