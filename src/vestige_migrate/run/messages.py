"""What coordinator and workers say to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from vestige_migrate.destination.server import Home
from vestige_migrate.plan import OnConflict
from vestige_migrate.report.rows import RowError
from vestige_migrate.source.connect import SourceFile
from vestige_migrate.source.layout import Layout
from vestige_migrate.source.ranges import Range
from vestige_migrate.tables.overrides import Overrides
from vestige_migrate.tables.shapes import OURS, Shapes
from vestige_migrate.verify.messages import BatchCompared, NeighboursFound, Queries

NO_OVERRIDES = Overrides()


@dataclass(frozen=True)
class WorkerConfig:
    """All a worker needs to know; sent once, when it starts."""

    source: SourceFile
    layout: Layout
    postgres_url: str = field(repr=False)
    application_name: str
    silence_seconds: float
    batch_rows: int
    batch_bytes: int
    run_start: datetime
    on_conflict: OnConflict = OnConflict.SKIP
    verify: Queries | None = None
    """The worker compares, and looks for these neighbours on the way; None: it copies."""
    overrides: Overrides = NO_OVERRIDES
    home: Home | None = None
    """Where its sessions have to be; None: wherever the URL leads."""
    shapes: Shapes = OURS
    """The shapes of the destination's tables."""


@dataclass(frozen=True)
class Task:
    """Copy or compare this range. `ask_first`: the destination may hold some of its rows, so ask before reading.

    `last_try`: a fault that might pass by itself ends the run this time, so look for a row that it is due to.
    """

    range: Range
    ask_first: bool
    last_try: bool = False


@dataclass(frozen=True)
class Ping:
    """Open both ends, deal once more with `known`, which was dealt with before, and answer `Pong`.

    A worker that does not survive that is not killed by any row. `range` is what it is about.
    """

    range: Range
    known: Range | None


@dataclass(frozen=True)
class ErrorsFound:
    """Rows of the coming batch that have errors. Sent before its commit, so that none can get lost."""

    range: Range
    errors: tuple[RowError, ...]


@dataclass(frozen=True)
class BatchDone:
    """A batch is committed. `companions` schedules were updated together with its memories.

    `doubtful`: a skipped row may be there under another row's content, whose key is the same or the same in another
    spelling.
    """

    range: Range
    inserted: int
    skipped: int
    failed: int
    updated: int = 0
    companions: int = 0
    doubtful: bool = False

    @property
    def rows(self) -> int:
        """Rows of the source that this batch stands for."""
        return self.inserted + self.skipped + self.failed + self.updated


@dataclass(frozen=True)
class RangeDone:
    """Every row of the range is dealt with."""

    range: Range


@dataclass(frozen=True)
class RangeFault:
    """The range stopped; what it committed stays. `reason` never holds row content."""

    range: Range
    transient: bool
    reason: str


@dataclass(frozen=True)
class WorkerLost:
    """A worker ended while it copied the range."""

    range: Range
    reason: str


@dataclass(frozen=True)
class RangeSplit:
    """The range killed its workers; `parts` take its place."""

    range: Range
    parts: tuple[Range, ...]


@dataclass(frozen=True)
class Connected:
    """The worker has a new connection, to the server process `server_pid`."""

    range: Range
    server_pid: int | None


@dataclass(frozen=True)
class Begun:
    """Both ends could be reached, and the worker begins with the range now: until here no row of it is to blame."""

    range: Range


@dataclass(frozen=True)
class Alive:
    """The worker's process runs. What it has used up so far, and whether it waits for the server."""

    cpu_seconds: float
    bytes_read: int
    waits_for_server: bool


@dataclass(frozen=True)
class Pong:
    """What `Ping` asked for is done."""


@dataclass(frozen=True)
class Broken:
    """The worker's process ends itself. `reason` is for the operator; `places` are lines of code, without values."""

    reason: str
    places: str = ""


@dataclass(frozen=True)
class Waiting:
    """The worker has no connection and waits before it tries again; the range is its own meanwhile."""

    range: Range
    reason: str


Sign = Begun | Alive | Pong | Broken | Connected
"""What a worker says of itself, for the pool alone."""

Message = (
    ErrorsFound
    | BatchDone
    | RangeDone
    | RangeFault
    | RangeSplit
    | Waiting
    | WorkerLost
    | BatchCompared
    | NeighboursFound
)
