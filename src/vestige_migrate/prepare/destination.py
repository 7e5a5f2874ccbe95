"""Getting the destination ready: reached, judged, locked, its schema made, the registry stamped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from loguru import logger

from vestige_migrate.destination import embedded
from vestige_migrate.destination.connection.connect import Connection, display_reached, parse_url
from vestige_migrate.destination.connection.first_connection import check_second, looking_at
from vestige_migrate.destination.connection.required_functions import check_functions_for
from vestige_migrate.destination.connection.server_identity import Home
from vestige_migrate.destination.connection.target_schema import Target, other_copies
from vestige_migrate.destination.indexes import build as indexes
from vestige_migrate.destination.load.archive_table import check_archive
from vestige_migrate.destination.load.updated_at_trigger import check_updated_at_triggers
from vestige_migrate.destination.schema import new_tables, registry, schema
from vestige_migrate.destination.schema import pgvector_extension as extension
from vestige_migrate.destination.schema.schema import ServerInfo
from vestige_migrate.destination.schema.schema_check import check_shape
from vestige_migrate.errors import DestinationUnusable, PlanError, Refused
from vestige_migrate.model import ModelSignature
from vestige_migrate.paths import shown
from vestige_migrate.places import default_server_directory
from vestige_migrate.plan import SqliteToPostgresPlan
from vestige_migrate.prepare import rights
from vestige_migrate.prepare.connection_pool import CoordinatorPool
from vestige_migrate.prepare.refused_commands import check_commands
from vestige_migrate.prepare.session import MainSession
from vestige_migrate.prepare.taken_names import check_taken
from vestige_migrate.report.endpoints import USUAL_SCHEMA, DestinationInfo
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.tables.shapes import OURS, Shapes


@dataclass(frozen=True)
class ReadyDestination:
    """A destination that passed every check that writes nothing."""

    info: DestinationInfo
    server: ServerInfo
    opened_pool: CoordinatorPool | None
    opened: MainSession | None
    model: ModelSignature | None
    fresh: bool
    shapes: Shapes = OURS

    @property
    def made(self) -> bool:
        """False for a bundled server that a copy would make: a dry run has nobody to ask there."""
        return self.opened is not None

    @property
    def session(self) -> MainSession:
        """The session that holds the lock."""
        assert self.opened is not None, "a destination that is not made yet was asked"
        return self.opened

    @property
    def pool(self) -> CoordinatorPool:
        """The coordinator's other connections."""
        assert self.opened_pool is not None, "a destination that is not made yet was asked"
        return self.opened_pool

    @property
    def main(self) -> Connection:
        """The connection that holds the lock; another one after the server was away, so keep none of it."""
        return self.session.connection

    @property
    def home(self) -> Home:
        """Where every session of the run has to be; another place after a failover, so keep none of it."""
        return self.session.home

    @property
    def url(self) -> str:
        """Leads there alone."""
        return self.home.url


def check_url(plan: SqliteToPostgresPlan) -> None:
    """Raises `PlanError` where libpq could not read the plan's URL, or its folder leads nowhere; asks nobody."""
    if embedded.is_embedded(plan.postgres_url):
        bundled_directory(plan)
    else:
        parse_url(plan.postgres_url)


@contextmanager
def resolved_url(plan: SqliteToPostgresPlan, make: bool = True) -> Iterator[str]:
    """The libpq URL of the plan; starts the bundled server where that is asked for.

    A server that was started here is stopped again where the run is refused. Without `make` there has to be one with
    data already. Raises `DestinationUnusable`.
    """
    if not embedded.is_embedded(plan.postgres_url):
        yield plan.postgres_url
        return
    directory = bundled_directory(plan)
    if not make and not embedded.has_data(directory):
        raise DestinationUnusable(
            f"there is no bundled PostgreSQL on {shown(directory)} yet, so that nothing was copied there. Run vestige "
            "migrate copy first, or check the directory"
        )
    server = embedded.start(directory)
    _say_where(server, plan)
    try:
        yield server.url
    except (Refused, PlanError):
        if server.started and embedded.stop_unused(server):
            logger.info("stopped the bundled PostgreSQL again, which this run had started")
        raise


def bundled_directory(plan: SqliteToPostgresPlan) -> Path:
    """The data directory of the bundled server that the plan asks for."""
    default = default_server_directory() if plan.postgres_url == embedded.PREFIX else Path()
    return embedded.data_directory(plan.postgres_url, default)


def _say_where(server: embedded.EmbeddedServer, plan: SqliteToPostgresPlan) -> None:
    logger.info(
        "the bundled PostgreSQL runs on {} and stays running; connect with: {}",
        shown(server.data_directory),
        server.psql_in(plan.schema),
    )


@contextmanager
def ready_destination(
    plan: SqliteToPostgresPlan, layout: Layout, embedder: ModelSignature | None, run_name: str
) -> Iterator[ReadyDestination]:
    """The destination, checked against the source. Raises `ModelMismatch` or `DestinationUnusable`.

    A dry run starts no bundled server: it asks one that runs, and does without one that is not made yet.
    """
    if plan.dry_run and embedded.is_embedded(plan.postgres_url):
        running = embedded.look(bundled_directory(plan))
        if running is None:
            registry.check_models(layout.model, layout.dimension, embedder, None)
            yield _not_made(plan, layout.model or embedder)
            return
        _say_where(running, plan)
        plan = replace(plan, postgres_url=running.url)
    with resolved_url(plan) as url, _ready(plan, url, layout, embedder, run_name) as ready:
        yield ready


def _not_made(plan: SqliteToPostgresPlan, model: ModelSignature | None) -> ReadyDestination:
    name = f"the bundled PostgreSQL {embedded.MAJOR}, not made yet"
    version, pgvector = str(embedded.MAJOR), embedded.pgvector_version()
    server = ServerInfo(
        version,
        embedded.MAJOR * 10_000,
        None,
        pgvector,
        may_create_extension=True,
        read_only=False,
        connections=plan.max_connections + plan.workers,
    )
    info = DestinationInfo(name, version, pgvector, plan.schema or USUAL_SCHEMA)
    return ReadyDestination(info, server, None, None, model, fresh=True)


def _say_target(main: Connection, target: Target, plan: SqliteToPostgresPlan) -> None:
    """Where the rows go, where somebody may think of another place."""
    if not target.exists:
        making = "a copy would make it" if plan.dry_run else "making it"
        logger.info("the schema {} is not there yet: {}", target.schema, making)
    if target.skipped:
        names = ", ".join(target.skipped)
        logger.warning(
            "search_path names {} before {}, and there is no such schema: the rows go to {}",
            names,
            target.schema,
            target.schema,
        )
    if plan.schema is None and not schema.is_complete(main):
        for other in other_copies(main, target):
            logger.warning(
                "the schema {} has an earlier copy, which stays as it is: the rows go to {}, which comes first in "
                "search_path. To go on with the earlier one, give --schema {}",
                other,
                target.schema,
                other,
            )


@contextmanager
def _ready(
    plan: SqliteToPostgresPlan, url: str, layout: Layout, embedder: ModelSignature | None, run_name: str
) -> Iterator[ReadyDestination]:
    session = MainSession(url, run_name, plan.answer_timeout, plan.schema)
    # The main connection holds the lock for the whole run; the pool has the others.
    pool = CoordinatorPool(session, f"{run_name} coordinator", plan)
    with closing(session):
        main = session.connection
        display = display_reached(url, main)
        with looking_at(display):
            server = schema.probe(main)
            target = session.home.target
            assert target is not None, "a run's first session decides it"
            info = DestinationInfo(display, server.version, server.pgvector or server.pgvector_available, target.schema)
            schema.check_server(server)
            extension.check(main, server, only_look=plan.dry_run)
            schema.check_connections(server, plan.workers, plan.max_connections)
            if not plan.dry_run:
                # Before anything is asked about the data: what another run changes afterwards would not be seen.
                schema.take_lock(main)
            _say_target(main, target, plan)
            shapes = check_shape(main)
            check_functions_for(main, shapes)
            rights.check_writing(main, plan)
            check_updated_at_triggers(main, plan)
            registered = registry.read_registry(main)
            registry.check_models(layout.model, layout.dimension, embedder, registered, layout.other_models)
            model = layout.model or embedder or registered
            if registered is None:
                model = registry.with_hash(main, model, embedder)
            dimension = layout.dimension or (model.dimension if model else None)
            registry.check_column(main, dimension)
            indexes.check_names(main)
            check_taken(main, plan.archive)
            if plan.archive:
                check_archive(main)
            if plan.dry_run:
                new_tables.look(main, bool(schema.missing_tables(main)))
            check_commands(main, plan, dimension, shapes)
            rights.check_owning(main, plan, model, registered, dimension, shapes)
            fresh = schema.is_fresh(main)
            check_second(session.home, f"{run_name} coordinator")
        pool.open()
        try:
            yield ReadyDestination(info, server, pool, session, model, fresh, shapes)
        finally:
            pool.close()
