"""Memories that only the destination has, and why."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from vestige_migrate.report.rows import RowError


@dataclass
class GoneRows:
    """Rows of a table other than the memories that a copy of the source brought, and that the source has no more."""

    deleted: list[str] = field(default_factory=list)
    to_delete: list[str] = field(default_factory=list)
    """They are here still."""
    in_use: list[str] = field(default_factory=list)
    """They stay: rows of other tables refer to them, which would go with them or lose them."""
    held_back: str = ""
    """Why those `to_delete` stay, whatever was asked for."""

    def as_json(self) -> dict[str, Any]:
        """The entry in the JSON report."""
        held_back = {"held_back": self.held_back} if self.held_back else {}
        return {**held_back, "deleted": self.deleted, "to_delete": self.to_delete, "in_use": self.in_use}


@dataclass
class DeletionReport:
    """Ids of memories, and names of other rows, that the destination has and no source file."""

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
    """Those of `to_delete`, here and in `rows`, that the destination did not let go."""
    rows: dict[str, GoneRows] = field(default_factory=dict)
    """Of the other tables, where there are any."""

    @property
    def changed_anything(self) -> bool:
        """Whether a row was deleted, or was to be and was not."""
        return bool(self.deleted or self.errors or any(gone.deleted for gone in self.rows.values()))

    @property
    def rows_deleted(self) -> int:
        """Rows of all tables that are gone by themselves, and not with a memory."""
        return len(self.deleted) + sum(len(gone.deleted) for gone in self.rows.values())

    def after(self, earlier: DeletionReport) -> DeletionReport:
        """This one, later in the same run, with what was deleted before it."""
        rows = {name: GoneRows(deleted=gone.deleted) for name, gone in earlier.rows.items() if gone.deleted}
        for name, gone in self.rows.items():
            deleted = [*rows[name].deleted, *gone.deleted] if name in rows else gone.deleted
            rows[name] = replace(gone, deleted=deleted)
        return replace(self, deleted=sorted({*earlier.deleted, *self.deleted}), rows=rows)

    def count_deleted(self, table: str) -> int:
        """How many rows of a table are gone by themselves, and not with a memory."""
        if table == "knowledge_nodes":
            return len(self.deleted)
        return len(self.rows[table].deleted) if table in self.rows else 0

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
            **({"rows": {name: gone.as_json() for name, gone in self.rows.items()}} if self.rows else {}),
        }
