"""How many memories await a re-embed: those that the source keeps the vector of, or that it never had one for."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from uuid import UUID

from psycopg import sql

from vestige_migrate.decode.ids import decode_uuid
from vestige_migrate.decode.problem import BadValue
from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.read.counts import awaiting_reembed
from vestige_migrate.source.read.reembed import Reason


def count_awaiting(source: sqlite3.Connection, layout: Layout, destination: Connection | None) -> Counter[str]:
    """Memories that await a re-embed, by reason. Without a destination (a dry run): those that a copy would leave so.

    The destination is asked, because a memory may have been embedded there since an earlier run.
    """
    found: Counter[str] = Counter()
    for some in awaiting_reembed(source, layout):
        by_reason: defaultdict[Reason, list[object]] = defaultdict(list)
        for id_, reason in some:
            by_reason[reason].append(id_)
        for reason, ids in by_reason.items():
            found[str(reason)] += len(ids) if destination is None else _without_vector(destination, _uuids(ids))
    return +found


def _without_vector(connection: Connection, ids: list[UUID]) -> int:
    query = sql.SQL("SELECT count(*) FROM {} WHERE id = ANY(%s) AND embedding IS NULL")
    row = connection.execute(query.format(ours(connection, "knowledge_nodes")), (ids,)).fetchone()
    return int(row[0]) if row else 0


def _uuids(raw: Iterable[object]) -> list[UUID]:
    """Ids that are no UUID name no memory in the destination."""
    found = []
    for value in raw:
        try:
            id_ = decode_uuid(value)  # type: ignore[arg-type]  # SQLite yields nothing else
        except BadValue:
            continue
        if id_ is not None:
            found.append(id_)
    return found
