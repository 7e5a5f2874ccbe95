"""Stopping the bundled server, and saying whether it runs."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psycopg
from loguru import logger

from vestige_migrate.destination.embedded import access, identity, sockets
from vestige_migrate.destination.embedded.account import Account, check_system, known_server_account
from vestige_migrate.destination.embedded.address import EmbeddedServer, psql_command, url_of
from vestige_migrate.destination.embedded.lock import one_at_a_time
from vestige_migrate.destination.embedded.place import Content, Place, find_place
from vestige_migrate.destination.embedded.programs import bundled
from vestige_migrate.errors import DestinationUnusable

_LIMIT_SECONDS = 300.0
"""The last checkpoint writes out everything that is still in memory."""
_SAY_EVERY_SECONDS = 15.0
_OURS_GONE_SECONDS = 2.0
_PAUSE = 0.02


def status(directory: Path) -> EmbeddedServer | None:
    """The server that runs on `directory`, or None. Makes and changes nothing.

    Raises `DestinationUnusable` where it belongs to another account, or cannot be told.
    """
    place = _place(directory)
    running = identity.find_server(place.data) if place is not None else None
    if place is None or running is None:
        return None
    if running.sockets is None:
        raise DestinationUnusable(
            f"a server runs on {place.name} (process {running.pid}) whose {identity.PID_FILE} does not name its "
            "socket: stop it and start it again"
        )
    account = known_server_account()
    if account is not None and not is_guarded(place.data, running, account):
        logger.warning(
            "the server on {} runs with an earlier version's settings, and every account of this host may get in: "
            "vestige-migrate server start on it puts that right",
            place.name,
        )
    url = url_of(running.sockets, running.port)
    return EmbeddedServer(place.asked, url, psql_command(bundled(), url))


def is_guarded(data: Path, running: identity.Running, account: Account) -> bool:
    """Whether nobody but its owners can connect to it."""
    folder = running.sockets
    return folder is not None and sockets.is_safe(folder, account) and access.is_ours(data)


def stop(directory: Path) -> bool:
    """Stops the server on `directory`; False where none runs. Only a process that is proved to be it is ended."""
    place = _place(directory)
    if place is None or identity.find_server(place.data) is None:
        return False
    account = known_server_account()
    assert account is not None, "data without the account that owns it"
    with one_at_a_time(place.data, account):
        running = identity.find_server(place.data)
        if running is None:
            return False
        end(place.data, running)
    return True


def stop_unused(server: EmbeddedServer) -> bool:
    """Stops a server that was started in vain, unless somebody else has connected meanwhile."""
    deadline = time.monotonic() + _OURS_GONE_SECONDS
    while _others(server.url):  # our own sessions end a moment after their connections
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return stop(server.data_directory)


def _others(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone()
    return row[0] if row else 0


def _place(directory: Path) -> Place | None:
    check_system()
    bundled()
    place = find_place(directory)
    return place if place.content is Content.DATA else None


def end(data: Path, running: identity.Running) -> None:
    """Stops a proved server in the mode `fast`: sessions are ended, everything is written out."""
    import psutil

    try:
        process = psutil.Process(running.pid)
        process.send_signal(signal.SIGINT)
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied:
        raise DestinationUnusable(
            f"the server on {data} (process {running.pid}) may not be stopped by this account: stop it as the one that "
            "started it"
        ) from None
    started = said = time.monotonic()
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        now = time.monotonic()
        if now - started > _LIMIT_SECONDS:
            raise DestinationUnusable(
                f"the server on {data} (process {running.pid}) is still stopping after {_LIMIT_SECONDS:.0f} s: its "
                f"log, {data / 'log'}, says what it does"
            )
        if now - said > _SAY_EVERY_SECONDS:
            said = now
            logger.info("the bundled PostgreSQL is writing out what it has in memory, and stops then")
        time.sleep(_PAUSE)
    if running.sockets is not None:
        sockets.release(running.sockets, data)
