"""What a run did with one file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from vestige_migrate.model import ModelSignature
from vestige_migrate.plan import OnConflict
from vestige_migrate.report.deletions import DeletionReport
from vestige_migrate.report.endpoints import DestinationInfo, SourceInfo
from vestige_migrate.report.estimate import Estimate
from vestige_migrate.report.passes import PassReport
from vestige_migrate.report.rows import COUNTERS, SCHEMA, RowError, TableReport
from vestige_migrate.report.verification import VerifyReport


@dataclass
class MigrationReport:
    """The result of `run_sqlite_to_postgres`."""

    source: SourceInfo
    destination: DestinationInfo
    model: ModelSignature | None = None
    command: str = "copy"
    dry_run: bool = False
    complete: bool = False
    tables: dict[str, TableReport] = field(default_factory=lambda: {name: TableReport() for name in COUNTERS})
    errors: list[RowError] = field(default_factory=list)
    left_behind: dict[str, int] = field(default_factory=dict)
    awaiting_reembed: int = 0
    awaiting_reasons: dict[str, int] = field(default_factory=dict)
    """The same, by the reason why no vector of the memory came over (`source.read.reembed.Reason`)."""
    mislabelled_vectors: dict[str, int] = field(default_factory=dict)
    """Vectors of the source whose label is known to be wrong, by that label; they do not come over."""
    shortened_vectors: int = 0
    """Vectors of the source that come over shortened, as Vestige itself takes them."""
    source_changed: bool = False
    kept: list[RowError] = field(default_factory=list)
    replaced_vectors: list[RowError] = field(default_factory=list)
    """Of rows that were changed in the destination: no errors."""
    """Rows that differ from the source's and stay as they are, because nothing says which are later; no errors."""
    still_open: list[RowError] = field(default_factory=list)
    """Rows that wait for a memory which was written to the source while the copy ran; they count as failed, and are no
    errors."""
    passes: list[PassReport] = field(default_factory=list)
    """Of a copy that follows its source; every other count is of the last one that dealt with all rows."""
    forgotten: list[str] = field(default_factory=list)
    """Ids of memories that were deleted in the destination, so that they were not brought back."""
    phases: dict[str, float] = field(default_factory=dict)
    duration_seconds: float = 0.0
    on_conflict: OnConflict = OnConflict.SKIP
    archived: dict[str, int] | None = None
    """Rows of each table that are in the archive now; None without `--archive`."""
    newly_archived: int = 0
    """Rows that this run put into the archive."""
    estimate: Estimate | None = None
    """What a copy would move, need and take; None but for a dry run."""
    deletions: DeletionReport | None = None
    """Memories that only the destination has; None where nobody looked for them."""
    verification: VerifyReport | None = None
    """What comparing both sides afterwards found; None without `--verify`."""

    @property
    def updates(self) -> bool:
        """Whether rows could be updated, so that the report has counts of them."""
        return self.on_conflict is not OnConflict.SKIP

    @property
    def source_rows(self) -> int:
        """Rows of the source that have a place in the destination."""
        return sum(table.source_rows for table in self.tables.values())

    @property
    def nothing_new(self) -> bool:
        """Whether a copy found every row there already. What an earlier one altered or left out, it did not look at."""
        found = self.tables.values()
        changed = any(table.inserted or table.updated or table.failed for table in found) or self.newly_archived > 0
        changed = changed or any(table.forgotten for table in found)
        if self.deletions is not None:
            changed = changed or self.deletions.changed_anything
        return self.complete and not (self.dry_run or self.errors or changed)

    def counter(self, name: str) -> int:
        """A counter by its report name, such as `memories_copied`. Raises KeyError for an unknown one."""
        table = next((table for table, counter in COUNTERS.items() if counter == name), None)
        if table is None:
            raise KeyError(name)
        return self.tables[table].in_destination

    @property
    def memories_copied(self) -> int:
        return self.counter("memories_copied")

    @property
    def memories_updated(self) -> int:
        """Memories that were replaced because they are newer in the source; 0 without `--on-conflict newer`."""
        return self.tables["knowledge_nodes"].updated

    @property
    def scheduling_rows(self) -> int:
        return self.counter("scheduling_rows")

    @property
    def edges_copied(self) -> int:
        return self.counter("edges_copied")

    @property
    def review_events_copied(self) -> int:
        return self.counter("review_events_copied")

    @property
    def domains_copied(self) -> int:
        return self.counter("domains_copied")

    @property
    def users_copied(self) -> int:
        return self.counter("users_copied")

    @property
    def groups_copied(self) -> int:
        return self.counter("groups_copied")

    @property
    def group_memberships_copied(self) -> int:
        return self.counter("group_memberships_copied")

    @property
    def exit_code(self) -> int:
        """0 when every row moved as it was, 1 when some rows have errors or `--verify` found a difference."""
        if self.errors or (self.deletions is not None and self.deletions.errors):
            return 1
        return self.verification.exit_code if self.verification else 0

    def as_json(self) -> dict[str, Any]:
        """The report as plain JSON values, in the documented shape (docs/report.md).

        Where deletions were looked for there is `deletions` (docs/changed-rows.md); with `--archive` there is
        `archived`, and its tables are not in `left_behind`; with `--verify` there is `verification`, a report of its
        own; with `--dry-run` there is `estimate` (docs/workers.md).
        """
        return {
            "schema": SCHEMA,
            "command": self.command,
            "dry_run": self.dry_run,
            "complete": self.complete,
            "source": self.source.as_json(),
            "destination": self.destination.as_json(),
            "model": asdict(self.model) if self.model else None,
            **{counter: self.tables[table].in_destination for table, counter in COUNTERS.items()},
            "memories_updated": self.memories_updated,
            "tables": {name: self._with_deleted(name).as_json() for name in self.tables},
            "errors": [error.as_json() for error in self.errors],
            "left_behind": self.left_behind,
            # Only where there are any: every other key is always there (docs/report.md).
            **(
                {"awaiting_reembed": self.awaiting_reembed, "awaiting_reasons": self.awaiting_reasons}
                if self.awaiting_reembed
                else {}
            ),
            **({"mislabelled_vectors": self.mislabelled_vectors} if self.mislabelled_vectors else {}),
            **({"shortened_vectors": self.shortened_vectors} if self.shortened_vectors else {}),
            **({"archived": self.archived} if self.archived is not None else {}),
            "source_changed": self.source_changed,
            "kept": [_kept_json(row) for row in self.kept],
            **(
                {"replaced_vectors": [_kept_json(row) for row in self.replaced_vectors]}
                if self.replaced_vectors
                else {}
            ),
            "forgotten": self.forgotten,
            **({"still_open": [row.as_json() for row in self.still_open]} if self.still_open else {}),
            **({"passes": [found.as_json() for found in self.passes]} if self.passes else {}),
            "phases": {name: round(seconds, 3) for name, seconds in self.phases.items()},
            "duration_seconds": round(self.duration_seconds, 3),
            **({"deletions": self.deletions.as_json()} if self.deletions else {}),
            **({"estimate": self.estimate.as_json()} if self.estimate else {}),
            **({"verification": self.verification.as_json()} if self.verification else {}),
        }

    def _with_deleted(self, name: str) -> TableReport:
        """The counts of a table with what the whole run deleted there, where it was a run of this file alone."""
        deleted = self.deletions.count_deleted(name) if self.deletions is not None else 0
        return replace(self.tables[name], deleted=deleted)


def _kept_json(row: RowError) -> dict[str, Any]:
    return {"table": row.table, "id": row.id, "columns": (row.column or "").split(", "), "reason": row.message}
