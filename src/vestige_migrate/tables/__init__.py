"""Every destination table, one module each: a new table is one new module and a line here."""

from __future__ import annotations

from vestige_migrate.tables import (
    domains,
    edges,
    group_memberships,
    groups,
    knowledge_nodes,
    review_events,
    scheduling,
    users,
)
from vestige_migrate.tables.base import Table

SMALL = (users.TABLE, groups.TABLE, domains.TABLE)
MEMBERSHIPS = (group_memberships.TABLE,)
PARENTS = (knowledge_nodes.TABLE,)
DEPENDENTS = (scheduling.TABLE, edges.TABLE, review_events.TABLE)

PHASES: tuple[tuple[str, tuple[Table, ...]], ...] = (
    ("small", SMALL),
    ("memberships", MEMBERSHIPS),
    ("parents", PARENTS),
    ("dependents", DEPENDENTS),
)
"""Foreign-key order: a phase starts when every range of the one before is in."""

TABLES: dict[str, Table] = {table.name: table for _, tables in PHASES for table in tables}
