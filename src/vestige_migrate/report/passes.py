"""What the passes of a copy that follows its source did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class PassReport:
    """Rows over all tables. `whole`: every row of the source was dealt with, not only `changed` ones.

    `started_at` is a UTC time by ISO 8601. `behind_seconds`: how old the oldest of the changes can have been when the
    pass had ended; 0 for the first one.
    """

    started_at: str
    seconds: float
    behind_seconds: float
    whole: bool
    changed: int
    inserted: int
    updated: int
    deleted: int
    kept: int
    failed: int

    def joined_with(self, later: PassReport) -> PassReport:
        """Both as one: it began when this one did, and has the sums of both."""
        added = ("seconds", "changed", "inserted", "updated", "deleted", "kept", "failed")
        sums = {name: getattr(self, name) + getattr(later, name) for name in added}
        behind = max(self.behind_seconds, later.behind_seconds)
        return replace(self, whole=self.whole and later.whole, behind_seconds=behind, **sums)

    @property
    def did_anything(self) -> bool:
        """Whether it wrote to the destination."""
        return bool(self.inserted or self.updated or self.deleted)

    def as_json(self) -> dict[str, Any]:
        """The entry in the JSON report."""
        return {
            **asdict(self),
            "seconds": round(self.seconds, 3),
            "behind_seconds": round(self.behind_seconds, 3),
        }
