"""`--owner HANDLE`: the user of that name, found in the destination or in a source, else made."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID, uuid4

from loguru import logger
from psycopg import sql

from vestige_migrate.decode.ids import decode_uuid
from vestige_migrate.decode.problem import BadValue
from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import ours, relation
from vestige_migrate.destination.load.batch_writer import TableWriter
from vestige_migrate.destination.load.run_record import BatchRecord
from vestige_migrate.destination.schema.read_back import naming, not_kept
from vestige_migrate.errors import WriteNotKept
from vestige_migrate.limits import BATCH_BYTES
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.report.rows import RowError
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.read.rows import read_batches
from vestige_migrate.tables import users
from vestige_migrate.tables.base import BOOTSTRAP_USER

OnErrors = Callable[[list[RowError]], None]


def find_owner(destination: Connection, handle: str) -> UUID | None:
    """The destination's user of this handle; None where there is none, or no table yet."""
    if destination.execute(sql.SQL("SELECT {}").format(relation("'users'"))).fetchone() == (None,):
        return None
    query = sql.SQL("SELECT id FROM {} WHERE handle = %s").format(ours(destination, "users"))
    row = destination.execute(query, (handle,)).fetchone()
    return row[0] if row else None


def make_owner(
    destination: Connection,
    handle: str,
    source: PreparedSource,
    others: Sequence[PreparedSource],
    run_start: datetime,
    on_errors: OnErrors,
    record: BatchRecord | None = None,
) -> UUID:
    """The id of the user of this handle.

    One of `source` comes with its users, before the memories. One of another file of the same copy is written now,
    whole, so that its file's turn finds it there. One that is nowhere is made. `record`: of the table users.
    """
    found = find_owner(destination, handle)
    if found is not None:
        return found
    own = _in_source(source.connection, source.layout, handle)
    if own is not None:
        return own[0]
    for other in others:
        theirs = _in_source(other.connection, other.layout, handle)
        if theirs is not None:
            _write(destination, other, theirs[1], run_start, on_errors, record)
            check_owner(destination, theirs[0])
            return theirs[0]
    made = uuid4()
    with naming(f"the user {handle} (--owner)"), destination.transaction():
        insert = sql.SQL("INSERT INTO {} (id, handle) VALUES (%s, %s)").format(ours(destination, "users"))
        statement = sql.SQL("{}").format(insert if record is None else record.of_insert(insert))
        destination.execute(statement, (made, handle))
        if find_owner(destination, handle) != made:
            raise not_kept(f"the user {handle} (--owner)")
    logger.info("made the user {} with the id {}", handle, made)
    return made


def check_owner(destination: Connection, owner: UUID) -> None:
    """Raises `WriteNotKept` where the owner, who came with the users, is not there to be given memories."""
    query = sql.SQL("SELECT FROM {} WHERE id = %s").format(ours(destination, "users"))
    if destination.execute(query, (owner,)).fetchone() is None:
        raise WriteNotKept(
            f"the user of --owner ({owner}) is not in the destination: the errors above say why it was not copied. "
            "Change that, or give another --owner, then run again; what was committed stays"
        )


def _in_source(connection: sqlite3.Connection, layout: Layout, handle: str) -> tuple[UUID, int] | None:
    """(id, rowid) of the source's user of this handle.

    Not the bootstrap user, whatever it is called there: the destination has its own, called `local`.
    """
    if not layout.has("users", "handle"):
        return None
    # As bytes: an id need not be valid UTF-8.
    for raw, rowid in connection.execute("SELECT CAST(id AS BLOB), rowid FROM users WHERE handle = ?", (handle,)):
        try:
            found = decode_uuid(raw)
        except BadValue:
            continue
        if found is not None and found != UUID(BOOTSTRAP_USER):
            return found, rowid
    return None


def _write(
    destination: Connection,
    source: PreparedSource,
    rowid: int,
    run_start: datetime,
    on_errors: OnErrors,
    record: BatchRecord | None,
) -> None:
    from vestige_migrate.encode.careful import BatchEncoder  # here: it needs numpy, which few runs of ours do

    found = users.TABLE.source_in(source.layout)
    assert found is not None  # `_in_source` read it
    encoder = BatchEncoder(users.TABLE, found, source.layout, run_start)
    writer = TableWriter(destination, users.TABLE, on_errors, last_try=True, record=record)
    for rows in read_batches(source.connection, found, [rowid], 1, BATCH_BYTES):
        writer.write(encoder.encode(rows))
