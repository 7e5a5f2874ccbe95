"""A URL that leads to several servers: all rows of a run are on one of them, or the run says why it cannot go on."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same, counts
from tests.support.own_server import OwnServer, fresh_server, server_user
from tests.support.routing_proxy import routing_proxy
from tests.support.running import RunningCopy, blocked_sessions, wait_until
from tests.support.sources import SourceSpec, build_source
from tests.support.verifying import Verifier
from vestige_migrate import DestinationUnusable
from vestige_migrate.destination import embedded

SPEC = SourceSpec(memories=200, schedules=200, edges=20, events=20)
EMPTY = SourceSpec(memories=0, schedules=0, edges=0, events=0)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[OwnServer, OwnServer]]:
    with fresh_server() as first, fresh_server() as second:
        yield first, second


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_source(tmp_path_factory.mktemp("source") / "vestige.db", SPEC)


@pytest.fixture
def urls(servers: tuple[OwnServer, OwnServer]) -> Iterator[tuple[str, str]]:
    """A database of the same name on both servers."""
    name = f"test_{uuid4().hex[:12]}"
    for server in servers:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    made = make_conninfo(servers[0].url, dbname=name), make_conninfo(servers[1].url, dbname=name)
    yield made
    for server, url in zip(servers, made, strict=True):
        server.drop(url)


def both(urls: tuple[str, str], **more: str) -> str:
    """One URL with both servers."""
    given = [conninfo_to_dict(url) for url in urls]
    places = {name: ",".join(str(item.get(name, default)) for item in given) for name, default in PLACE.items()}
    return make_conninfo(urls[0], **places, **more)


PLACE = {"host": "", "port": "5432"}


def tables(url: str) -> int:
    """How many tables the database has."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert row is not None
    return int(row[0])


def test_two_hosts_that_are_balanced_get_all_rows_on_one_of_them(urls: tuple[str, str], source: Path) -> None:
    report = Copier(both(urls, load_balance_hosts="random"))(source, workers=4, verify=True, indexes="now")
    assert report.exit_code == 0
    (filled,) = [url for url in urls if tables(url)]
    assert_same(source, filled)


def test_a_balancer_that_takes_turns_is_asked_until_it_leads_to_the_first_server(
    servers: tuple[OwnServer, OwnServer], urls: tuple[str, str], source: Path
) -> None:
    with routing_proxy(lambda number: servers[number % 2].socket_path) as proxy:
        through = make_conninfo(urls[0], host="127.0.0.1", port=proxy.port)
        Copier(through)(source, verify=True, indexes="now")
        assert {server.socket_path for server in servers} == set(proxy.routed)
    assert_same(source, urls[0])
    assert tables(urls[1]) == 0


@contextmanager
def copy_of(server: OwnServer, *, standby: bool) -> Iterator[OwnServer]:
    """Another server with a copy of this one's data, and its system identifier."""
    folder = server.data.parent / f"copy-{uuid4().hex[:8]}"
    folder.mkdir(mode=0o700)
    if (user := server_user()) is not None:
        shutil.chown(folder, user)
    streams = ("-R",) if standby else ()
    server.run("pg_basebackup", "-D", folder, *streams, "-c", "fast", "-X", "stream", "-d", server.url)
    for ours in (".s.PGSQL.5432.lock", ".handle_pids.json"):  # of the running server, whose socket is in its folder
        (folder / ours).unlink(missing_ok=True)
    started = embedded.start(folder)
    try:
        yield OwnServer(folder, make_conninfo(started.url, dbname="postgres"))
    finally:
        embedded.stop(folder)


def test_a_second_session_on_another_server_is_refused_before_anything_is_written(
    servers: tuple[OwnServer, OwnServer], urls: tuple[str, str], source: Path
) -> None:
    """The other one is a stranger, or has a copy of the same data and the same system identifier."""
    name = str(conninfo_to_dict(urls[0])["dbname"])
    with copy_of(servers[0], standby=False) as twin:
        for other in (servers[1], twin):
            sockets = servers[0].socket_path, other.socket_path
            with routing_proxy(lambda number, at=sockets: at[min(number, 1)]) as proxy:  # type: ignore[misc]
                through = make_conninfo(urls[0], host="127.0.0.1", port=proxy.port)
                for dry_run in (True, False):
                    proxy.routed.clear()
                    with pytest.raises(DestinationUnusable, match="Nothing was written") as refused:
                        Copier(through)(source, dry_run=dry_run)
                    assert refused.value.exit_code == 3
                    assert f"127.0.0.1:{proxy.port}" in str(refused.value)
            for url in (urls[0], make_conninfo(other.url, dbname=name)):
                assert tables(url) == 0
    Copier(urls[0])(source)
    with routing_proxy(lambda number: servers[min(number, 1)].socket_path) as proxy:
        through = make_conninfo(urls[0], host="127.0.0.1", port=proxy.port)
        with pytest.raises(DestinationUnusable, match="two servers or databases"):
            Verifier(through)(source)


@contextmanager
def held(url: str, command: CommandLine, source: Path, target: str) -> Iterator[tuple[RunningCopy, Callable[[], None]]]:
    """A copy into `target` whose workers wait for a lock on `url`; the function lets go of it."""
    Copier(url)(build_source(source.parent / f"{uuid4().hex}.db", EMPTY), indexes="none")
    with suppress(psycopg.OperationalError), psycopg.connect(url) as holder:
        holder.execute("LOCK TABLE scheduling IN SHARE ROW EXCLUSIVE MODE")
        arguments = ("--sqlite-path", source, "--postgres-url", target, "--workers", "2", "--batch-size", "20")
        run = RunningCopy.start(*arguments, environment=command.environment())
        run.wait_until(lambda: blocked_sessions(url), "a worker to wait for the lock")
        yield run, holder.rollback


def test_a_worker_that_arrives_elsewhere_stops_the_run(
    servers: tuple[OwnServer, OwnServer], urls: tuple[str, str], source: Path, command: CommandLine
) -> None:
    with routing_proxy(lambda _: servers[0].socket_path) as proxy:
        through = make_conninfo(urls[0], host="127.0.0.1", port=proxy.port)
        with held(urls[0], command, source, through) as (run, let_go):
            proxy.route = lambda _: servers[1].socket_path
            for worker in run.workers():  # an idle one that stays would get the range, over its old connection
                os.kill(worker.pid, signal.SIGKILL)
            wait_until(lambda: servers[1].socket_path in proxy.routed, "the next worker to connect")
            code, _, err = run.finish()
            let_go()
    assert code == 4, err
    last = err.splitlines()[-1]
    assert "two servers or databases" in last
    assert last.count("system identifier") == 2
    assert "run again to resume" in last
    assert tables(urls[1]) == 0
    assert Copier(urls[0])(source).exit_code == 0
    assert_same(source, urls[0])


def test_a_failover_to_another_host_of_the_url_is_gone_along_with(
    servers: tuple[OwnServer, OwnServer], urls: tuple[str, str], source: Path, command: CommandLine
) -> None:
    """What the first server had committed and not sent on is sent again."""
    primary = servers[0]
    with copy_of(primary, standby=True) as standby:
        there = make_conninfo(urls[0], host=conninfo_to_dict(standby.url)["host"])
        target = both((urls[0], there))
        with held(urls[0], command, source, target) as (run, _):
            primary.execute(sql.SQL("CHECKPOINT"))
            wait_until(lambda: tables(there), "the standby to have the tables")
            primary.stop("immediate")
            standby.execute(sql.SQL("SELECT pg_promote()"))
        try:
            code, _, err = run.finish()
            assert code == 0, err
            assert "took the place of" in err
            assert "lost its session" in err
            assert_same(source, there)
            assert counts(there)["scheduling"] == SPEC.schedules
        finally:
            primary.start()
