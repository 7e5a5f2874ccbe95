"""The coordinator's own session: it holds the run's lock, and takes it again where the server went away."""

from __future__ import annotations

import time
from contextlib import suppress

import psycopg
from loguru import logger

from vestige_migrate.destination.connection.connect import connect, watch
from vestige_migrate.destination.connection.faults import is_transient
from vestige_migrate.destination.connection.first_connection import open_first_session
from vestige_migrate.destination.connection.reconnect import PATIENCE_SECONDS, ServerAway, connect_patiently
from vestige_migrate.destination.connection.server_identity import Home, check_successor, identify, pin
from vestige_migrate.destination.connection.watched_connection import WatchedConnection, brisk
from vestige_migrate.destination.schema import schema
from vestige_migrate.destination.schema.schema import LockHolder
from vestige_migrate.errors import DestinationBusy, Stopped

_LOCK_PAUSE_SECONDS = 1.0
_TERMINATE_MS = 5000
_END_SECONDS = 5.0
_END_PAUSE_SECONDS = 0.1


class MainSession:
    """One connection at a time. Raises `DestinationUnusable` where the server cannot be reached at first.

    `home` is where it is, and where every other session of the run has to be. It moves when this one does: to the
    server that took the place of a lost one. Its target is `schema`, or else what the session's own search_path says.
    """

    def __init__(self, url: str, run_name: str, answer_timeout: float, schema: str | None = None) -> None:
        self._url = url
        self._run_name = run_name
        self._name = f"{run_name} coordinator"
        self._answer_timeout = answer_timeout
        self.connection = open_first_session(url, self._name, answer_timeout, schema)
        assert self.connection.home is not None
        self.home: Home = self.connection.home

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
        lost = self.connection.server_pid
        self.connection.close()
        try:
            self.connection = connect_patiently(self._connect_again, logger.warning)
        except ServerAway as error:
            raise Stopped(f"the destination is away: {error}. What was committed stays; run again to resume") from None
        self.end_sessions()
        self._take_lock_again(lost)

    def _connect_again(self) -> WatchedConnection:
        """Where it was, while anything is there; else wherever the URL leads now, as after a failover."""
        try:
            return self._connect(self.home.url)
        except psycopg.Error as error:
            if not is_transient(error):
                raise
        return self._connect(self._url)

    def _connect(self, url: str) -> WatchedConnection:
        connection = connect(url, self._name, self._answer_timeout, target=self.home.target)
        try:
            found = identify(connection)
            check_successor(found, self.home.server)
            home = Home(pin(url, connection), found, self.home.target)
            watch(connection, home, url, self._name, self._answer_timeout)
        except BaseException:
            connection.close()
            raise
        if found.place != self.home.server.place:
            logger.warning("the run goes on at {}, which took the place of {}", found, self.home.server)
        self.home = home
        return connection

    def _take_lock_again(self, lost: int | None) -> None:
        started = time.monotonic()
        said = False
        while True:
            try:
                return schema.take_lock(self.connection)
            except DestinationBusy:
                # Perhaps only the session that we lost: the server may not have noticed yet.
                ours = self._own_holder(lost)
                if time.monotonic() - started > PATIENCE_SECONDS:
                    raise Stopped(_stands_still(ours) if ours is not None else self._taken()) from None
            if ours is not None and not said:
                said = True
                logger.warning(
                    "the lock of this run is still held by its own lost session, {}, which was told to end: waiting",
                    ours,
                )
            time.sleep(_LOCK_PAUSE_SECONDS)

    def _own_holder(self, lost: int | None) -> LockHolder | None:
        """The session that we lost, where it is the one that has the lock."""
        for holder in schema.lock_holders(self.connection):
            if holder.pid == lost or holder.application_name == self._name:
                return holder
        return None

    def _taken(self) -> str:
        holders = "; ".join(map(str, schema.lock_holders(self.connection)))
        return (
            "another run of vestige-migrate began while this one had lost the destination"
            f"{f' ({holders})' if holders else ''}: let it end, then run again"
        )

    def end(self, server_pid: int | None) -> None:
        """Ends the session of a worker that died: the next try would wait for its locks until the server sees it."""
        with suppress(psycopg.Error):
            self.connection.execute(
                "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity WHERE pid = %s AND application_name = %s",
                (_TERMINATE_MS, server_pid, f"{self._run_name} worker"),
            )

    def end_sessions(self) -> None:
        """Ends what other sessions of this run the server still has; it would notice only at their next write.

        Waits some seconds for them. Raises psycopg.Error where that cannot be asked for.
        """
        deadline = time.monotonic() + _END_SECONDS
        with brisk(self.connection):
            # All at once, and then the wait: a process that stands still does not keep the others from ending.
            while self._tell_to_end() and time.monotonic() < deadline:
                time.sleep(_END_PAUSE_SECONDS)

    def _tell_to_end(self) -> int:
        """Tells the other sessions of this run to end; how many there are."""
        return self.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND application_name LIKE %s",
            (f"{self._run_name} %",),
        ).rowcount

    def close(self) -> None:
        """Lets go of the lock, then of the connection."""
        try:
            schema.release_lock(self.connection)
        finally:
            self.connection.close()


def _stands_still(holder: LockHolder) -> str:
    return (
        f"the lock of this run is held by its own lost session, {holder}, which does not end though it was told to: "
        "that process of the server stands still (stopped, or its disk hangs). Let it go on (kill -CONT), or end it "
        "on the server, then run again to resume; what was committed stays"
    )
