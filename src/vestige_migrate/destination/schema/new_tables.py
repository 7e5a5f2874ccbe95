"""What becomes of tables that are made in the destination: refused, or closed to their own maker by an event trigger.

COPY does not go into a table whose row-level security is active, and rows that cannot be seen cannot be accounted for.
So this is found out before anything is written: by trying, in a transaction that is rolled back where it fails, and in
a dry run, which makes nothing, by reading the triggers.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from loguru import logger
from psycopg import errors, sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.faults import is_transient, server_words
from vestige_migrate.destination.connection.table_names import TEMPORARY, relation, temporary
from vestige_migrate.destination.schema import event_triggers
from vestige_migrate.errors import DestinationUnusable

_COMMANDS = ("CREATE TABLE", "CREATE TABLE AS")
"""The second one makes the temporary tables in which rows wait (staging.py)."""
_TRIAL = temporary("vestige_trial_security")
_MAKE_TRIAL = sql.SQL("CREATE TABLE {} AS SELECT 1 AS ordinal WITH NO DATA").format(_TRIAL)
_ACTIVE = sql.SQL("SELECT name FROM unnest(%s::text[]) AS n(name) WHERE row_security_active({})").format(
    relation("name")
)
_TRIAL_ACTIVE = sql.SQL("SELECT WHERE row_security_active({}::regclass)").format(
    sql.Literal(f"{TEMPORARY}.vestige_trial_security")
)
_BYPASSES = sql.SQL("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
_ROLE = sql.SQL("SELECT quote_ident(current_user)")


def look(connection: Connection, some_missing: bool) -> None:
    """Raises `DestinationUnusable` where the source of an event trigger says that tables could not be made or used.

    `some_missing`: tables of ours would be made; temporary ones are made in any case.
    """
    if some_missing:
        for trigger in event_triggers.on(connection, ("ddl_command_start", "ddl_command_end"), ("CREATE TABLE",)):
            verdict = trigger.refuses("CREATE TABLE")
            if verdict is None:
                logger.warning(
                    "the event trigger {} watches CREATE TABLE: whether it lets tables be made cannot be known without "
                    "trying",
                    trigger.name,
                )
            if verdict:
                raise DestinationUnusable(
                    f"the destination lacks tables, and its event trigger {trigger.name} refuses CREATE TABLE: let "
                    "the database's administrators allow it, or make the tables"
                )
    if connection.execute(_BYPASSES).fetchone() == (True,):
        return
    commands = _COMMANDS if some_missing else ("CREATE TABLE AS",)
    for trigger in event_triggers.on(connection, ("ddl_command_end",), commands):
        forces = trigger.forces_row_security()
        if forces:
            raise _closed(connection, [trigger.name])
        if forces is None:
            logger.warning(
                "the event trigger {} forces row-level security on some new tables: whether on those of a copy cannot "
                "be known without making one",
                trigger.name,
            )


def check_temporary(connection: Connection) -> None:
    """Raises `DestinationUnusable` where this role could not use a temporary table of its own; asked only where an
    event trigger sees one made."""
    if not event_triggers.on(connection, ("ddl_command_start", "ddl_command_end"), _COMMANDS):
        return
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(_MAKE_TRIAL)
            if connection.execute(_TRIAL_ACTIVE).fetchone() is not None:
                raise closed(connection)
    except psycopg.Error as error:
        if is_transient(error) and not event_triggers.is_raised(error):
            raise
        raise DestinationUnusable(
            f"no temporary table can be made in the destination, which a copy needs: {server_words(error)}"
        ) from None


def check_made(connection: Connection, names: Sequence[str]) -> None:
    """Raises `DestinationUnusable` where row-level security is active for this role on tables that it just made."""
    if connection.execute(_ACTIVE, (list(names),)).fetchone() is None:
        return
    raise closed(connection)


def is_closed(error: psycopg.Error) -> bool:
    """Whether row-level security refused a row: the server's execMain.c judges rows, aclchk.c the rights on objects."""
    return isinstance(error, errors.InsufficientPrivilege) and error.diag.source_file == "execMain.c"


def closed(connection: Connection) -> DestinationUnusable:
    """The refusal where row-level security is active for this role on tables that it just made."""
    triggers = event_triggers.on(connection, ("ddl_command_end",), _COMMANDS)
    return _closed(connection, [trigger.name for trigger in triggers if trigger.forces_row_security() is not False])


def _closed(connection: Connection, triggers: Sequence[str]) -> DestinationUnusable:
    row = connection.execute(_ROLE).fetchone()
    role = row[0] if row is not None else ""
    advice = [f"ALTER ROLE {role} BYPASSRLS"]
    advice += [
        f"ALTER EVENT TRIGGER {sql.Identifier(name).as_string(connection)} DISABLE until the copy has ended"
        for name in triggers
    ]
    by = f" by the event trigger {', '.join(triggers)}" if triggers else ""
    return DestinationUnusable(
        f"row-level security is forced{by} on tables that are made in the destination, so that this role could not "
        f"write into its own: let a superuser run {', or '.join(advice)}, then run this command again"
    )
