"""The job of a worker that copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from vestige_migrate.destination.schema.run_tables import Run
from vestige_migrate.plan import OnConflict
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.layout.table_source import TableSource
from vestige_migrate.tables.base import Evidence, Refresh, Table
from vestige_migrate.tables.overrides import Overrides
from vestige_migrate.tables.shapes import OURS, Shapes
from vestige_migrate.workers.job import Job, Send, WorkerConfig

if TYPE_CHECKING:
    from vestige_migrate.workers.worker import RangeWorker

NO_OVERRIDES = Overrides()


@dataclass(frozen=True)
class Rules:
    """What is done with rows of a table that are there already.

    `compares`: those that no rule of `refresh` tells apart are compared as a whole; then `whole_row` is the rule for
    those that differ, and `of_vector` the one for their vectors.
    """

    refresh: Refresh | None = None
    compares: bool = False
    whole_row: Refresh | None = None
    of_vector: Refresh | None = None
    run: Run | None = None
    """By whose record of its files is known which rows are as a copy wrote them; None where nobody knows."""


def rules_for(
    table: Table,
    source: TableSource,
    on_conflict: OnConflict,
    run: Run | None,
    is_only_file: bool,
    replaces_all: bool = False,
) -> Rules:
    """The rules for one table. `run` is there where the destination knows which rows are as a copy wrote them.

    `replaces_all`: with `source`, whoever runs it has said that rows of others may be lost.
    """
    if on_conflict is OnConflict.SKIP:
        return Rules()
    compares = is_only_file and table.stored is None
    if on_conflict is OnConflict.SOURCE:
        if run is None and not replaces_all:
            return Rules(compares=compares)
        evidence = Evidence.ALWAYS if replaces_all else Evidence.AS_COPIED_WHOLE
        return Rules(compares=compares, whole_row=table.whole_row(evidence, source), run=run)
    refresh = table.refresh_from(source)
    if not compares:
        return Rules(refresh)
    if run is not None and refresh is not None and refresh.evidence is Evidence.DIFFERENT:
        refresh = None  # another value says nothing of which is later: where it was changed is known
    whole_row = table.whole_row(Evidence.AS_COPIED, source) if run is not None else None
    return Rules(refresh, compares, whole_row, table.refresh_vector_from(source), run)


@dataclass(frozen=True)
class CopyJob(Job):
    """Every row of each range to the destination, in batches. `shapes` are those of the destination's tables."""

    done: ClassVar[str] = "copied"
    after_stop: ClassVar[str] = "What was committed stays; run again to resume"

    layout: Layout
    batch_rows: int
    batch_bytes: int
    run_start: datetime
    on_conflict: OnConflict = OnConflict.SKIP
    overrides: Overrides = NO_OVERRIDES
    shapes: Shapes = OURS
    recorded: Mapping[str, Run] = field(default_factory=dict)
    """Tables whose batches are entered in the destination's record of its copies, each with the run."""
    forgets: bool = False
    """Whether the destination has tombstones of memories which are not to come back."""
    is_only_file: bool = True
    """Of several files that share a memory, each would put its own vector in the place of the others'."""
    replaces_all: bool = False
    """Whether `--yes` was given: rows that somebody has written to may be lost."""

    def rules(self, table: Table, source: TableSource) -> Rules:
        """What is done with rows of this table that are there already."""
        run = self.recorded.get(table.name)
        return rules_for(table, source, self.on_conflict, run, self.is_only_file, self.replaces_all)

    def make_worker(self, config: WorkerConfig, send: Send) -> RangeWorker:
        from vestige_migrate.copy.worker import RangeCopier

        return RangeCopier(config, self, send)
