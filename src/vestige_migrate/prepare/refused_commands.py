"""Event triggers that refuse a command which the run needs later: named before anything is written.

A copy meets a refusal of CREATE TABLE in its first transaction, with the server's own words, and nothing stays. The
vectors' length is set, and indexes are built, when other transactions have ended: so these are looked for in any run.
"""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import target_of
from vestige_migrate.destination.indexes import build as indexes
from vestige_migrate.destination.load.updated_at_trigger import MEMORIES, updated_at_triggers
from vestige_migrate.destination.schema import event_triggers, registry
from vestige_migrate.destination.schema.schema import missing_tables
from vestige_migrate.errors import DestinationUnusable
from vestige_migrate.limits import MAX_DIMENSION
from vestige_migrate.plan import Indexes, OnConflict, SqliteToPostgresPlan
from vestige_migrate.tables.shapes import Shapes


def check_commands(connection: Connection, plan: SqliteToPostgresPlan, dimension: int | None, shapes: Shapes) -> None:
    """Raises `DestinationUnusable` where the source of an event trigger says that it refuses one of them."""
    for command, otherwise in _needed(connection, plan, dimension, shapes):
        for trigger in event_triggers.on(connection, ("ddl_command_start", "ddl_command_end"), (command,)):
            if trigger.refuses(command):
                disable = sql.SQL("ALTER EVENT TRIGGER {} DISABLE").format(sql.Identifier(trigger.name))
                raise DestinationUnusable(
                    f"the destination's event trigger {trigger.name} refuses {command}, which this copy needs: let a "
                    f"superuser run {disable.as_string(connection)} until the copy has ended{otherwise}"
                )


def _needed(
    connection: Connection, plan: SqliteToPostgresPlan, dimension: int | None, shapes: Shapes
) -> Iterator[tuple[str, str]]:
    """Each command with what else can be done."""
    target = target_of(connection)
    if plan.dry_run and target is not None and not target.exists:
        yield "CREATE SCHEMA", ", or make the schema"
    if plan.dry_run and missing_tables(connection):
        yield "CREATE FUNCTION", ""
    declared = registry.column_dimension(connection)
    sets_dimension = declared is None and dimension is not None and dimension <= MAX_DIMENSION
    if sets_dimension or updated_at_triggers(connection, MEMORIES).firing(plan.on_conflict is not OnConflict.SKIP):
        yield "ALTER TABLE", ""
    wants_indexes = indexes.missing(connection, shapes) or indexes.needs_hnsw(connection, declared or dimension)
    if plan.indexes is not Indexes.NONE and wants_indexes:
        yield "CREATE INDEX", ", or copy with --indexes none"
