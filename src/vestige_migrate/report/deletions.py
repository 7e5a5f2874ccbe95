"""Memories that only the destination has, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vestige_migrate.report.rows import RowError


@dataclass
class DeletionReport:
    """Ids of memories that the destination has and no source file."""

    applied: bool
    """Whether those that the source has deleted were to be deleted here."""
    held_back: str = ""
    """Why nothing was deleted though that was asked for."""
    deleted: list[str] = field(default_factory=list)
    """A tombstone names them, and they are gone here too, with all that hung on them."""
    to_delete: list[str] = field(default_factory=list)
    """A tombstone names them, and they are here still."""
    changed_since: list[str] = field(default_factory=list)
    """A tombstone names them, and they were changed here later than that, or it has no time that can be read."""
    not_in_source: list[str] = field(default_factory=list)
    """No tombstone names them: they may have been written here."""
    errors: list[RowError] = field(default_factory=list)
    """Those of `to_delete` that the destination did not let go."""

    def as_json(self) -> dict[str, Any]:
        """The entry in the JSON report."""
        return {
            "applied": self.applied,
            **({"held_back": self.held_back} if self.held_back else {}),
            "deleted": self.deleted,
            "to_delete": self.to_delete,
            "changed_since": self.changed_since,
            "not_in_source": self.not_in_source,
            "errors": [error.as_json() for error in self.errors],
        }
