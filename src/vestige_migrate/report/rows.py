"""What became of the rows of a table: counts, and an entry for every row that could not come over as it was."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

NIL_UUID = "00000000-0000-0000-0000-000000000000"
"""The id of an error about a row whose own id is no UUID."""

SCHEMA = 2
"""The shape of the JSON reports. 2: every table has all counts, and `kept` and `forgotten` are there always."""

COUNTERS = {
    "knowledge_nodes": "memories_copied",
    "scheduling": "scheduling_rows",
    "edges": "edges_copied",
    "review_events": "review_events_copied",
    "domains": "domains_copied",
    "users": "users_copied",
    "groups": "groups_copied",
    "group_memberships": "group_memberships_copied",
}
"""Destination table -> the report's counter (rows inserted plus rows already there)."""


class Outcome(StrEnum):
    """What became of a row that has an error."""

    COPIED_WITHOUT_VALUE = "copied_without_value"
    COPIED_WITH_REPLACEMENT = "copied_with_replacement"
    NOT_COPIED = "not_copied"
    OTHER_CONTENT_KEPT = "other_content_kept"
    """Another content is there under this row's id, and it stayed: this one is not there."""
    SOURCE_CHANGED = "source_changed"
    """Its memory was written to the source while the copy ran: the next run brings both."""
    KEPT = "kept"
    """It differs from the source's, and nothing says which of them is later: the destination's stays."""
    VECTOR_REPLACED = "vector_replaced"
    """The source's vector took the place of what was there, in a row that was not as a copy wrote it."""
    NOT_DELETED = "not_deleted"
    """It was deleted in the source, and is still in the destination."""


ALTERED = frozenset({Outcome.COPIED_WITHOUT_VALUE, Outcome.COPIED_WITH_REPLACEMENT})
"""Of these the row is there."""


@dataclass(frozen=True)
class RowError:
    """One row that did not come over exactly as it was; never holds row content.

    `further` marks all but the first error of a row that has no id to count it by.
    """

    table: str
    id: str
    column: str | None
    message: str
    outcome: Outcome
    sqlstate: str | None = None
    further: bool = False
    known_since: str | None = None
    """When an earlier run said it first, where this one only found that it still holds: a UTC time by ISO 8601."""
    quoted: str = ""
    """The value at the end of the message, where it quotes one; behind a colon."""

    @property
    def unquoted(self) -> str:
        """The message without the value that it quotes."""
        return self.message.removesuffix(f": {self.quoted}") if self.quoted else self.message

    def __str__(self) -> str:
        """As a person reads it."""
        since = f", known since {self.known_since}" if self.known_since is not None else ""
        return f"{self.table} {self.id}: {self.message} ({self.outcome}{since})"

    def as_json(self) -> dict[str, Any]:
        """The entry in the JSON report, keys in the documented order."""
        return {
            "table": self.table,
            "id": self.id,
            "column": self.column,
            "message": self.message,
            "sqlstate": self.sqlstate,
            "outcome": str(self.outcome),
            **({"known_since": self.known_since} if self.known_since is not None else {}),
        }


@dataclass
class TableReport:
    """Counts of one table; `source_rows == inserted + skipped + failed + updated + forgotten` once the run is complete.

    `updated` rows were there already and took the source's values; there are none with `--on-conflict skip`.
    `forgotten` rows stay behind: they are of memories that were deleted in the destination. `kept` are those of the
    skipped ones that differ and stay. `deleted` are rows of the destination that the source has no more.
    """

    source_rows: int = 0
    inserted: int = 0
    skipped: int = 0
    failed: int = 0
    updated: int = 0
    forgotten: int = 0
    kept: int = 0
    deleted: int = 0

    @property
    def in_destination(self) -> int:
        """Rows of the source that are in the destination now."""
        return self.inserted + self.skipped + self.updated

    def __add__(self, other: TableReport) -> TableReport:
        return TableReport(
            self.source_rows + other.source_rows,
            self.inserted + other.inserted,
            self.skipped + other.skipped,
            self.failed + other.failed,
            self.updated + other.updated,
            self.forgotten + other.forgotten,
            self.kept + other.kept,
            self.deleted + other.deleted,
        )

    def mark_updated(self, rows: int) -> None:
        """Counts up to `rows` of the skipped rows as updated."""
        moved = min(rows, self.skipped)
        self.skipped -= moved
        self.updated += moved

    def mark_failed(self, rows: int) -> None:
        """Counts up to `rows` of the skipped rows as failed."""
        moved = min(rows, self.skipped)
        self.skipped -= moved
        self.failed += moved

    def mark_gone(self, rows: int) -> None:
        """Counts up to `rows` of the rows that were there as failed: those that this run brought come first."""
        for name in ("inserted", "updated", "skipped"):
            moved = min(rows, getattr(self, name))
            setattr(self, name, getattr(self, name) - moved)
            self.failed += moved
            rows -= moved

    def as_json(self) -> dict[str, int]:
        """The entry in the JSON report."""
        return {name: getattr(self, name) for name in _COUNTS}


_COUNTS = ("source_rows", "inserted", "updated", "skipped", "forgotten", "failed", "kept", "deleted")
"""Of a table, in the documented order."""
