"""One real PostgreSQL for the whole test run, one fresh database a test.

The bundled server by default; `VESTIGE_TEST_POSTGRES_URL` (a role that may create databases) points elsewhere.
Tests fail, and do not skip, where there is none.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from loguru import logger
from psycopg.conninfo import make_conninfo

from tests.support.databases import Templates, new_database, with_pgvector
from tests.support.guest import Guest, made_guest
from tests.support.in_process import answered
from tests.support.running import end_all
from tests.support.server_folder import server_folder
from tests.support.sources import SourceSpec, build_source
from vestige_migrate import MigrationReport, SqliteToPostgresPlan, run_sqlite_to_postgres
from vestige_migrate.destination import embedded
from vestige_migrate.destination.embedded.state import STATE
from vestige_migrate.plan import Indexes
from vestige_migrate.process_life import collect_seldom

# A suite started in the background (`&`, nohup) has SIGINT ignored, and so would have every command that a test starts
# and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

SERVER_VARIABLE = "VESTIGE_TEST_POSTGRES_URL"
COPIES = "postgresql-*"
ROOT = Path(__file__).parent.parent

for _name in [name for name in os.environ if name.startswith("VESTIGE_") and name != SERVER_VARIABLE]:
    del os.environ[_name]  # a developer may run Vestige

# Thousands of tests stay in memory: looking them over for garbage again and again is a tenth of the unit tests' CPU.
collect_seldom()

# Where Python may write no bytecode, each of the many commands that the tests start compiles the package anew: 0.1 s
# of CPU a process, and a copy has two at least.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """The URL of the test server's maintenance database."""
    given = os.environ.get(SERVER_VARIABLE)
    if given:
        yield given
        return
    with server_folder() as directory:
        server = embedded.start(directory / "postgres")
        url = make_conninfo(server.url, dbname="postgres")
        _forget_durability(url)
        yield url
        embedded.stop(server.data_directory)


def _forget_durability(url: str) -> None:
    """Hundreds of databases are made and dropped on this server, none of which has to outlive the machine."""
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")


def pytest_configure(config: pytest.Config) -> None:
    """Where root's environment is in a closed folder, the servers' programs are copied to a place that stays: a suite
    that made it takes it away."""
    if not hasattr(config, "workerinput") and not list(STATE.glob(COPIES)):
        config.add_cleanup(remove_copies)


def remove_copies() -> None:
    """The programs only: a folder with anybody's data in it stays, and so do the folders above it."""
    for copied in STATE.glob(COPIES):
        shutil.rmtree(copied)
    for folder in (STATE / "servers", STATE):
        with suppress(OSError):
            folder.rmdir()


def pytest_xdist_auto_num_workers() -> int:
    """More processes than processors: many tests wait, for a server that restarts or a process that stands still."""
    return (len(os.sched_getaffinity(0)) * 3 + 1) // 2 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def pytest_report_header() -> str:
    return f"postgres: {SERVER_VARIABLE if os.environ.get(SERVER_VARIABLE) else 'bundled (extra embedded)'}"


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """The name of an empty database that has pgvector."""
    with with_pgvector(server_url) as name:
        yield name


@pytest.fixture(scope="session")
def templates(server_url: str, template: str) -> Iterator[Templates]:
    """Databases that hold something, for the tests that are marked with `holds`."""
    made = Templates(server_url, template)
    yield made
    made.drop()


@pytest.fixture
def database(request: pytest.FixtureRequest, server_url: str) -> Iterator[str]:
    """The URL of an empty database that goes away after the test. It has pgvector, unless the test (or its module) is
    marked with `bare_database`; and a copy, or tables, where it is marked with `holds`."""
    if request.node.get_closest_marker("bare_database") is not None:
        with new_database(server_url) as url:
            yield url
        return
    holds = request.node.get_closest_marker("holds")
    template = request.getfixturevalue("template") if holds is None else _holding(request, *holds.args)
    with new_database(server_url, template) as url:
        yield url


HELD = {
    "a copy": SourceSpec(memories=40, schedules=40, edges=10, events=10),
    "our tables": SourceSpec(
        memories=0, schedules=0, edges=0, events=0, extra_users=0, groups=0, memberships=0, domains=0
    ),
}
"""What is copied into a database that holds it. The copy's errors are an end here, so none of it stays unnoticed."""


def _holding(request: pytest.FixtureRequest, what: str) -> str:
    """The name of the database that holds this, indexes included where the test is marked with `indexed`."""
    indexes = _indexes(request)

    def fill(url: str) -> None:
        path = build_source(request.getfixturevalue("tmp_path_factory").mktemp("held") / "vestige.db", HELD[what])
        assert Copier(url, indexes)(path).errors == []

    templates: Templates = request.getfixturevalue("templates")
    return templates.name((what, indexes), fill)


def _indexes(request: pytest.FixtureRequest) -> Indexes:
    return Indexes.NONE if request.node.get_closest_marker("indexed") is None else Indexes.AUTO


@pytest.fixture
def guest(database: str) -> Iterator[Guest]:
    """A role of this test's own; what it owns in the database goes with it."""
    with made_guest(database) as made:
        yield made


@pytest.fixture(scope="session")
def plain_source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The 250-memory V15 source with plain tables; read only, as every test after one that edits it would find out."""
    path = build_source(tmp_path_factory.mktemp("plain") / "vestige.db", SourceSpec())
    before = path.read_bytes()
    yield path
    assert path.read_bytes() == before, "a test changed the shared source: it needs one of its own"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A V15 source of this test's own, to be edited."""
    return build_source(tmp_path / "vestige.db", HELD["a copy"])


@pytest.fixture(autouse=True, scope="session")
def _quiet_log() -> None:
    """Log lines go nowhere unless a test adds a sink of its own."""
    logger.remove()
    logger.enable("vestige_migrate")


@pytest.fixture(autouse=True)
def _no_run_is_left() -> Iterator[None]:
    yield
    end_all()


@dataclass(frozen=True)
class Copier:
    """Copies into the test's database through the library call. With one worker, which starts sooner than two, and
    without secondary indexes, whose builds take a quarter of a short copy, unless the test (or its module) is marked
    with `indexed`."""

    database: str
    indexes: Indexes = Indexes.AUTO

    def __call__(self, path: Path, **options: object) -> MigrationReport:
        plan = SqliteToPostgresPlan(path, self.database, **{"workers": 1, "indexes": self.indexes, **options})  # type: ignore[arg-type]
        return run_sqlite_to_postgres(plan)


@pytest.fixture
def copy(database: str, request: pytest.FixtureRequest) -> Copier:
    return Copier(database, _indexes(request))


@dataclass(frozen=True)
class CommandLine:
    """Runs the installed console script as a user would, in a home directory of its own."""

    home: Path

    def __call__(
        self, *arguments: str | Path, script: str = "vestige-migrate", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).parent / script, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=self.environment(**environment),
            cwd=self.home,
        )

    def environment(self, **more: str) -> dict[str, str]:
        """Ours, without what a developer may have set for the program."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VESTIGE_")}
        return {**kept, "HOME": str(self.home), "COLUMNS": "120", **more}


class InProcess(CommandLine):
    """The same within this process: no interpreter is started, and no fork server, which is half a second a command."""

    def __call__(
        self, *arguments: str | Path, script: str = "vestige-migrate", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return answered([str(each) for each in arguments], self.environment(**environment), self.home, script)


@pytest.fixture
def command(tmp_path: Path, request: pytest.FixtureRequest) -> CommandLine:
    """As a process of its own, unless the test (or its module) is marked with `in_process`."""
    home = tmp_path / "home"
    home.mkdir()
    return (CommandLine if request.node.get_closest_marker("in_process") is None else InProcess)(home)


@pytest.fixture
def process(command: CommandLine) -> CommandLine:
    """As a process of its own whatever the test is marked with."""
    return CommandLine(command.home)
