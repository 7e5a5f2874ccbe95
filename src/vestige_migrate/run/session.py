"""The coordinator's own session: it holds the run's lock, and takes it again where the server went away."""

from __future__ import annotations

import time
from contextlib import suppress

import psycopg
from loguru import logger

from vestige_migrate.destination import schema
from vestige_migrate.destination.connect import connect
from vestige_migrate.destination.reach import reach
from vestige_migrate.destination.watched import WatchedConnection
from vestige_migrate.errors import DestinationBusy, Stopped
from vestige_migrate.run.patience import PATIENCE_SECONDS, ServerAway, connect_patiently

_LOCK_PAUSE_SECONDS = 1.0
_TERMINATE_MS = 5000


class MainSession:
    """One connection at a time. Raises `DestinationUnusable` where the server cannot be reached at first."""

    def __init__(self, url: str, run_name: str, silence_seconds: float) -> None:
        self._url = url
        self._run_name = run_name
        self._silence_seconds = silence_seconds
        self.connection = reach(url, f"{run_name} coordinator", silence_seconds)

    def _connect(self) -> WatchedConnection:
        return connect(self._url, f"{self._run_name} coordinator", self._silence_seconds)

    def fileno(self) -> int:
        """The socket: readable when the server says something unasked, such as that it ends the session."""
        return self.connection.fileno()

    def check(self) -> None:
        """Raises psycopg.OperationalError where the session is lost, and the lock with it."""
        self.connection.execute("SELECT 1")

    def recover(self) -> None:
        """A new session with the lock of the run. Its workers are gone by now, and their sessions are ended here.

        Raises `Stopped` where the server stays away, or another run has the lock.
        """
        self.connection.close()
        try:
            self.connection = connect_patiently(self._connect, logger.warning)
        except ServerAway as error:
            raise Stopped(f"the destination is away: {error}. What was committed stays; run again to resume") from None
        self.end_sessions()
        self._take_lock_again()

    def _take_lock_again(self) -> None:
        started = time.monotonic()
        while True:
            try:
                return schema.take_lock(self.connection)
            except DestinationBusy:
                # Perhaps only the session that we lost: the server may not have noticed yet.
                if time.monotonic() - started > PATIENCE_SECONDS:
                    raise Stopped(
                        "another run of vestige-migrate began while this one had lost the destination: let it end, "
                        "then run again"
                    ) from None
            time.sleep(_LOCK_PAUSE_SECONDS)

    def end(self, server_pid: int | None) -> None:
        """Ends the session of a worker that died: the next try would wait for its locks until the server sees it."""
        with suppress(psycopg.Error):
            self.connection.execute(
                "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity WHERE pid = %s AND application_name = %s",
                (_TERMINATE_MS, server_pid, f"{self._run_name} worker"),
            )

    def end_sessions(self) -> None:
        """Ends what other sessions of this run the server still has; it would notice only at their next write.

        Raises psycopg.Error where that cannot be asked for.
        """
        self.connection.execute(
            "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND application_name LIKE %s",
            (_TERMINATE_MS, f"{self._run_name} %"),
        )

    def close(self) -> None:
        """Lets go of the lock, then of the connection."""
        try:
            schema.release_lock(self.connection)
        finally:
            self.connection.close()
