"""Getting the destination ready to be compared with: reached, judged, and held still."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from vestige_migrate.destination.connection.connect import Connection, display_reached
from vestige_migrate.destination.connection.first_connection import check_second, looking_at, open_first_session
from vestige_migrate.destination.connection.required_functions import check_functions_for
from vestige_migrate.destination.connection.server_identity import Home
from vestige_migrate.destination.connection.target_schema import Target, other_copies
from vestige_migrate.destination.schema import pgvector_extension as extension
from vestige_migrate.destination.schema import registry, schema
from vestige_migrate.destination.schema.schema import ServerInfo
from vestige_migrate.destination.schema.schema_check import check_columns
from vestige_migrate.errors import DestinationUnusable
from vestige_migrate.model import ModelSignature
from vestige_migrate.plan import SqliteToPostgresPlan
from vestige_migrate.prepare import rights
from vestige_migrate.prepare.destination import ReadyDestination, resolved_url
from vestige_migrate.report.endpoints import DestinationInfo
from vestige_migrate.tables.shapes import OURS, Shapes


@dataclass(frozen=True)
class OpenDestination:
    """A destination with our tables in it. `registered` is the model its registry has."""

    info: DestinationInfo
    main: Connection
    home: Home
    registered: ModelSignature | None
    shapes: Shapes = OURS

    @property
    def url(self) -> str:
        """Leads to `home` alone."""
        return self.home.url


@contextmanager
def open_destination(plan: SqliteToPostgresPlan, run_name: str) -> Iterator[OpenDestination]:
    """The destination; while it is open, no copy can start. Raises `DestinationUnusable`."""
    with ExitStack() as held:
        url = held.enter_context(resolved_url(plan, make=False))
        name = f"{run_name} coordinator"
        main = held.enter_context(open_first_session(url, name, plan.answer_timeout, plan.schema, only_reads=True))
        home = main.home
        assert home is not None
        display = display_reached(url, main)
        target = home.target
        assert target is not None, "a run's first session decides it"
        with looking_at(display):
            server = schema.probe(main)
            shapes = _check(main, server, plan, target)
            schema.take_shared_lock(main)
            held.callback(schema.release_shared_lock, main)
            registered = registry.read_registry(main)
            info = DestinationInfo(display, server.version, server.pgvector, target.schema)
            check_second(home, name)
        yield OpenDestination(info, main, home, registered, shapes)


def _check(main: Connection, server: ServerInfo, plan: SqliteToPostgresPlan, target: Target) -> Shapes:
    absent = schema.missing_tables(main)
    if server.pgvector is None or absent:
        lacks = f"no table {absent[0]} in the schema {target.schema}" if absent else "no pgvector"
        others = other_copies(main, target) if absent else []
        hint = f" (the schema {others[0]} has a copy: give --schema {others[0]})" if others else ""
        raise DestinationUnusable(
            f"the destination has {lacks}: nothing was copied there yet{hint}. Run vestige migrate copy first, or "
            "check the URL"
        )
    extension.check(main, server)
    shapes = check_columns(main)
    check_functions_for(main, shapes)
    rights.check_reading(main)
    schema.check_connections(server, plan.workers, 1)
    return shapes


def as_open(ready: ReadyDestination) -> OpenDestination:
    """A destination that was just copied into, and is still locked by that copy."""
    return OpenDestination(ready.info, ready.main, ready.home, registry.read_registry(ready.main), ready.shapes)
