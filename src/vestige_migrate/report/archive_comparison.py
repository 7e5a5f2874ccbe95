"""What became of the source's rows that have no place in the destination: in `vestige_archive`, or only in the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class ArchiveDemand(StrEnum):
    """When a row that is not in the archive is a difference."""

    ALL = "all"
    """Always (`--archive`)."""
    OF_THIS_SOURCE = "of_this_source"
    """Where the destination has an archive, unless that has rows of others alone."""
    NONE = "none"
    """Never: it is only said (`copy --verify` without `--archive`)."""


class ArchiveState(StrEnum):
    """What was found of one source."""

    NOTHING_TO_ARCHIVE = "nothing_to_archive"
    """The source has no rows without a place."""
    COMPARED = "compared"
    """The archive has rows of this source, or none at all: each row was looked for."""
    NONE_OF_THIS_SOURCE = "none_of_this_source"
    """The archive has rows, and none that tells of this source (a UUID of it, or half of what has none): it was copied
    without `--archive`."""
    NO_ARCHIVE = "no_archive"
    """The destination has no table `vestige_archive` of ours."""
    UNREADABLE = "unreadable"
    """This role may not read it, or not all of its rows."""


@dataclass
class ArchiveComparison:
    """Rows with no place in the destination, by table of the source; with several files of all of them together.

    `rows` counts all that `--archive` keeps, `archived` those of them that are in `vestige_archive` as they are in the
    source, and `left_behind` what is only in the source. `states` has an entry for each file.
    """

    demand: ArchiveDemand = ArchiveDemand.OF_THIS_SOURCE
    states: list[ArchiveState] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    archived: dict[str, int] = field(default_factory=dict)
    left_behind: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The entry in the JSON report."""
        return {
            "demand": str(self.demand),
            "states": [str(state) for state in self.states],
            "rows": self.rows,
            "archived": self.archived,
        }
