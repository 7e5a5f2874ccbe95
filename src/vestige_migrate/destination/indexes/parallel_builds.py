"""Index builds that run side by side, are watched, and end when the run is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg_pool import ConnectionPool

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.watched_connection import WatchedConnection

Build = Callable[[Connection], None]

_WATCH_SECONDS = 0.5
_CANCEL_SECONDS = 5.0
_LOADING = "loading tuples"


@dataclass(frozen=True)
class BuildProgress:
    """What the server says of a build: its phase (`loading tuples`), and rows done."""

    phase: str
    done: int

    def describe(self, total: int) -> str:
        """The phase, with the percent of `total` rows while rows are loaded."""
        if self.phase != _LOADING:
            return self.phase
        # pgvector has no phase of its own for what comes after the last row: the graph goes to its file and the log.
        return f"{_LOADING} {100 * self.done // total}%" if self.done < total else "writing the graph"


def run_builds(pool: ConnectionPool[WatchedConnection], builds: Sequence[Build], watch: Callable[[int], None]) -> None:
    """Runs the builds, as many at a time as the pool has connections; returns when all are done.

    `watch` is called in this thread every half second, and after each build, with the number of builds done. The
    first failure is raised; then, as on Ctrl-C, the others are cancelled at the server rather than waited for.
    """
    active: set[Connection] = set()

    def run(build: Build) -> None:
        with pool.connection() as connection:
            active.add(connection)
            try:
                build(connection)
            finally:
                active.discard(connection)

    with ThreadPoolExecutor(max_workers=pool.max_size, thread_name_prefix="index") as threads:
        running = [threads.submit(run, build) for build in builds]
        try:
            while _finished(running) < len(running):
                wait([future for future in running if not future.done()], _WATCH_SECONDS, "FIRST_COMPLETED")
                watch(_finished(running))
        except BaseException:
            for future in running:
                future.cancel()
            while not all(future.done() for future in running):
                for connection in tuple(active):
                    with suppress(psycopg.Error):
                        connection.cancel_safe(timeout=_CANCEL_SECONDS)
                wait(running, _WATCH_SECONDS)
            raise


def _finished(running: Sequence[Future[None]]) -> int:
    """How many are done; raises the first failure."""
    done = [future for future in running if future.done()]
    for future in done:
        future.result()
    return len(done)


def build_progress(connection: Connection, index: str) -> BuildProgress | None:
    """The server's own account of the build of this index; None where it is not being built.

    https://www.postgresql.org/docs/current/progress-reporting.html#CREATE-INDEX-PROGRESS-REPORTING
    """
    row = connection.execute(
        "SELECT CASE WHEN a.wait_event_type = 'Lock' THEN 'waiting for a lock'"
        "   ELSE COALESCE(regexp_replace(p.phase, '^building index: ', ''), 'initializing') END,"
        " COALESCE(p.tuples_done, 0)"
        " FROM pg_stat_activity AS a LEFT JOIN pg_stat_progress_create_index AS p USING (pid)"
        " WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND a.state = 'active'"
        " AND a.query ILIKE 'CREATE INDEX%%' AND position(%s IN a.query) > 0",
        (index,),
    ).fetchone()
    return BuildProgress(*row) if row else None
