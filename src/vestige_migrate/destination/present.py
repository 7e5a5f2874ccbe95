"""Which rows of the source the destination has already, and which of those are outdated there.

Asked by key, and by the one value that decides, before anything else is read or sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from vestige_migrate.destination.arrays import binary_array, register_arrays
from vestige_migrate.destination.connect import Connection
from vestige_migrate.destination.replace import outdated
from vestige_migrate.tables.base import Refresh, Table


class PresenceCheck:
    """Asks which of a list of keys a table holds, and with `refresh` which of those rows are outdated."""

    def __init__(self, connection: Connection, table: Table, refresh: Refresh | None = None) -> None:
        self._connection = connection
        self._types = table.key_types
        register_arrays(connection)
        names = [sql.Identifier(f"k{at}") for at in range(len(table.key))]
        given = list(names)
        verdict: sql.Composable = sql.SQL("false")
        if refresh is not None:
            given.append(sql.Identifier("decides"))
            self._types += (table.columns[table.index(refresh.decides)].pg_type,)
            theirs = sql.SQL("t.{}").format(sql.Identifier(refresh.decides))
            verdict = outdated(refresh, theirs, sql.SQL("k.decides"))
        matches = [
            sql.SQL("t.{} = k.{}").format(sql.Identifier(column), name)
            for column, name in zip(table.key, names, strict=True)
        ]
        self._query = sql.SQL(
            "SELECT k.ordinal, {} FROM unnest({}) WITH ORDINALITY AS k({}, ordinal) JOIN {} AS t ON {}"
        ).format(
            verdict,
            sql.SQL(", ").join([sql.Placeholder()] * len(given)),
            sql.SQL(", ").join(given),
            sql.Identifier(table.name),
            sql.SQL(" AND ").join(matches),
        )

    def find(self, keys: Sequence[Sequence[bytes]]) -> dict[int, bool]:
        """The positions that are present -> whether that row is outdated in the destination.

        `keys` holds one sequence of fields for each key column, then with `refresh` the values that decide.
        """
        if not keys[0]:
            return {}
        arrays = [binary_array(kind, fields) for kind, fields in zip(self._types, keys, strict=True)]
        rows = self._connection.execute(self._query, arrays, binary=True)
        return {ordinal - 1: bool(verdict) for ordinal, verdict in rows}
