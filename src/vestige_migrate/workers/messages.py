"""What a pool and its workers say to each other."""

from __future__ import annotations

from dataclasses import dataclass

from vestige_migrate.report.rows import RowError
from vestige_migrate.source.read.ranges import Range


@dataclass(frozen=True)
class Task:
    """Deal with this range. `ask_first`: the destination may hold some of its rows, so ask before reading.

    `last_try`: a fault that might pass by itself ends the run this time, so look for a row that it is due to.
    """

    range: Range
    ask_first: bool
    last_try: bool = False


@dataclass(frozen=True)
class Ping:
    """Open both ends, deal once more with `known`, which was dealt with before, and answer `Pong`.

    If the worker dies of this, no row is the cause. `range` is what it is about.
    """

    range: Range
    known: Range | None


@dataclass(frozen=True)
class JobMessage:
    """What a job's worker says of its range, to whoever handles the job's messages: each job has its own kinds.

    The range may be tried again: at `RangeFault` and `WorkerLost` what was heard of it does not count any more, unless
    it was committed.
    """

    range: Range


@dataclass(frozen=True)
class RowGivenUp:
    """The one row of the range ends every worker that deals with it: nothing else is tried. The range is done."""

    range: Range
    error: RowError


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
    """A worker ended while it dealt with the range."""

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

Message = JobMessage | RangeDone | RangeFault | RangeSplit | RowGivenUp | Waiting | WorkerLost
