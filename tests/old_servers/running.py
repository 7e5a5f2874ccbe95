"""A server of given programs on a Unix socket, run by an account that is not root."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg.conninfo import make_conninfo

from vestige_migrate.destination.embedded.account import as_account, server_account
from vestige_migrate.destination.embedded.programs import environment

_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "fsync": "off",  # nothing on it has to outlive the machine
    "full_page_writes": "off",
    "max_connections": "100",
    "log_destination": "stderr",
}


@contextmanager
def running(root: Path, folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Makes a cluster in `folder` with the programs of `root`/bin, starts it, and stops it in the end.

    Yields the conninfo of its maintenance database as its superuser. The folder has to be one that others may pass.
    """
    account = server_account()
    data, log = folder / "data", folder / "log"
    for made in (data, log):
        made.mkdir(mode=0o700)
        shutil.chown(made, account.uid, account.gid)

    def run(program: str, *words: str | Path) -> None:
        who: dict[str, Any] = as_account(account)
        command = [root / "bin" / program, *words]
        # To files: a server keeps the streams that it was started with.
        with (folder / f"{program}.txt").open("w+") as said:
            done = subprocess.run(command, stdout=said, stderr=said, env=environment(), cwd="/", check=False, **who)
            said.seek(0)
            assert done.returncode == 0, f"{program} failed: {said.read()}"

    run("initdb", "-D", data, "-U", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
    every = _SETTINGS | {"unix_socket_directories": str(data)} | dict(settings or {})
    with (data / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in every.items())
    run("pg_ctl", "-D", data, "-l", log / "server.log", "-w", "-t", "60", "start")
    try:
        # With the port: where libpq chooses one, it is said, in one line more than the tests expect.
        yield make_conninfo(host=str(data), port=every["port"], user="postgres", dbname="postgres")
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
