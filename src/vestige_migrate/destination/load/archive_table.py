"""The table `vestige_archive`: is it ours, make it, write into it. Nothing in it is ever overwritten or deleted."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.faults import describe, is_transient, server_words
from vestige_migrate.destination.connection.table_names import ours, relation, temporary
from vestige_migrate.destination.load.bisect_refused import Blame, place_by_halves
from vestige_migrate.destination.load.row_triggers import check_now, triggers_of
from vestige_migrate.destination.load.staging import copy_into
from vestige_migrate.destination.schema.event_triggers import is_raised
from vestige_migrate.destination.schema.new_tables import check_made
from vestige_migrate.destination.schema.read_back import naming, not_kept
from vestige_migrate.destination.schema.schema import read_sql
from vestige_migrate.errors import DestinationUnusable
from vestige_migrate.report.rows import Outcome, RowError
from vestige_migrate.wire import field as wire

ARCHIVE = "vestige_archive"
_RELATION = relation("'vestige_archive'")
_COLUMNS = {"table_name": "text", "row_key": "text", "row": "jsonb"}

_STAGE = temporary("vestige_stage_archive")
_MAKE_STAGE = sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} (ordinal int, row_key text, row jsonb)").format(_STAGE)
_EMPTY_STAGE = sql.SQL("TRUNCATE {}").format(_STAGE)
_COPY_STAGE = sql.SQL("COPY {} (ordinal, row_key, row) FROM STDIN (FORMAT BINARY)").format(_STAGE)


def beside_key(key: sql.SQL, text: sql.SQL) -> sql.Composed:
    """The key of a row whose own key another content has: it ends in the digest of its text."""
    return sql.SQL("{} || '#' || left(encode(sha256(convert_to({}, 'UTF8')), 'hex'), 32)").format(key, text)


_BESIDE_KEY = beside_key(sql.SQL("s.row_key"), sql.SQL("s.row::text"))
_INSERT = sql.SQL(
    "INSERT INTO {archive} (table_name, row_key, row) SELECT %s, row_key, row FROM {stage}"
    " WHERE ordinal <> ALL(%s::int[]) ORDER BY ordinal ON CONFLICT (table_name, row_key) DO NOTHING"
)
# Another row has the key: the same row at another time, or one of another file. Both are kept. jsonb takes 1 and 1.0
# for equal, so the texts are compared; jsonb writes every value in one way only.
_INSERT_BESIDE = sql.SQL(
    "INSERT INTO {archive} (table_name, row_key, row) SELECT a.table_name, {beside}, s.row"
    " FROM {stage} AS s JOIN {archive} AS a ON a.table_name = %s AND a.row_key = s.row_key"
    " WHERE s.ordinal <> ALL(%s::int[]) AND a.row::text <> s.row::text"
    " ORDER BY s.ordinal ON CONFLICT (table_name, row_key) DO NOTHING"
)
_ABSENT = sql.SQL(
    "SELECT s.ordinal FROM {stage} AS s WHERE NOT EXISTS (SELECT FROM {archive} AS a"
    " WHERE a.table_name = %s AND a.row_key IN (s.row_key, {beside}) AND a.row::text = s.row::text)"
)
_NOT_THERE = f"is not in {ARCHIVE} after its INSERT: a trigger of the destination's own dropped or changed it"


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
            sql.SQL(
                "SELECT a.attname, t.typname FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid"
                " WHERE a.attrelid = {} AND a.attnum > 0 AND NOT a.attisdropped"
            ).format(_RELATION)
        ).fetchall()
    )
    if not found:
        return
    key = connection.execute(
        sql.SQL(
            "SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_constraint AS c"
            " JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = ANY(c.conkey)"
            " WHERE c.conrelid = {} AND c.contype = 'p'"
        ).format(_RELATION)
    ).fetchone()
    rules = connection.execute(
        sql.SQL("SELECT FROM pg_rewrite WHERE ev_class = {} AND ev_type IN ('2', '3') AND ev_enabled <> 'D'").format(
            _RELATION
        )
    ).fetchall()
    if rules:
        raise DestinationUnusable(
            f"the table {ARCHIVE} in the destination has rules for INSERT or UPDATE, beside which no row can be "
            "written there just once: drop them, or copy without --archive"
        )
    if not _COLUMNS.items() <= found.items() or key != (["row_key", "table_name"],):
        raise DestinationUnusable(
            f"the destination has a table {ARCHIVE} that is not the one this program makes (table_name text, "
            "row_key text, row jsonb, primary key (table_name, row_key)): rename it, or copy without --archive"
        )


def create_archive(connection: Connection) -> None:
    """Creates the table where it is missing. Raises `DestinationUnusable` where this role may not."""
    if is_made(connection):
        return
    try:
        with connection.transaction():
            connection.execute(read_sql("archive.sql"))
            check_made(connection, [ARCHIVE])
    except psycopg.Error as error:
        if is_transient(error) and not is_raised(error):
            raise
        raise DestinationUnusable(
            f"--archive needs the table {ARCHIVE}, and it could not be made: {server_words(error)}. Let the database's "
            "owner run this command once, or copy without --archive"
        ) from None
    if not is_made(connection):
        raise not_kept(f"the table {ARCHIVE}")


def is_made(connection: Connection) -> bool:
    """Whether there is anything of the archive's name."""
    return connection.execute(sql.SQL("SELECT {}").format(_RELATION)).fetchone() != (None,)


class ArchiveWriter:
    """Writes rows of one table into the archive, a transaction a batch; what is not there afterwards is refused.

    Raises `WriteNotKept` where that fails without any row.
    """

    def __init__(self, connection: Connection, table: str) -> None:
        self._connection = connection
        self._table = table
        self._triggers = triggers_of(connection, ARCHIVE)
        self._blame = Blame(self._try_without_rows, lambda: False, last_try=True)
        names = {"archive": ours(connection, ARCHIVE), "stage": _STAGE, "beside": _BESIDE_KEY}
        self._insert_rows = _INSERT.format(**names)
        self._insert_beside = _INSERT_BESIDE.format(**names)
        self._find_absent = _ABSENT.format(**names)
        connection.execute(_MAKE_STAGE)

    def write(self, rows: Sequence[ArchiveRow]) -> Archived:
        """Archives the rows. Raises psycopg.Error only for what is no row's fault; nothing is committed then."""
        archived = Archived()
        with naming(f"rows of {self._table} in {ARCHIVE}"), self._connection.transaction():
            self._blame.begin()
            place_by_halves(
                rows,
                lambda part: self._place(part, archived),
                lambda row, error: archived.refused.append(self._refusal(row, describe(error), error.sqlstate)),
                self._blame,
            )
            self._blame.conclude()
        return archived

    def _place(self, rows: Sequence[ArchiveRow], archived: Archived) -> None:
        """Inserts the rows, all that no trigger drops or changes."""
        with self._connection.transaction() as savepoint:
            inserted, dropped, strays = self._insert(rows)
            if strays > 0:
                raise psycopg.Rollback(savepoint)  # nothing is ever overwritten: what is there would stay as it is
        rest = [row for at, row in enumerate(rows) if at not in dropped]
        if strays > 0 and rest:
            self._place(rest, archived)
        elif strays <= 0:
            archived.inserted += inserted
            if rest:
                self._blame.on_placed()
        archived.refused += [self._refusal(rows[at], _NOT_THERE, None) for at in sorted(dropped)]

    def _insert(self, rows: Sequence[ArchiveRow]) -> tuple[int, set[int], int]:
        """The number of rows that are new; the positions of those that are not there as they are; how many of those
        are there otherwise."""
        self._connection.execute(_EMPTY_STAGE)
        columns = [
            [struct.pack(">ii", 4, ordinal) for ordinal in range(len(rows))],
            [wire.text(row.key) for row in rows],
            [wire.jsonb(row.row) for row in rows],
        ]
        copy_into(self._connection, _COPY_STAGE, columns)
        wanted = self._absent() if self._triggers.on_insert else set(range(len(rows)))
        if not wanted:
            return 0, set(), 0
        there = [at for at in range(len(rows)) if at not in wanted]
        inserted = self._connection.execute(self._insert_rows, (self._table, there)).rowcount
        if inserted < len(wanted):
            inserted += self._connection.execute(self._insert_beside, (self._table, there)).rowcount
        if self._triggers.at_commit:
            check_now(self._connection)
        if inserted == len(rows) and not self._triggers.on_insert:
            return inserted, set(), 0
        dropped = self._absent()
        return inserted, dropped, inserted - len(wanted) + len(dropped) if self._triggers.on_insert else 0

    def _absent(self) -> set[int]:
        """The ordinals of the staged rows that are not in the archive as they are."""
        return {ordinal for (ordinal,) in self._connection.execute(self._find_absent, (self._table,))}

    def _try_without_rows(self) -> None:
        with self._connection.transaction(force_rollback=True):
            self._connection.execute(_EMPTY_STAGE)
            self._connection.execute(self._insert_rows, (self._table, []))
            if self._triggers.at_commit:
                check_now(self._connection)

    def _refusal(self, row: ArchiveRow, message: str, state: str | None) -> RowError:
        return RowError(self._table, row.key, None, message, Outcome.NOT_COPIED, state)
