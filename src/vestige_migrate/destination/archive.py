"""The table `vestige_archive`: is it ours, make it, write into it. Nothing in it is ever overwritten or deleted."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import errors, sql

from vestige_migrate.destination.connect import Connection
from vestige_migrate.destination.faults import describe, is_row_fault
from vestige_migrate.destination.schema import read_sql
from vestige_migrate.destination.stage import copy_into
from vestige_migrate.errors import DestinationUnusable
from vestige_migrate.report import Outcome, RowError
from vestige_migrate.wire import field as wire

ARCHIVE = "vestige_archive"
_COLUMNS = {"table_name": "text", "row_key": "text", "row": "jsonb"}

_MAKE_STAGE = sql.SQL("CREATE TEMP TABLE IF NOT EXISTS vestige_stage_archive (ordinal int, row_key text, row jsonb)")
_EMPTY_STAGE = sql.SQL("TRUNCATE vestige_stage_archive")
_COPY_STAGE = sql.SQL("COPY vestige_stage_archive (ordinal, row_key, row) FROM STDIN (FORMAT BINARY)")
_INSERT = sql.SQL(
    "INSERT INTO vestige_archive (table_name, row_key, row) SELECT %s, row_key, row FROM vestige_stage_archive"
    " ORDER BY ordinal ON CONFLICT (table_name, row_key) DO NOTHING"
)
# Another row has the key: the same row at another time, or one of another file. Both are kept. jsonb takes 1 and 1.0
# for equal, so the texts are compared; jsonb writes every value in one way only.
_INSERT_BESIDE = sql.SQL(
    "INSERT INTO vestige_archive (table_name, row_key, row)"
    " SELECT a.table_name, s.row_key || '#' || left(encode(sha256(convert_to(s.row::text, 'UTF8')), 'hex'), 32), s.row"
    " FROM vestige_stage_archive AS s JOIN vestige_archive AS a ON a.table_name = %s AND a.row_key = s.row_key"
    " WHERE a.row::text <> s.row::text ORDER BY s.ordinal ON CONFLICT (table_name, row_key) DO NOTHING"
)


@dataclass(frozen=True)
class ArchiveRow:
    """A row ready to be archived: its key and itself as JSON text."""

    key: str
    row: str


@dataclass
class Archived:
    """What became of rows: how many are new in the archive, which were refused."""

    inserted: int = 0
    refused: list[RowError] = field(default_factory=list)


def check_archive(connection: Connection) -> None:
    """Raises `DestinationUnusable` where a table of this name is not ours."""
    found: dict[str, str] = dict(
        connection.execute(
            "SELECT a.attname, t.typname FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid"
            " WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped",
            (ARCHIVE,),
        ).fetchall()
    )
    if not found:
        return
    key = connection.execute(
        "SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_constraint AS c"
        " JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = ANY(c.conkey)"
        " WHERE c.conrelid = to_regclass(%s) AND c.contype = 'p'",
        (ARCHIVE,),
    ).fetchone()
    if not _COLUMNS.items() <= found.items() or key != (["row_key", "table_name"],):
        raise DestinationUnusable(
            f"the destination has a table {ARCHIVE} that is not the one this program makes (table_name text, "
            "row_key text, row jsonb, primary key (table_name, row_key)): rename it, or copy without --archive"
        )


def create_archive(connection: Connection) -> None:
    """Creates the table where it is missing. Raises `DestinationUnusable` where this role may not."""
    if connection.execute("SELECT to_regclass(%s)", (ARCHIVE,)).fetchone() != (None,):
        return
    try:
        connection.execute(read_sql("archive.sql"))
    except errors.InsufficientPrivilege:
        raise DestinationUnusable(
            f"--archive needs the table {ARCHIVE} and this role may not create it: let the database's owner run this "
            "command once, or copy without --archive"
        ) from None


class ArchiveWriter:
    """Writes rows of one table into the archive, a transaction a batch."""

    def __init__(self, connection: Connection, table: str) -> None:
        self._connection = connection
        self._table = table
        connection.execute(_MAKE_STAGE)

    def write(self, rows: Sequence[ArchiveRow]) -> Archived:
        """Archives the rows. Raises psycopg.Error only for what is no row's fault; nothing is committed then."""
        archived = Archived()
        with self._connection.transaction():
            self._place(rows, archived)
        return archived

    def _place(self, rows: Sequence[ArchiveRow], archived: Archived) -> None:
        """Inserts the rows, halving down to the ones that PostgreSQL refuses (jsonb holds 255 MiB)."""
        try:
            with self._connection.transaction():
                inserted = self._insert(rows)
        except psycopg.Error as error:
            if not is_row_fault(error):
                raise
            if len(rows) == 1:
                archived.refused.append(
                    RowError(self._table, rows[0].key, None, describe(error), Outcome.NOT_COPIED, error.sqlstate)
                )
                return
            middle = len(rows) // 2
            self._place(rows[:middle], archived)
            self._place(rows[middle:], archived)
            return
        archived.inserted += inserted

    def _insert(self, rows: Sequence[ArchiveRow]) -> int:
        self._connection.execute(_EMPTY_STAGE)
        columns = [
            [struct.pack(">ii", 4, ordinal) for ordinal in range(len(rows))],
            [wire.text(row.key) for row in rows],
            [wire.jsonb(row.row) for row in rows],
        ]
        copy_into(self._connection, _COPY_STAGE, columns)
        inserted = self._connection.execute(_INSERT, (self._table,)).rowcount
        return inserted + self._connection.execute(_INSERT_BESIDE, (self._table,)).rowcount
