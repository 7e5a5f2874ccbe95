"""Rows whose memory was written to the source after the memories had been read: they are brought in a further round.

A source in use gets memories, each with its schedule and edges, all the time. What a round does not find in the
destination it reads; the last rows of the last round wait for the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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


class LateMemories:
    """Of one file. `tables` and `sources` are all that is copied of it, by the table's name."""

    def __init__(
        self, tally: Tally, source: PreparedSource, tables: Mapping[str, Table], sources: Mapping[str, TableSource]
    ) -> None:
        self._tally = tally
        self._source = source
        self._tables = tables
        self._sources = sources
        self._before = source.state()
        """The source before it was read last."""

    def bring(self, load_again: Callable[[], None]) -> None:
        """Loads again as long as a row waits for a memory that may come. Raises what `load_again` does."""
        for _ in range(MOST_ROUNDS):
            now = self._source.state()
            waiting = len(self.open_rows())
            if not waiting:
                break
            logger.info(
                "{} rows wait for memories that were written since the source was read: going through it again", waiting
            )
            self._before = now
            self._tally.start_over(may_be_lost=False)
            load_again()

    @property
    def source_changed(self) -> bool:
        """Whether the source was written to since it was read last."""
        return self._source.state() != self._before

    def put_aside(self, still_open: Sequence[RowError]) -> list[RowError]:
        """These rows, whose memory is too young to be there, are no errors; what they are."""
        self._tally.put_aside(still_open)
        return [replace(error, outcome=Outcome.SOURCE_CHANGED, sqlstate=None, message=_WAITS) for error in still_open]

    def open_rows(self) -> list[RowError]:
        """Errors of rows that wait for a memory; not where it is none of the source's, or was refused or lost itself,
        nor where the source has not been written to since it was read."""
        waiting = [error for error in self._tally.waiting() if self._is_of_memory(error)]
        if not waiting or not self.source_changed:
            return []
        refused = self._tally.refused(_MEMORIES)
        hopeless = {name: self._hopeless(name, refused) for name in {error.table for error in waiting}}
        return [error for error in waiting if error.id not in hopeless[error.table]]

    def _is_of_memory(self, error: RowError) -> bool:
        if error.table not in self._sources:
            return False
        parents = self._tables[error.table].parents
        return any(parent.table == _MEMORIES and parent.column == error.column for parent in parents)

    def _hopeless(self, name: str, refused: Iterable[str]) -> set[str]:
        """Names of the table's rows that refer to a memory which will not come."""
        table, source = self._tables[name], self._sources[name]
        columns = [source.values[table.index(parent.column)] for parent in table.parents if parent.table == _MEMORIES]
        references = [value for value in columns if value is not None]
        return {name_key(table, key) for key in list_dangling(self._source.connection, source, references, refused)}
