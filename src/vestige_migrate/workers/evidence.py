"""Whether lost workers speak against the rows they had, or against the machine.

A worker that dies proves nothing by itself: the system's memory killer takes whoever is largest. A row is to blame only
where workers live that have anything else to do. So each finished range speaks for the machine, and so many losses
without any speak against it; `pool` asks a control before it believes either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vestige_migrate.source.read.ranges import Range, Rows

INDEPENDENT_LOSSES = 4
"""So many ranges without a row in common that lose their workers again and again, and nothing gets done between: no
file has so many bad rows and nothing else."""
SHORTEST_CONTROL_SECONDS = 1.0
LONGEST_CONTROL_SECONDS = 60.0
CONTROL_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Between the controls: trouble that is over soon is waited out."""


class Evidence:
    """What happened since a worker finished a range the last time. `size`: how many workers there are."""

    def __init__(self, size: int) -> None:
        self._doubted_after = 2 * size + 1
        self._in_a_row = 0
        self._lived_seconds = 0.0
        self._losses: Counter[Range] = Counter()
        self._whole: dict[Range, Range] = {}

    @property
    def is_doubtful(self) -> bool:
        """Whether the machine is to be tried before another worker is given anything."""
        return self._in_a_row >= self._doubted_after

    @property
    def is_against_host(self) -> bool:
        """Whether so many independent ranges were lost that no row can be the reason."""
        lost = {range_ for range_, losses in self._losses.items() if losses > 1 or isinstance(range_, Rows)}
        # A part stands for the range it was split from.
        return len(lost - {whole for part in lost for whole in self._above(part)}) >= INDEPENDENT_LOSSES

    def control_seconds(self, lived_seconds: float) -> float:
        """How long a worker must live to prove something: longer than those before it did, and these ones."""
        lived = max(lived_seconds, self._lived_seconds)
        return min(LONGEST_CONTROL_SECONDS, max(SHORTEST_CONTROL_SECONDS, 1.25 * lived))

    def lost(self, range_: Range | None, lived_seconds: float) -> None:
        """A worker ended that lived so long with what it had; with nothing, or before it began with it: None."""
        self._in_a_row += 1
        self._lived_seconds = max(self._lived_seconds, lived_seconds)
        if range_ is not None:
            self._losses[range_] += 1

    def split(self, range_: Range, parts: Sequence[Range]) -> None:
        """The range is tried in parts from now on."""
        self._whole.update(dict.fromkeys(parts, range_))

    def survived(self) -> None:
        """A worker lived that had nothing to do."""
        self._in_a_row = 0

    def finished(self) -> None:
        """A worker did what it was given."""
        self._in_a_row = 0
        self._lived_seconds = 0.0
        self._losses.clear()

    def _above(self, part: Range) -> list[Range]:
        found = []
        whole = self._whole.get(part)
        while whole is not None:
            found.append(whole)
            whole = self._whole.get(whole)
        return found
