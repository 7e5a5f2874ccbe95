"""Triggers of the destination that set `updated_at` to the present: left off while the copy writes a memory's own time.

Vestige's own plan has one, for UPDATE. PostgreSQL lets the owner of a table disable its triggers within a transaction:
nobody sees it from outside, and a copy that dies leaves the trigger as it was. Other writers of the table wait for as
long as a batch takes. A role that does not own the table is refused before anything is written.

Which triggers these are is read from their source; what another one changes is found after the UPDATE
(replace_outdated.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import LiteralString

from loguru import logger
from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import in_advice, ours, relation
from vestige_migrate.errors import DestinationUnusable
from vestige_migrate.plan import OnConflict, SqliteToPostgresPlan

MEMORIES = "knowledge_nodes"

# tgtype is a set of bits: 1 of each row, 2 BEFORE, 4 INSERT, 16 UPDATE. tgenabled: R fires on a replica alone.
# A trigger for UPDATE OF some columns fires as well: a copy sets all of them.
_ASK = sql.SQL(
    "SELECT tgname::text, tgenabled::text, tgtype & 4 <> 0, tgtype & 16 <> 0, proname::text, prosrc,"
    " encode(tgargs, 'escape') FROM pg_trigger JOIN pg_proc AS p ON p.oid = tgfoid"
    " WHERE tgrelid = {} AND NOT tgisinternal AND tgtype & 3 = 3 AND tgenabled IN ('O', 'A') ORDER BY tgname"
).format(relation("%s"))
_OWNER = sql.SQL(
    "SELECT r.rolname::text, current_user::text, pg_has_role(c.relowner, 'USAGE')"
    " FROM pg_class AS c JOIN pg_roles AS r ON r.oid = c.relowner WHERE c.oid = {}"
).format(relation("%s"))
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_SETS = re.compile(
    r"(?:^|;|\bbegin|\bthen|\belse|\bloop)\s*new\s*\.\s*\"?updated_at\"?\s*:?=|\binto\s+(?:strict\s+)?new\s*\.\s*\"?updated_at",
    re.IGNORECASE,
)
_MODDATETIME = "moddatetime"
"""The function of the extension of that name, whose argument is the column
(https://www.postgresql.org/docs/current/contrib-spi.html)."""
_ENABLE: dict[str, LiteralString] = {"O": "ENABLE TRIGGER", "A": "ENABLE ALWAYS TRIGGER"}


@dataclass(frozen=True)
class _Trigger:
    name: str
    enabled: str
    on_insert: bool
    on_update: bool


@dataclass(frozen=True)
class UpdatedAtTriggers:
    """The triggers of one table that set `updated_at`; nearly always none."""

    table: str
    triggers: tuple[_Trigger, ...] = ()

    def firing(self, updates: bool) -> list[_Trigger]:
        """Those that fire where rows are inserted, and with `updates` where they are updated as well."""
        return [trigger for trigger in self.triggers if trigger.on_insert or (updates and trigger.on_update)]

    @contextmanager
    def left_off(self, connection: Connection, updates: bool) -> Iterator[None]:
        """Without them until the end of the context, in the caller's transaction, which must have touched no row yet.

        An error leaves the triggers to the transaction's end, which rolls back.
        """
        triggers = self.firing(updates)
        for trigger in triggers:
            self._alter(connection, "DISABLE TRIGGER", trigger)
        yield
        for trigger in triggers:
            self._alter(connection, _ENABLE[trigger.enabled], trigger)

    def _alter(self, connection: Connection, what: LiteralString, trigger: _Trigger) -> None:
        statement = sql.SQL("ALTER TABLE {} {} {}")
        connection.execute(statement.format(ours(connection, self.table), sql.SQL(what), sql.Identifier(trigger.name)))


def updated_at_triggers(connection: Connection, table: str) -> UpdatedAtTriggers:
    """Those of our table of that name."""
    if table != MEMORIES:
        return UpdatedAtTriggers(table)
    found = connection.execute(_ASK, (table,)).fetchall()
    return UpdatedAtTriggers(
        table,
        tuple(
            _Trigger(name, enabled, on_insert, on_update)
            for name, enabled, on_insert, on_update, function, source, arguments in found
            if (on_insert or on_update) and _sets(function, source or "", arguments or "")
        ),
    )


def _sets(function: str, source: str, arguments: str) -> bool:
    if function == _MODDATETIME:
        return "updated_at" in arguments
    return _SETS.search(_COMMENT.sub(" ", source)) is not None


def check_updated_at_triggers(connection: Connection, plan: SqliteToPostgresPlan) -> None:
    """Raises `DestinationUnusable` where `updated_at` could not be kept: a trigger sets it, and another role owns the
    table."""
    updates = plan.on_conflict is not OnConflict.SKIP
    triggers = updated_at_triggers(connection, MEMORIES).firing(updates)
    if not triggers:
        return
    names = ", ".join(trigger.name for trigger in triggers)
    row = connection.execute(_OWNER, (MEMORIES,)).fetchone()
    assert row is not None, "a table that has a trigger was not found"
    owner, role, may = row
    if not may:
        raise DestinationUnusable(
            f"a trigger of {MEMORIES} in the destination sets updated_at to the present ({names}), and only the "
            f"table's owner, {owner}, can leave it off while the copy writes: {_advice(connection, triggers, role)}"
        )
    logger.info(
        "{} has a trigger that sets updated_at to the present: {} is off within the transactions in which the copy "
        "writes such rows, and stays on for everybody else",
        MEMORIES,
        names,
    )


def _advice(connection: Connection, triggers: Sequence[_Trigger], role: str) -> str:
    table = in_advice(connection, MEMORIES)
    off = "; ".join(
        f"ALTER TABLE {table} DISABLE TRIGGER {sql.Identifier(trigger.name).as_string(connection)}"
        for trigger in triggers
    )
    without = "" if any(trigger.on_insert for trigger in triggers) else ", or copy without --on-conflict newer"
    return (
        f"connect as the owner (or as a role that is a member of it, which {role} is not), let the owner run {off} "
        f"until the copy has ended{without}"
    )
