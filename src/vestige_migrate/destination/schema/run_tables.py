"""The tables in which the destination remembers its copies: made where the role may, and not missed where it may not.

Without them a copy brings every row as it does with them. What is lost is the memory: errors of earlier runs are not
said again, and nobody can tell a row that was changed here from one that a copy wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

import psycopg
from loguru import logger
from psycopg import sql

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.faults import describe, is_transient, server_words
from vestige_migrate.destination.connection.table_names import ours, relation
from vestige_migrate.destination.schema import event_triggers
from vestige_migrate.destination.schema.schema import read_sql

RUNS, BATCHES, ERRORS = "vestige_run", "vestige_run_batch", "vestige_run_error"
_COLUMNS = {
    RUNS: "id sources program_version options system_identifier started_at ended_at complete counts",
    BATCHES: "run_id table_name part inserted updated row_xmin transaction_id",
    ERRORS: "table_name key column_name reason sqlstate outcome first_run last_run",
}
_RIGHTS = "SELECT, INSERT, UPDATE, DELETE"
_OLDEST_TRANSACTIONS = 2**31
"""An xmin has 32 bits. So many transactions later its number may have been given out again."""

_WITHOUT = (
    "the destination keeps no record of this copy, so that a later one will not say again what is altered here, nor "
    "tell rows that were changed here from others: {}"
)

# One row each: whether it is there, is a table of these columns, and may be used; rows that are hidden are of no use.
_LOOK = sql.SQL(
    "SELECT name, c.oid IS NOT NULL, coalesce(c.relkind = 'r' AND string_to_array(columns, ' ') <@ ("
    "   SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),"
    " false), coalesce(NOT row_security_active(c.oid) AND (SELECT bool_and(has_table_privilege(c.oid, needed))"
    "   FROM unnest(string_to_array(%s, ', ')) AS r(needed)), false)"
    " FROM unnest(%s::text[], %s::text[]) AS n(name, columns) LEFT JOIN pg_class AS c ON c.oid = {}"
).format(relation("n.name"))


def is_there(connection: Connection) -> bool:
    """Whether the record can be read and written."""
    return all(there and fits and usable for _, there, fits, usable in _look(connection))


def make_run_tables(connection: Connection) -> bool:
    """Makes what is missing of the record, in the caller's transaction; whether it can be used then.

    Where it cannot, a warning says why. Raises psycopg.Error only for what may pass by itself.
    """
    found = _look(connection)
    others = [name for name, there, fits, _ in found if there and not fits]
    if others:
        return _say_without(f"it has something else under the name {', '.join(others)} (rename or drop that)")
    if not all(there for _, there, _, _ in found):
        try:
            with connection.transaction():
                connection.execute(read_sql("run_record.sql"))
        except psycopg.Error as error:
            if is_transient(error) and not event_triggers.is_raised(error):
                raise
            words = server_words(error) or describe(error)
            return _say_without(f"{words} (let the owner of the other tables run this command once)")
        found = _look(connection)
    closed = [name for name, _, _, usable in found if not usable]
    if closed:
        return _say_without(
            f"this role may not use {', '.join(closed)} (let their owner GRANT {_RIGHTS} on them, without row-level "
            "security)"
        )
    return True


def forget_foreign(connection: Connection, system: int | None) -> None:
    """Takes away what was said of transactions of another server (the tables came in a dump), or of so long ago that
    their numbers may be others' by now. A role that may not see which server it is on (`system` is None) takes what
    is there for this one's."""
    connection.execute(
        sql.SQL(
            "DELETE FROM {} AS b USING {} AS r WHERE r.id = b.run_id AND (r.system_identifier <> %s::bigint"
            " OR b.transaction_id < pg_snapshot_xmax(pg_current_snapshot())::text::bigint - %s)"
        ).format(ours(connection, BATCHES), ours(connection, RUNS)),
        (system, _OLDEST_TRANSACTIONS),
    )


@dataclass(frozen=True)
class Run:
    """A run as the record knows it: its id, and its source files as they are named there.

    `of_other_files` are earlier runs of files of these names that are known to have been others.
    """

    id: UUID
    sources: tuple[str, ...]
    of_other_files: tuple[UUID, ...] = ()

    def is_of_these(self, run: LiteralString) -> sql.Composed:
        """Whether the row of the runs that is called so, in SQL, is one of no other files; with no parameter."""
        # Spelt in hexadecimal digits: a name may have a percent sign, which in a statement is a parameter's.
        names = sql.SQL("ARRAY(SELECT convert_from(decode(n, 'hex'), 'UTF8') FROM unnest({}::text[]) AS u(n))").format(
            sql.Literal([name.encode().hex() for name in self.sources])
        )
        others = sql.Literal([str(id_) for id_ in self.of_other_files])
        return sql.SQL("({0}.sources <@ {1} AND {0}.id <> ALL({2}::uuid[]))").format(sql.SQL(run), names, others)


def as_copied(connection: Connection, table: str, run: Run | None = None) -> sql.Composed:
    """Whether the row `t` of the table is as a copy wrote it, an expression in SQL; with `run` one of its files alone.

    By batches of that table: one of another may have had a trigger that changed the row. And by those that are entered
    under the very number that they name: in tables that came in a dump they are not, and the numbers are others' here.
    """
    runs = (
        sql.SQL("true")
        if run is None
        else sql.SQL("EXISTS (SELECT FROM {} AS r WHERE r.id = b.run_id AND {})").format(
            ours(connection, RUNS), run.is_of_these("r")
        )
    )
    return sql.SQL(
        "EXISTS (SELECT FROM {} AS b WHERE b.row_xmin = t.xmin::text::bigint AND b.table_name = {}"
        " AND b.xmin::text::bigint = b.row_xmin AND {})"
    ).format(ours(connection, BATCHES), sql.Literal(table), runs)


def files_of_other_runs(connection: Connection, table: str, run: Run) -> list[str]:
    """Files other than those of `run` that earlier runs copied, and that had rows of the table as far as is known."""
    found = connection.execute(
        sql.SQL(
            "SELECT DISTINCT f.name FROM {} AS r, unnest(r.sources) AS f(name) WHERE NOT {} AND (r.ended_at IS NULL"
            " OR COALESCE((r.counts -> f.name -> %s ->> 'source_rows')::bigint, 1) > 0) ORDER BY 1"
        ).format(ours(connection, RUNS), run.is_of_these("r")),
        (table,),
    )
    return [name for (name,) in found]


def _look(connection: Connection) -> list[tuple[str, bool, bool, bool]]:
    return connection.execute(_LOOK, (_RIGHTS, list(_COLUMNS), list(_COLUMNS.values()))).fetchall()


def _say_without(reason: str) -> bool:
    logger.warning(_WITHOUT, reason)
    return False
