"""Which rows are in `vestige_archive` as they are in the source? Asked by key, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.faults import describe, is_row_fault
from vestige_migrate.destination.connection.table_names import ours, relation
from vestige_migrate.destination.load.archive_table import ARCHIVE, ArchiveRow, beside_key, check_archive, is_made
from vestige_migrate.destination.load.binary_arrays import binary_array, register_arrays
from vestige_migrate.errors import DestinationUnusable
from vestige_migrate.verify.row_digests import LARGEST_MESSAGE_BYTES
from vestige_migrate.wire import field as wire

_TOO_LONG = "longer than jsonb holds"

# As the insert does it: the texts are compared, because jsonb takes 1 and 1.0 for equal, and a row whose key was taken
# by other content is beside that one under a key that ends in its digest.
_FIND = sql.SQL(
    "SELECT k.ordinal, a.same IS TRUE OR EXISTS ("
    "   SELECT FROM {archive} AS b WHERE b.table_name = %(table)s AND b.row::text = k.text"
    "     AND b.row_key = {beside}) AS same, a.same IS NOT NULL"
    " FROM (SELECT u.key, u.row::text AS text, u.ordinal FROM unnest(%(keys)s, %(rows)s) WITH ORDINALITY"
    "   AS u(key, row, ordinal)) AS k"
    " LEFT JOIN LATERAL (SELECT t.row::text = k.text AS same FROM {archive} AS t"
    "   WHERE t.table_name = %(table)s AND t.row_key = k.key) AS a ON true"
)


@dataclass
class Looked:
    """What was found for a list of rows, by position: rows that are not there, why jsonb could not hold some of them,
    and rows whose key is there, with whatever content."""

    absent: list[int] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)


def is_there(connection: Connection) -> bool:
    """Whether the destination has the table, and it is the one this program makes."""
    if not is_made(connection):
        return False
    try:
        check_archive(connection)
    except DestinationUnusable:
        return False
    return True


def is_readable(connection: Connection) -> bool:
    """Whether this role may read it, and sees all of its rows."""
    row = connection.execute(
        sql.SQL("SELECT has_table_privilege(id, 'SELECT') AND NOT row_security_active(id) FROM {} AS t(id)").format(
            relation("%s")
        ),
        (ARCHIVE,),
    ).fetchone()
    return row == (True,)


def is_empty(connection: Connection) -> bool:
    """Whether there is no row in it, of any source."""
    query = sql.SQL("SELECT FROM {} LIMIT 1").format(ours(connection, ARCHIVE))
    return connection.execute(query).fetchone() is None


class ArchiveReader:
    """Looks for rows of one table of the source."""

    def __init__(self, connection: Connection, table: str) -> None:
        self._connection = connection
        self._table = table
        self._find = _FIND.format(
            archive=ours(connection, ARCHIVE), beside=beside_key(sql.SQL("k.key"), sql.SQL("k.text"))
        )
        register_arrays(connection)

    def look(self, rows: Sequence[ArchiveRow]) -> Looked:
        """Looks for each row's content under its key. Raises psycopg.Error only for what is no row's fault."""
        looked = Looked()
        self._look(list(enumerate(rows)), looked)
        looked.absent.sort()
        return looked

    def _look(self, rows: list[tuple[int, ArchiveRow]], looked: Looked) -> None:
        """Halves down to the rows that jsonb refuses: those cannot be there."""
        reason = _TOO_LONG
        if sum(len(row.row) for _, row in rows) < LARGEST_MESSAGE_BYTES:
            encoded = [wire.jsonb(row.row) for _, row in rows]
            if sum(map(len, encoded)) < LARGEST_MESSAGE_BYTES:
                try:
                    return self._ask(rows, encoded, looked)
                except psycopg.Error as error:
                    if not is_row_fault(error):
                        raise
                    reason = describe(error)
        if len(rows) == 1:
            looked.absent.append(rows[0][0])
            looked.reasons[rows[0][0]] = reason
            return None
        middle = len(rows) // 2
        self._look(rows[:middle], looked)
        self._look(rows[middle:], looked)
        return None

    def _ask(self, rows: list[tuple[int, ArchiveRow]], encoded: Sequence[bytes], looked: Looked) -> None:
        parameters = {
            "table": self._table,
            "keys": binary_array("text", [wire.text(row.key) for _, row in rows]),
            "rows": binary_array("jsonb", encoded),
        }
        for ordinal, same, known in self._connection.execute(self._find, parameters, binary=True).fetchall():
            position = rows[ordinal - 1][0]
            if same or known:
                looked.known.add(position)
            if not same:
                looked.absent.append(position)
