"""Which of some memories were deleted in the destination, and are not there again."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours
from vestige_migrate.destination.load.binary_arrays import binary_array, register_arrays
from vestige_migrate.destination.schema.tombstones import MEMORIES, TOMBSTONES
from vestige_migrate.tables.base import Table
from vestige_migrate.wire import field


class ForgottenCheck:
    """Asks by key, however many tombstones there are. A memory that is there again counts as any other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        register_arrays(connection)
        self._query = sql.SQL(
            "SELECT k.id FROM unnest(%s) AS k(id) JOIN {} AS f ON f.memory_id = k.id"
            " WHERE NOT EXISTS (SELECT FROM {} AS m WHERE m.id = k.id)"
        ).format(ours(connection, TOMBSTONES), ours(connection, MEMORIES))

    def find(self, memories: Iterable[bytes]) -> set[bytes]:
        """Those of the memories, ids as COPY fields."""
        asked = sorted(set(memories) - {field.NULL})
        if not asked:
            return set()
        rows = self._connection.execute(self._query, (binary_array("uuid", asked),), binary=True)
        return {field.with_length(id_.bytes) for (id_,) in rows}


def memory_columns(table: Table) -> list[int]:
    """Positions of the columns that name the memories without which a row has no place; a memory's is its own id."""
    if table.name == MEMORIES:
        return [table.index(table.key[0])]
    return [table.index(parent.column) for parent in table.parents if parent.table == MEMORIES]
