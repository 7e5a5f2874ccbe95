"""Which rows of the source the destination lacks, and which of those that it has are outdated there.

Asked by key, and by the one value that decides, before anything else is read or sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.load.binary_arrays import binary_array, register_arrays
from vestige_migrate.destination.load.replace_outdated import outdated
from vestige_migrate.destination.load.stored_form import go_by_index, has_key_index, rows_of
from vestige_migrate.tables.base import Refresh, Table


class Presence(NamedTuple):
    """Positions in the list of keys: rows that are absent, and rows that are outdated. The others are there."""

    absent: list[int]
    outdated: list[int]


class PresenceCheck:
    """Asks which of a list of keys a table lacks, and with `refresh` which of the other rows are outdated.

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
            "SELECT k.ordinal, {} FROM unnest({}) WITH ORDINALITY AS k({}, ordinal) LEFT JOIN {} AS t ON {}"
            " WHERE t.{} IS NULL OR {}"
        ).format(
            verdict,
            sql.SQL(", ").join([sql.Placeholder()] * len(given)),
            sql.SQL(", ").join(given),
            rows_of(connection, table),
            sql.SQL(" AND ").join(matches),
            sql.Identifier(table.key[0]),
            verdict,
        )

    def find(self, keys: Sequence[Sequence[bytes]]) -> Presence:
        """What the table says of the keys.

        `keys` holds one sequence of fields for each key column, then with `refresh` the values that decide.
        """
        if not len(keys[0]):
            return Presence([], [])
        if self._by_index:
            with self._connection.transaction():
                go_by_index(self._connection)
                return self._find(keys)
        return self._find(keys)

    def _find(self, keys: Sequence[Sequence[bytes]]) -> Presence:
        found = Presence([], [])
        arrays = [binary_array(kind, fields) for kind, fields in zip(self._types, keys, strict=True)]
        for ordinal, is_outdated in self._connection.execute(self._query, arrays, binary=True):
            (found.outdated if is_outdated else found.absent).append(ordinal - 1)
        return found
