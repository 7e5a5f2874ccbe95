"""What changed in the source since its rows were read last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from vestige_migrate.copy.follow.source_rows import TableRows, read_rows
from vestige_migrate.errors import SourceReplaced, Stopped
from vestige_migrate.paths import shown
from vestige_migrate.prepare.source import PreparedSource
from vestige_migrate.source.file.mid_run_changes import Witnesses
from vestige_migrate.source.layout.inspect import inspect_source
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.source.read.tombstones import count_tombstones
from vestige_migrate.tables import PHASES
from vestige_migrate.tables.shapes import Shapes

_CHILDREN_FIRST = [table.name for _, tables in reversed(PHASES) for table in reversed(tables)]
"""So the memory of an edge that was read is among the memories that are read after it."""


@dataclass(frozen=True)
class Changes:
    """Rowids of rows that are new or not as they were, by table; and whether the source let something go: a key is
    there no more, or another tombstone is."""

    rowids: Mapping[str, list[int]]
    let_go: bool

    def __len__(self) -> int:
        return sum(map(len, self.rowids.values()))

    @property
    def are_any(self) -> bool:
        """Whether there is anything to be done."""
        return len(self) > 0 or self.let_go


class WatchedSource:
    """One source, and what its rows were. The tables are those that are copied of it."""

    def __init__(self, prepared: PreparedSource, shapes: Shapes, beat: Callable[[], None]) -> None:
        self.prepared = prepared
        self._shapes = shapes
        self._beat = beat
        self.sources = self._sources_in(prepared.layout)
        self._rows: dict[str, TableRows] = {}
        self._tombstones = 0

    def _sources_in(self, layout: Layout) -> dict[str, TableSource]:
        return {name: found for name, table in self._shapes.tables().items() if (found := table.source_in(layout))}

    def find_changes(self) -> Changes:
        """Reads everything; all rows are changed the first time.

        Raises `SourceReplaced` where the file is gone or another one, and `Stopped` where its tables or its embedding
        model are not what the run began with.
        """
        self._check_same()
        rowids: dict[str, list[int]] = {}
        let_go = False
        for name in _CHILDREN_FIRST:
            source = self.sources.get(name)
            if source is None:
                continue
            now, before = read_rows(self.prepared.connection, source, self._beat), self._rows.get(name)
            self._rows[name] = now
            rowids[name] = now.changed_since(before) if before is not None else now.rowids.tolist()
            let_go = let_go or (before is not None and now.lost_since(before) > 0)
        tombstones = count_tombstones(self.prepared.connection, self.prepared.layout)
        let_go = let_go or tombstones != self._tombstones
        self._tombstones = tombstones
        return Changes(rowids, let_go)

    def _check_same(self) -> None:
        prepared = self.prepared
        name = shown(prepared.file.path)
        if not prepared.file.is_in_place:
            raise SourceReplaced(
                f"{name} was moved, deleted or replaced while it was followed. What was committed stays; run again to "
                "follow what is there now"
            )
        prepared.check_same()
        layout = inspect_source(prepared.connection, prepared.file.path, prepared.layout.model)
        known = prepared.layout
        # A table that nothing is copied of may be new: tombstones are in one.
        witnesses = Witnesses.of(prepared.file, prepared.connection)  # those of before may go, one after the other
        self.prepared = replace(prepared, layout=layout, witnesses=witnesses)
        if (layout.model, layout.dimension) != (known.model, known.dimension) or (
            self._sources_in(layout) != self.sources
        ):
            raise Stopped(
                f"the tables of {name} or its embedding model changed while it was followed (another version of "
                "Vestige, or another model). What was committed stays; run again to go on with what it is now"
            )
