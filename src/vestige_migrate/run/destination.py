"""Getting the destination ready: reached, judged, locked, its schema made, the registry stamped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from loguru import logger

from vestige_migrate.destination import embedded, indexes, registry, rights, schema
from vestige_migrate.destination.archive import check_archive
from vestige_migrate.destination.connect import (
    Connection,
    display_url,
    parse_url,
)
from vestige_migrate.destination.reach import check_second, looking_at
from vestige_migrate.destination.schema import ServerInfo
from vestige_migrate.destination.server import Home
from vestige_migrate.destination.shape import check_shape
from vestige_migrate.paths import default_server_directory
from vestige_migrate.plan import ModelSignature, SqliteToPostgresPlan
from vestige_migrate.report import DestinationInfo
from vestige_migrate.run.connections import CoordinatorPool
from vestige_migrate.run.session import MainSession
from vestige_migrate.source.layout import Layout


@dataclass(frozen=True)
class ReadyDestination:
    """A destination that passed every check that writes nothing."""

    info: DestinationInfo
    server: ServerInfo
    pool: CoordinatorPool
    session: MainSession
    model: ModelSignature | None
    fresh: bool

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
    """Raises `PlanError` where libpq could not read the plan's URL; asks nobody."""
    if not embedded.is_embedded(plan.postgres_url):
        parse_url(plan.postgres_url)


def resolve_url(plan: SqliteToPostgresPlan) -> str:
    """The libpq URL of the plan; starts the bundled server where that is asked for."""
    if not embedded.is_embedded(plan.postgres_url):
        return plan.postgres_url
    server = embedded.start(embedded.data_directory(plan.postgres_url, default_server_directory()))
    logger.info(
        "the bundled PostgreSQL runs on {} and stays running; connect with: {}",
        server.data_directory,
        server.psql,
    )
    return server.url


@contextmanager
def ready_destination(
    plan: SqliteToPostgresPlan, layout: Layout, embedder: ModelSignature | None, run_name: str
) -> Iterator[ReadyDestination]:
    """The destination, checked against the source. Raises `ModelMismatch` or `DestinationUnusable`."""
    url = resolve_url(plan)
    display = display_url(url)
    session = MainSession(url, run_name, plan.answer_timeout)
    # The main connection holds the lock for the whole run; the pool has the others.
    pool = CoordinatorPool(session, f"{run_name} coordinator", plan)
    with closing(session):
        main = session.connection
        with looking_at(display):
            server = schema.probe(main)
            info = DestinationInfo(display, server.version, server.pgvector or server.pgvector_available)
            schema.check_server(server)
            if not plan.dry_run:
                schema.check_connections(server, plan.workers, plan.max_connections)
            if not plan.dry_run:
                # Before anything is asked about the data: what another run changes afterwards would not be seen.
                schema.take_lock(main)
            check_shape(main)
            rights.check_writing(main, plan)
            registered = registry.read_registry(main)
            registry.check_models(layout.model, layout.dimension, embedder, registered)
            model = layout.model or embedder or registered
            dimension = layout.dimension or (model.dimension if model else None)
            registry.check_column(main, dimension)
            indexes.check_names(main)
            if plan.archive:
                check_archive(main)
            rights.check_owning(main, plan, model, registered, dimension)
            fresh = schema.is_fresh(main)
            check_second(session.home, f"{run_name} coordinator")
        pool.open()
        try:
            yield ReadyDestination(info, server, pool, session, model, fresh)
        finally:
            pool.close()
