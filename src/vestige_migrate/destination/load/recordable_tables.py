"""Which tables of the destination a copy can enter in the record: those of whose rows it knows afterwards that it wrote
them."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import relation
from vestige_migrate.destination.load.updated_at_trigger import updated_at_triggers

# tgtype is a set of bits; 4 is INSERT, 16 is UPDATE (PostgreSQL's catalog/pg_trigger.h).
_RECORDABLE = sql.SQL(
    "SELECT name, c.relkind::text, ARRAY(SELECT tgname::text FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal"
    " AND tgenabled <> 'D' AND tgtype & 20 <> 0) FROM unnest(%s::text[]) AS n(name) JOIN pg_class AS c ON c.oid = {}"
).format(relation("n.name"))
_TOGETHER = frozenset({"knowledge_nodes", "scheduling"})


def recordable_tables(connection: Connection, names: Sequence[str]) -> frozenset[str]:
    """Those of the tables whose rows can be entered.

    Not partitioned ones, whose rows do not tell their xmin to the statement that inserts them. Nor one that has a
    trigger of the destination's own: that may change other rows of the table in the transaction of a batch, and they
    would pass for the copy's. Memories and their schedules are written in one transaction, so for either the triggers
    of both count.
    """
    found = connection.execute(_RECORDABLE, (list(names),))
    plain, triggered = set(), set()
    for name, kind, triggers in found:
        if kind == "r":
            plain.add(name)
        if not _left_off(connection, name).issuperset(triggers):
            triggered.add(name)
    if triggered & _TOGETHER:
        triggered |= _TOGETHER
    return frozenset(plain - triggered)


def _left_off(connection: Connection, table: str) -> set[str]:
    """The triggers that do not fire while a copy writes."""
    return {trigger.name for trigger in updated_at_triggers(connection, table).firing(updates=True)}
