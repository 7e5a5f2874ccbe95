"""Starting the bundled server, or finding the one that runs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from loguru import logger
from psycopg import sql

from vestige_migrate.destination.embedded import access, identity, sockets
from vestige_migrate.destination.embedded.account import (
    Account,
    as_account,
    caller,
    check_system,
    server_account,
)
from vestige_migrate.destination.embedded.address import (
    DATABASE,
    MAINTENANCE,
    PORT,
    EmbeddedServer,
    psql_command,
    url_of,
)
from vestige_migrate.destination.embedded.files import open_own
from vestige_migrate.destination.embedded.lock import one_at_a_time, take_alive
from vestige_migrate.destination.embedded.place import (
    Content,
    Place,
    clear,
    find_place,
    link,
    make_place,
    settle,
    unmake,
)
from vestige_migrate.destination.embedded.programs import bundled, environment, programs_for
from vestige_migrate.destination.embedded.stop import end, is_guarded, status
from vestige_migrate.errors import DestinationUnusable
from vestige_migrate.paths import shown

LOG = "log"
_LIMIT_SECONDS = 600.0
"""A server that was killed goes through its whole log first; up to 4 GB of it, on a slow disk."""
_SAY_EVERY_SECONDS = 15.0
_PAUSE = 0.02
_LOG_BYTES = 65_536


def check(directory: Path) -> Place:
    """Raises `DestinationUnusable` where no server can be on this directory; makes and changes nothing."""
    check_system()
    bundled()
    return find_place(directory)


def has_data(directory: Path) -> bool:
    """Whether a server's data is there. Raises what `check` raises."""
    return check(directory).content is Content.DATA


def look(directory: Path) -> EmbeddedServer | None:
    """The server that runs on `directory`; None where there is no data yet. Starts and makes nothing.

    Raises `DestinationUnusable` where there is data and no server, with the command that starts it.
    """
    place = check(directory)
    if place.content is not Content.DATA:
        return None
    running = status(directory)
    if running is None:
        import shlex

        raise DestinationUnusable(
            f"the bundled PostgreSQL on {place.name} does not run, and nothing is started here: start it with\n"
            f"  vestige-migrate server start {shlex.quote(shown(directory))}\nand run again"
        )
    return running


def start(directory: Path) -> EmbeddedServer:
    """Starts the server on `directory` (made where missing) unless it runs already, and leaves it running.

    Everything is judged before anything is made. Raises `DestinationUnusable`, and leaves no server behind then.
    """
    place = check(directory)
    with _in_words(place):
        account, starter = server_account(), caller()
        programs = programs_for(account)
        place = settle(place, account)
        made = make_place(place, account)
        try:
            with one_at_a_time(place.data, account):
                return _start(place, programs, account, starter)
        except BaseException:
            if made:
                unmake(place)
            raise


@contextmanager
def _in_words(place: Place) -> Iterator[None]:
    try:
        yield
    except (OSError, subprocess.SubprocessError, psycopg.Error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, OSError) and error.strerror:
            reason = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        raise DestinationUnusable(
            f"the bundled PostgreSQL could not be started on {place.name}: {reason}{_log_of(place.data)}"
        ) from None


def _log_of(data: Path) -> str:
    with suppress(OSError):
        if (data / LOG).is_file():
            return f". Its log is {data / LOG}"
    return ""


def _start(place: Place, programs: Path, account: Account, starter: Account) -> EmbeddedServer:
    data = place.data
    running = identity.find_server(data)
    if running is not None and not is_guarded(data, running, account):
        logger.warning("the server on {} runs with an earlier version's settings: it is started again", data)
        end(data, running)
        running = None
    started = running is None
    if running is None:
        if not (data / "PG_VERSION").exists():
            clear(place)
            _make(place, programs, account)
        link(place)
        running = _launch(data, programs, account, starter)
    else:
        link(place)
        if not running.ready:
            running = _until_ready(data, running.pid, None)
    assert running.sockets is not None
    try:
        _ensure_database(running.sockets, running.port)
    except BaseException:
        if started:
            end(data, running)
        raise
    url = url_of(running.sockets, running.port)
    return EmbeddedServer(place.asked, url, psql_command(bundled(), url), started)


def _make(place: Place, programs: Path, account: Account) -> None:
    # Here: most starts find their data.
    from vestige_migrate.destination.embedded.make import make_data

    try:
        make_data(place.data, programs, account)
    except BaseException:
        with suppress(OSError):
            clear(place)
        raise


def _launch(data: Path, programs: Path, account: Account, starter: Account) -> identity.Running:
    """Starts the server and waits until it takes connections. Raises `DestinationUnusable` with what its log says."""
    alive = take_alive(data, account)
    if alive is None:
        raise DestinationUnusable(
            f"a server on {data} is still ending, or runs where it cannot be seen: wait, or stop it, and run again"
        )
    log = open_own(data / LOG, os.O_WRONLY | os.O_APPEND, account)
    try:
        identity.sign(data, account)
        folder = sockets.choose(data, account)
        guards = access.guard(data, folder, account, starter)
        # It was proved that no server has them: PostgreSQL itself would believe the number where a process has it, and
        # where a container's first process never asks for its dead children.
        (data / identity.PID_FILE).unlink(missing_ok=True)
        (folder / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)
        begin = os.fstat(log).st_size
        # The shell ends at once and leaves the server behind in a session of its own, as pg_ctl does; no path goes
        # through its grammar. stdout is a pipe for the number only.
        done = subprocess.run(
            ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", programs / "postgres", "-D", data, *guards],
            cwd="/", check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            pass_fds=(alive,), env=environment(), **as_account(account),
        )  # fmt: skip
    finally:
        os.close(log)
        os.close(alive)
    pid = int(done.stdout)
    try:
        return _until_ready(data, pid, begin)
    except BaseException:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGQUIT)
        sockets.release(folder, data)
        raise


def _until_ready(data: Path, pid: int, log_from: int | None) -> identity.Running:
    """Waits while the process lives. `log_from` is where its lines in the log begin."""
    started = said = time.monotonic()
    while True:
        file = identity.read_pid_file(data)
        if file is not None and file.pid == pid and file.ready:
            return identity.Running(pid, file.sockets or sockets.remembered(data), file.port or 0, True)
        if not identity.lives(pid):
            raise DestinationUnusable(
                f"the bundled PostgreSQL on {data} ended as it started: {_last_words(data, log_from)}{_log_of(data)}"
            )
        now = time.monotonic()
        if now - started > _LIMIT_SECONDS:
            raise DestinationUnusable(
                f"the bundled PostgreSQL on {data} was not ready after {_LIMIT_SECONDS:.0f} s: "
                f"{_last_words(data, log_from)}{_log_of(data)}"
            )
        if now - said > _SAY_EVERY_SECONDS:
            said = now
            logger.info("the bundled PostgreSQL is starting: {}", _last_words(data, log_from))
        time.sleep(_PAUSE)


def _last_words(data: Path, log_from: int | None) -> str:
    """The line of the log that says why: the last FATAL or PANIC, else the last one."""
    try:
        with (data / LOG).open("rb") as file:
            file.seek(max(log_from or 0, os.fstat(file.fileno()).st_size - _LOG_BYTES))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    for line in reversed(lines):
        for level in ("FATAL:", "PANIC:"):
            if level in line:
                return line.partition(level)[2].strip()
    return lines[-1] if lines else "its log says nothing"


def _ensure_database(folder: Path, port: int) -> None:
    with psycopg.connect(url_of(folder, port, MAINTENANCE), autocommit=True) as connection:
        exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
        if not exists:
            with suppress(psycopg.errors.DuplicateDatabase):
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
