"""PgBouncer, the real one: sessions of one's own are used, shared ones refused before anything is done to them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.conftest import Copier
from tests.support.own_server import server_user
from tests.support.running import wait_until
from tests.support.verifying import Verifier
from vestige_migrate import DestinationUnusable

pytestmark = pytest.mark.pgbouncer


@contextmanager
def pgbouncer(url: str, mode: str) -> Iterator[str]:
    """PgBouncer in front of the server; the URL of the same database through it."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    assert program is not None, "pgbouncer is not installed: apt-get install pgbouncer"
    parameters = conninfo_to_dict(url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="vestige-pgbouncer-", dir="/tmp") as folder:
        config = Path(folder) / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host={parameters['host']} port={parameters.get('port', 5432)} user=postgres\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\npool_mode = {mode}\n"
            "unix_socket_dir =\n"
        )
        Path(folder).chmod(0o755)
        process = subprocess.Popen(
            [program, config], user=server_user(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        through = make_conninfo(url, host="127.0.0.1", port=port)
        try:
            wait_until(lambda: process.poll() is not None or answers(port), "PgBouncer to listen")
            assert process.poll() is None, "PgBouncer ended"
            yield through
        finally:
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_shared_sessions_are_refused_and_stay_as_they_were(source: Path, database: str, mode: str) -> None:
    with pgbouncer(database, mode) as url, psycopg.connect(url, autocommit=True, prepare_threshold=None) as another:
        settings = "SELECT current_setting('statement_timeout'), current_setting('client_connection_check_interval')"
        another.execute("SET statement_timeout = '77s'")
        before = another.execute(settings).fetchone()
        for refuse in (Copier(url), Verifier(url)):
            with pytest.raises(DestinationUnusable, match=r"pool_mode transaction or statement.* port 5432") as refused:
                refuse(source)
            assert refused.value.exit_code == 3
        assert another.execute(settings).fetchone() == before
        assert another.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)
        assert another.execute("SELECT to_regclass('knowledge_nodes')").fetchone() == (None,)
        with pytest.raises(DestinationUnusable, match=r"startup parameter.*give the URL of PostgreSQL itself"):
            Copier(make_conninfo(url, options="-c search_path=public"))(source)
    assert Copier(database)(source).memories_copied == 40


def test_sessions_of_their_own_are_used(source: Path, database: str) -> None:
    with pgbouncer(database, "session") as url:
        first = Copier(url)(source, verify=True)
        assert (first.memories_copied, first.exit_code) == (40, 0)
        assert Copier(url)(source).tables["knowledge_nodes"].skipped == 40
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)
