"""The coordinator's pool of connections, for counts and index builds."""

from __future__ import annotations

import time
from typing import Any, Self

from psycopg_pool import ConnectionPool, PoolTimeout

from vestige_migrate.destination.connection.connect import connection_string, prepare_session, watch
from vestige_migrate.destination.connection.server_identity import WrongServer, settle
from vestige_migrate.destination.connection.watched_connection import WatchedConnection
from vestige_migrate.plan import SqliteToPostgresPlan
from vestige_migrate.prepare.session import MainSession

_TIMEOUT_SECONDS = 30.0
_GLANCE_SECONDS = 0.5


class CoordinatorPool(ConnectionPool[WatchedConnection]):
    """Connections to where the main session is, also after that has moved. Not open yet."""

    def __init__(self, session: MainSession, name: str, plan: SqliteToPostgresPlan) -> None:
        self._elsewhere: WrongServer | None = None

        class AtHome(WatchedConnection):
            @classmethod
            def connect(cls, conninfo: str = "", **more: Any) -> Self:
                """To where the session is now; `conninfo` is not asked."""
                string = connection_string(session.home.url, name)
                connect = super().connect
                try:
                    return settle(lambda: connect(string, **more), session.home.server)
                except WrongServer as error:
                    self._elsewhere = error
                    raise

        def configure(connection: WatchedConnection) -> None:
            prepare_session(connection, session.home.target)
            watch(connection, session.home, session.home.url, name, plan.answer_timeout)
            connection.long_statements = True  # index builds, whose progress is shown

        super().__init__(
            min_size=0,
            max_size=plan.max_connections,
            timeout=_TIMEOUT_SECONDS,
            configure=configure,
            check=ConnectionPool.check_connection,
            connection_class=AtHome,
            kwargs={"autocommit": True},
            name="coordinator",
            open=False,
        )

    def getconn(self, timeout: float | None = None) -> WatchedConnection:
        """psycopg's own. Raises `WrongServer` soon where that is why none comes: the session may have to move first."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        self._elsewhere = None
        while True:
            left = deadline - time.monotonic()
            try:
                return super().getconn(min(left, _GLANCE_SECONDS))
            except PoolTimeout:
                if self._elsewhere is not None:
                    raise self._elsewhere from None
                if left <= _GLANCE_SECONDS:
                    raise
