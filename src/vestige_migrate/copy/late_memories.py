"""Rows whose memory was written to the source after the memories had been read: they are brought in a further round.

A source in use gets memories, each with its schedule and edges, all the time. What a round does not find in the
destination it reads; the last rows of the last round wait for the next run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace

from loguru import logger

from vestige_migrate.copy.tally import Tally
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.report.rows import Outcome, RowError
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.dangling import list_dangling
from vestige_migrate.tables.base import Table
from vestige_migrate.tables.row_names import name_key

MOST_ROUNDS = 3
"""Each is much shorter than the one before: it reads what was written during that."""

_MEMORIES = "knowledge_nodes"
_WAITS = "its memory was written to the source while the copy ran, and is not there yet"


def bring_late_memories(tally: Tally, source: PreparedSource, before: object, load_again: Callable[[], None]) -> object:
    """Loads again as long as a row waits for another and the source has moved on; its state before the last load.

    `before` is the state of the source before the first load. Raises what `load_again` does.
    """
    for _ in range(MOST_ROUNDS):
        now = source.state()
        waiting = len(tally.waiting())
        if not waiting or now == before:
            break
        logger.info(
            "{} rows wait for others, and the source has been written to since it was read: going through it again",
            waiting,
        )
        before = now
        tally.start_over()
        load_again()
    return before


def put_open_rows_aside(
    tally: Tally,
    source: PreparedSource,
    before: object,
    tables: Mapping[str, Table],
    sources: Mapping[str, TableSource],
) -> list[RowError]:
    """Rows that are not there because their memory is too young: no errors, where the source has moved on since
    `before`. What refers to no memory of the source stays an error."""
    waiting = tally.waiting()
    if not waiting or source.state() == before:
        return []
    names = {
        name: _dangling(source.connection, tables[name], sources[name])
        for name in {error.table for error in waiting}
        if name in sources
    }
    still_open = [error for error in waiting if error.table in names and error.id not in names[error.table]]
    still_open = [error for error in still_open if _is_of_memory(tables[error.table], error)]
    tally.put_aside(still_open)
    return [replace(error, outcome=Outcome.SOURCE_CHANGED, sqlstate=None, message=_WAITS) for error in still_open]


def _is_of_memory(table: Table, error: RowError) -> bool:
    return any(parent.table == _MEMORIES and parent.column == error.column for parent in table.parents)


def _dangling(connection: sqlite3.Connection, table: Table, source: TableSource) -> set[str]:
    """Names of the table's rows that refer to a memory which the source does not have, or spells otherwise."""
    columns = [source.values[table.index(parent.column)] for parent in table.parents if parent.table == _MEMORIES]
    return {name_key(table, key) for key in list_dangling(connection, source, [value for value in columns if value])}
