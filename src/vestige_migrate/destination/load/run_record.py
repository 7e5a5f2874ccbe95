"""What a batch leaves in the destination's record of its copies, in the transaction of the batch itself.

So a batch that is not committed leaves nothing, and one that is has been noted, whoever is killed after it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from uuid import UUID

import psycopg
from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.faults import is_session_lost
from vestige_migrate.destination.connection.table_names import ours
from vestige_migrate.destination.schema.run_tables import BATCHES, ERRORS, RUNS, Run
from vestige_migrate.report.rows import NIL_UUID, Outcome, RowError

ErrorIdentity = tuple[str, str, str | None, str]
"""Table, key, column and reason."""

_COLUMNS = sql.SQL("(run_id, table_name, part, inserted, updated, row_xmin, transaction_id)")
_TRANSACTION = sql.SQL("pg_current_xact_id()::text::bigint")
_LAST_32_BITS = sql.SQL("4294967295")


class BatchRecord:
    """The record of what the run writes to one table, over one connection. `part` is the number of the range."""

    def __init__(self, connection: Connection, run: Run, table: str, part: int) -> None:
        self._connection = connection
        self.run = run
        self._run_id = run.id
        self._part = part
        self._begin: bytes | None = None
        self._begin_rows = 0
        self._into = sql.SQL("INSERT INTO {} {}").format(ours(connection, BATCHES), _COLUMNS)
        self._about = sql.SQL("{}, {}, {}").format(sql.Literal(str(run.id)), sql.Literal(table), sql.Literal(part))

    @contextmanager
    def of_direct(self, rows: int) -> Iterator[None]:
        """A transaction in which so many rows go in, all or none, as they are sent."""
        if self._begin is None or self._begin_rows != rows:
            # Composed once, which takes as long as all the rest: nearly all batches of a table have one size.
            self._begin_rows = rows
            self._begin = (
                sql.SQL("BEGIN; {} VALUES ({}, {}, 0, {} & {}, {})")
                .format(self._into, self._about, sql.Literal(rows), _TRANSACTION, _LAST_32_BITS, _TRANSACTION)
                .as_bytes(self._connection)
            )
        try:
            # In one message: a batch is short, and the way to the server may be long.
            self._connection.execute(self._begin, prepare=False)
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if not self._connection.closed:
                with suppress(psycopg.Error):
                    self._connection.rollback()
            raise

    def of_insert(self, insert: sql.Composable) -> sql.Composed:
        """The INSERT, which then answers with the number of rows that went in, in no row where none did.

        The xmin is asked of the rows: within a savepoint it is not the number of the transaction.
        """
        return sql.SQL(
            "WITH placed AS ({} RETURNING xmin::text::bigint AS row_xmin)"
            " {} SELECT {}, count(*), 0, row_xmin, {} FROM placed GROUP BY row_xmin RETURNING inserted"
        ).format(insert, self._into, self._about, _TRANSACTION)

    def note_update(self, table: str, xmins: Iterable[int]) -> None:
        """Rows of the table were updated: one number for each, of its new xmin."""
        counted: dict[int, int] = {}
        for xmin in xmins:
            counted[xmin] = counted.get(xmin, 0) + 1
        note = sql.SQL("{} VALUES (%s, %s, %s, 0, %s, %s, {})").format(self._into, _TRANSACTION)
        for xmin, rows in counted.items():
            self._connection.execute(note, (self._run_id, table, self._part, rows, xmin))

    def note_errors(self, errors: Sequence[RowError]) -> None:
        """These rows are not here as they are in the source."""
        note_errors(self._connection, self._run_id, errors)


def note_errors(connection: Connection, run_id: UUID, errors: Sequence[RowError]) -> None:
    """Enters the errors in the record; one that is there from an earlier run is of this one too then."""
    if not errors:
        return
    # Once each: rows without an id may have one reason.
    given = sql.SQL(
        "given AS (SELECT DISTINCT ON (table_name, key, column_name, reason) *"
        " FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])"
        " WITH ORDINALITY AS g(table_name, key, column_name, reason, sqlstate, outcome, n))"
    )
    known = sql.SQL(
        "known AS (UPDATE {} AS e SET last_run = %s, sqlstate = g.sqlstate, outcome = g.outcome FROM given AS g"
        " WHERE (e.table_name, e.key, e.reason) = (g.table_name, g.key, g.reason)"
        " AND e.column_name IS NOT DISTINCT FROM g.column_name RETURNING g.n)"
    ).format(ours(connection, ERRORS))
    insert = sql.SQL(
        "INSERT INTO {} (table_name, key, column_name, reason, sqlstate, outcome, first_run, last_run)"
        " SELECT table_name, key, column_name, reason, sqlstate, outcome, %s, %s FROM given"
        " WHERE n NOT IN (SELECT n FROM known)"
    ).format(ours(connection, ERRORS))
    columns = [
        [error.table for error in errors],
        [storable(error.id) for error in errors],
        [error.column for error in errors],
        [storable(error.unquoted) for error in errors],
        [error.sqlstate for error in errors],
        [str(error.outcome) for error in errors],
    ]
    statement = sql.SQL("WITH {}, {} {}").format(given, known, insert)
    connection.execute(statement, [*columns, run_id, run_id, run_id])


def errors_of_earlier_runs(connection: Connection, run_id: UUID, said: Sequence[RowError]) -> list[RowError]:
    """The errors of the record that this run has not entered nor `said`, of rows that have an id."""
    condition = sql.SQL("e.last_run <> %s AND e.key <> %s")
    known = _recorded_errors(connection, condition, (run_id, NIL_UUID))
    already = {identity_of(error) for error in said}
    return [error for error in known if identity_of(error) not in already]


def with_known_since(connection: Connection, found: Sequence[RowError]) -> list[RowError]:
    """The errors, each with the time since when the record has it; as they are where this role may not read that."""
    if not found:
        return []
    ids = list({storable(error.id) for error in found})
    try:
        with connection.transaction():
            known = _recorded_errors(connection, sql.SQL("e.key = ANY(%s)"), (ids,))
    except psycopg.Error as error:  # no such tables, no right, tables of somebody else's, or a lock on them
        if is_session_lost(error):
            raise
        return list(found)
    since = {identity_of(error): error.known_since for error in known}
    return [replace(error, known_since=since.get(identity_of(error))) for error in found]


def _recorded_errors(
    connection: Connection, condition: sql.Composable, parameters: tuple[object, ...]
) -> list[RowError]:
    """Those of the record for which that holds, by table and key."""
    rows = connection.execute(
        sql.SQL(
            "SELECT e.table_name, e.key, e.column_name, e.reason, e.outcome, e.sqlstate,"
            " coalesce(to_char(r.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), 'an earlier run')"
            " FROM {} AS e LEFT JOIN {} AS r ON r.id = e.first_run"
            " WHERE {} AND e.outcome = ANY(%s) ORDER BY e.table_name, e.key"
        ).format(ours(connection, ERRORS), ours(connection, RUNS), condition),
        (*parameters, [str(outcome) for outcome in Outcome]),
    )
    return [
        RowError(name, key, column, reason, Outcome(outcome), state, known_since=since)
        for name, key, column, reason, outcome, state, since in rows
    ]


def forget_errors(
    connection: Connection, run_id: UUID, errors: Sequence[RowError], of_files: Run | None = None
) -> None:
    """These hold no more; what this run has entered stays. With `of_files` only what a run of its files said last."""
    if not errors:
        return
    said_of_these = _said_of_files(connection, of_files) if of_files is not None else sql.SQL("true")
    connection.execute(
        sql.SQL(
            "DELETE FROM {} AS e USING unnest(%s::text[], %s::text[], %s::text[]) AS g(table_name, key, reason)"
            " WHERE (e.table_name, e.key, e.reason) = (g.table_name, g.key, g.reason) AND e.last_run <> %s AND {}"
        ).format(ours(connection, ERRORS), said_of_these),
        (
            *([storable(getattr(error, name)) for error in errors] for name in ("table", "id", "unquoted")),
            run_id,
        ),
    )


def forget_unnamed(connection: Connection, run: Run) -> None:
    """Errors of rows without an id hold no more that an earlier run of these files said, and this one did not."""
    connection.execute(
        sql.SQL("DELETE FROM {} AS e WHERE key = %s AND last_run <> %s AND {}").format(
            ours(connection, ERRORS), _said_of_files(connection, run)
        ),
        (NIL_UUID, run.id),
    )


def _said_of_files(connection: Connection, run: Run) -> sql.Composed:
    """Whether the error `e` was said last by a run of no other files than this one's."""
    return sql.SQL("EXISTS (SELECT FROM {} AS r WHERE r.id = e.last_run AND {})").format(
        ours(connection, RUNS), run.is_of_these("r")
    )


def forget_unsaid(connection: Connection, run_id: UUID, said: Collection[ErrorIdentity]) -> None:
    """What this run has entered of a try that did not last (a row went in later, or waits for its memory) is none."""
    entered = connection.execute(
        sql.SQL("SELECT table_name, key, column_name, reason FROM {} WHERE last_run = %s").format(
            ours(connection, ERRORS)
        ),
        (run_id,),
    ).fetchall()
    unsaid = [identity for identity in entered if identity not in said]
    if unsaid:
        connection.execute(
            sql.SQL(
                "DELETE FROM {} AS e USING unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS g(t, k, c, r)"
                " WHERE (e.table_name, e.key, e.reason, e.last_run) = (g.t, g.k, g.r, %s)"
                " AND e.column_name IS NOT DISTINCT FROM g.c"
            ).format(ours(connection, ERRORS)),
            [*map(list, zip(*unsaid, strict=True)), run_id],
        )


def identity_of(error: RowError) -> ErrorIdentity:
    """What tells an entry of the record from others."""
    return error.table, storable(error.id), error.column, storable(error.unquoted)


def storable(text: str) -> str:
    """The text as PostgreSQL takes it: an id that is none may hold anything."""
    return text.replace("\0", "\\0").encode(errors="backslashreplace").decode()
