"""Connections over TLS, to a server that speaks it itself.

The bundled one was built without: `test_destination_server` has a TLS server in front of it.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import trustme
from psycopg.conninfo import make_conninfo

from tests.conftest import CommandLine
from tests.old_servers.debian import with_tls
from tests.old_servers.running import running
from tests.support.compare import assert_same
from tests.support.server_folder import server_folder
from tests.support.sources import SourceSpec, build_source
from vestige_migrate.destination.embedded.account import server_account

pytestmark = [pytest.mark.tls, pytest.mark.in_process]

PASSWORD = "QXZJ-secret"
ROLE, BY_CERTIFICATE = "copier", "certified"
SPEC = SourceSpec(memories=60, schedules=60)
RULES = f"""
local   all all trust
hostssl all {BY_CERTIFICATE} all cert
hostssl all all all scram-sha-256
"""


@dataclass(frozen=True)
class TlsServer:
    """It listens on a port of localhost; `local` is its maintenance database's superuser on the socket."""

    local: str
    port: int
    files: Path
    """`own.pem`, `other.pem`: the CA that signed its certificate, and one that did not; `client.pem`, `client.key`."""

    def url(self, role: str = ROLE, **parameters: str) -> str:
        """Of a database that both roles own; certificate and name are checked unless the parameters say otherwise."""
        checked = {"host": "localhost", "sslmode": "verify-full", "sslrootcert": str(self.files / "own.pem")}
        return make_conninfo("", port=self.port, dbname="memory", user=role, **{**checked, **parameters})

    @property
    def memory(self) -> str:
        """That database as the superuser."""
        return make_conninfo(self.local, dbname="memory")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    with server_folder() as folder, tempfile.TemporaryDirectory(prefix="vestige-test-") as programs:
        Path(programs).chmod(0o711)
        files = tmp_path_factory.mktemp("certificates")
        own, other = trustme.CA(), trustme.CA()
        own.cert_pem.write_to_path(files / "own.pem")
        other.cert_pem.write_to_path(files / "other.pem")
        client = own.issue_cert(common_name=BY_CERTIFICATE)
        client.cert_chain_pems[0].write_to_path(files / "client.pem")
        client.private_key_pem.write_to_path(files / "client.key")
        (files / "client.key").chmod(0o600)
        certificate = own.issue_cert("localhost")
        certificate.cert_chain_pems[0].write_to_path(folder / "server.pem")
        certificate.private_key_pem.write_to_path(folder / "server.key")
        own.cert_pem.write_to_path(folder / "ca.pem")
        (folder / "rules").write_text(RULES)
        account = server_account()
        for file in folder.iterdir():
            shutil.chown(file, account.uid, account.gid)
            file.chmod(0o600)
        with closing(socket.create_server(("localhost", 0))) as free:
            port = int(free.getsockname()[1])
        settings = {
            "listen_addresses": "localhost", "port": str(port), "hba_file": str(folder / "rules"), "ssl": "on",
            "ssl_cert_file": str(folder / "server.pem"), "ssl_key_file": str(folder / "server.key"),
            "ssl_ca_file": str(folder / "ca.pem"),
        }  # fmt: skip
        with running(with_tls(Path(programs)), folder, settings) as url:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
                connection.execute(f"CREATE ROLE {BY_CERTIFICATE} LOGIN IN ROLE {ROLE}")
                connection.execute(f"CREATE DATABASE memory OWNER {ROLE}")
            made = TlsServer(url, port, files)
            with psycopg.connect(made.memory) as connection:
                connection.execute("CREATE EXTENSION vector")
            yield made


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_source(tmp_path_factory.mktemp("source") / "vestige.db", SPEC)


def test_a_copy_is_made_over_tls_with_everything_checked(
    server: TlsServer, source: Path, command: CommandLine, process: CommandLine
) -> None:
    """The server takes no connection without TLS; the password is bound to the channel."""
    by_password = server.url(password=PASSWORD, channel_binding="require")
    by_certificate = server.url(
        BY_CERTIFICATE, sslcert=str(server.files / "client.pem"), sslkey=str(server.files / "client.key")
    )
    said = []
    for run, verb, url in (
        (process, "copy", by_password),
        (command, "copy", by_certificate),
        (command, "verify", by_password),
    ):
        done = run(verb, "--sqlite-path", source, "--postgres-url", url, "--workers", "2", "--debug")
        assert done.returncode == 0, done.stderr
        said.append(done.stdout + done.stderr)
    assert_same(source, server.memory)
    assert PASSWORD not in "".join(said)


REFUSED = [
    ({"sslrootcert": "other.pem"}, "certificate verify failed"),
    ({"sslrootcert": "none.pem"}, "sslrootcert (or PGSSLROOTCERT)"),
    ({"host": "127.0.0.1"}, 'does not match host name "127.0.0.1"'),
    ({"sslmode": "disable"}, "no encryption"),
    ({"user": BY_CERTIFICATE}, "certificate in sslcert"),
    ({"user": BY_CERTIFICATE, "sslcert": "client.pem", "sslkey": "none.key"}, "its key in sslkey"),
    (
        {"user": BY_CERTIFICATE, "sslcert": "client.pem", "sslkey": "client.key", "channel_binding": "require"},
        "channel",
    ),
    ({"password": f"{PASSWORD}x"}, "password authentication failed"),
]


def test_what_is_not_as_asked_is_refused_by_name(server: TlsServer, source: Path, command: CommandLine) -> None:
    for parameters, words in REFUSED:
        given = {
            name: str(server.files / value) if name in ("sslrootcert", "sslcert", "sslkey") else value
            for name, value in parameters.items()
        }
        url = server.url(given.pop("user", ROLE), **{"password": PASSWORD, **given})
        for more in ((), ("--dry-run",)):
            done = command("copy", "--sqlite-path", source, "--postgres-url", url, *more)
            assert done.returncode == 3, done.stderr
            assert words in done.stderr
            assert PASSWORD not in done.stderr
