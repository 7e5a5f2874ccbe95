"""Which rows of the source the destination lacks, and which of those that it has are outdated there.

Asked by key, and by the one value that decides, before anything else is read or sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.load.binary_arrays import binary_array, register_arrays
from vestige_migrate.destination.load.replace_outdated import deciding, outdated
from vestige_migrate.destination.load.stored_form import go_by_index, has_key_index, rows_of
from vestige_migrate.tables.base import Evidence, Refresh, Table


class Presence(NamedTuple):
    """Positions in the list of keys: rows that are absent, that are outdated, that are later than the source's.

    The others are there.
    """

    absent: list[int]
    outdated: list[int]
    later: list[int]


class PresenceCheck:
    """Asks which of a list of keys a table lacks, and with `refresh` which of the other rows are outdated or later.

    Only these are answered: on a second run they are few.
    """

    def __init__(self, connection: Connection, table: Table, refresh: Refresh | None = None) -> None:
        self._connection = connection
        self._types = table.key_types
        # A key that is no column of the table: what is compared is costly, and no plan of the server's knows that.
        self._by_index = table.stored is not None and has_key_index(connection, table)
        register_arrays(connection)
        names = [sql.Identifier(f"k{at}") for at in range(len(table.key))]
        given = list(names)
        is_outdated: sql.Composable = sql.SQL("false")
        is_later: sql.Composable = sql.SQL("false")
        if refresh is not None:
            deciders = [sql.Identifier(f"d{at}") for at in range(len(refresh.decides))]
            given += deciders
            self._types += tuple(table.columns[table.index(name)].pg_type for name in refresh.decides)
            theirs, ours = deciding(refresh, "t"), [sql.SQL("k.{}").format(name) for name in deciders]
            is_outdated = outdated(refresh, theirs, ours)
            if refresh.evidence in (Evidence.LATER, Evidence.REVIEWED):
                is_later = outdated(refresh, ours, theirs)
        matches = [
            sql.SQL("t.{} = k.{}").format(sql.Identifier(column), name)
            for column, name in zip(table.key, names, strict=True)
        ]
        self._query = sql.SQL(
            "SELECT k.ordinal, CASE WHEN t.{key} IS NULL THEN 0 WHEN {outdated} THEN 1 ELSE 2 END"
            " FROM unnest({}) WITH ORDINALITY AS k({}, ordinal) LEFT JOIN {} AS t ON {}"
            " WHERE t.{key} IS NULL OR {outdated} OR {later}"
        ).format(
            sql.SQL(", ").join([sql.Placeholder()] * len(given)),
            sql.SQL(", ").join(given),
            rows_of(connection, table),
            sql.SQL(" AND ").join(matches),
            key=sql.Identifier(table.key[0]),
            outdated=is_outdated,
            later=is_later,
        )

    def find(self, keys: Sequence[Sequence[bytes]]) -> Presence:
        """What the table says of the keys.

        `keys` holds one sequence of fields for each key column, then with `refresh` one for each column that
        decides.
        """
        if not len(keys[0]):
            return Presence([], [], [])
        if self._by_index:
            with self._connection.transaction():
                go_by_index(self._connection)
                return self._find(keys)
        return self._find(keys)

    def _find(self, keys: Sequence[Sequence[bytes]]) -> Presence:
        found = Presence([], [], [])
        arrays = [binary_array(kind, fields) for kind, fields in zip(self._types, keys, strict=True)]
        for ordinal, verdict in self._connection.execute(self._query, arrays, binary=True):
            found[verdict].append(ordinal - 1)
        return found
