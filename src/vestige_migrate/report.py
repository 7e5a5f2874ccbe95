"""What a run did: counts for every table, an entry for every row that could not come over as it was."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from vestige_migrate.estimate import Estimate
from vestige_migrate.plan import OnConflict

if TYPE_CHECKING:
    from vestige_migrate.verify.report import VerifyReport

NIL_UUID = "00000000-0000-0000-0000-000000000000"
"""The id of an error about a row whose own id is no UUID."""

USUAL_SCHEMA = "public"
"""Where search_path leads in a database that nobody has changed."""

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

    def as_json(self) -> dict[str, Any]:
        """The entry in the JSON report, keys in the documented order."""
        return {
            "table": self.table,
            "id": self.id,
            "column": self.column,
            "message": self.message,
            "sqlstate": self.sqlstate,
            "outcome": str(self.outcome),
        }


@dataclass
class TableReport:
    """Counts of one table; `source_rows == inserted + skipped + failed + updated` once the run is complete.

    `updated` rows were there already and took the source's values; there are none without `--on-conflict newer`.
    """

    source_rows: int = 0
    inserted: int = 0
    skipped: int = 0
    failed: int = 0
    updated: int = 0

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

    def as_json(self, with_updated: bool) -> dict[str, int]:
        """The entry in the JSON report; `updated` only where rows can be updated."""
        counts = asdict(self)
        if not with_updated:
            del counts["updated"]
        return counts


@dataclass(frozen=True)
class ScopeInfo:
    """The one scope that was taken from a file, and how many rows of each table were left out for it."""

    name: str
    left_out: dict[str, int]

    def __str__(self) -> str:
        rows = ", ".join(f"{table} {count}" for table, count in self.left_out.items())
        return f"only the scope {self.name!r}; left out, of other scopes: {rows or 'nothing'}"


@dataclass(frozen=True)
class PortableInfo:
    """What the source is where it is a portable archive. `lacks` are tables of a file of its version that no archive
    holds: what is in them comes over from the file itself, or says which model its vectors are of. `lacks_unplaced` are
    others, and `missing` tables that an archive holds and this one does not."""

    vestige_version: str | None
    exported_at: str | None
    lacks: tuple[str, ...]
    lacks_unplaced: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """What a person has to know of it."""
        parts = [", ".join(self.lacks)] if self.lacks else []
        if self.lacks_unplaced:
            parts.append(f"without a place in the destination, {', '.join(self.lacks_unplaced)}")
        lines = []
        if parts:
            lines.append(
                f"not in the source, as a portable archive holds none of it: {'; '.join(parts)} (copy the file itself, "
                "if it is still there, to have what is in them)"
            )
        if self.missing:
            lines.append(f"missing from the source, though a portable archive holds them: {', '.join(self.missing)}")
        return lines


@dataclass(frozen=True)
class SourceInfo:
    """The source file as it was found."""

    path: str
    schema_version: int
    lineage: str
    scope: ScopeInfo | None = None
    portable_archive: PortableInfo | None = None

    def as_json(self) -> dict[str, Any]:
        """The entry in the JSON report; `scope` only where one was asked for, `portable_archive` where it is one."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class DestinationInfo:
    """The destination; `url` has its password masked, and `schema` has the tables."""

    url: str
    server_version: str
    pgvector_version: str | None
    schema: str = USUAL_SCHEMA

    def as_json(self) -> dict[str, Any]:
        """The entry in the JSON report; `schema` only where it is another than public."""
        found = asdict(self)
        if self.schema == USUAL_SCHEMA:
            del found["schema"]
        return found


@dataclass(frozen=True)
class ModelInfo:
    """The embedding model whose vectors were copied."""

    name: str
    dimension: int
    hash: str | None


@dataclass
class MigrationReport:
    """The result of `run_sqlite_to_postgres`."""

    source: SourceInfo
    destination: DestinationInfo
    model: ModelInfo | None = None
    command: str = "copy"
    dry_run: bool = False
    complete: bool = False
    tables: dict[str, TableReport] = field(default_factory=lambda: {name: TableReport() for name in COUNTERS})
    errors: list[RowError] = field(default_factory=list)
    left_behind: dict[str, int] = field(default_factory=dict)
    awaiting_reembed: int = 0
    awaiting_reasons: dict[str, int] = field(default_factory=dict)
    """The same, by the reason why no vector of the memory came over (`source.awaiting.Reason`)."""
    mislabelled_vectors: dict[str, int] = field(default_factory=dict)
    """Vectors of the source whose label is known to be wrong, by that label; they do not come over."""
    shortened_vectors: int = 0
    """Vectors of the source that come over shortened, as Vestige itself takes them."""
    source_changed: bool = False
    phases: dict[str, float] = field(default_factory=dict)
    duration_seconds: float = 0.0
    on_conflict: OnConflict = OnConflict.SKIP
    archived: dict[str, int] | None = None
    """Rows of each table that are in the archive now; None without `--archive`."""
    newly_archived: int = 0
    """Rows that this run put into the archive."""
    estimate: Estimate | None = None
    """What a copy would move, need and take; None but for a dry run."""
    verification: VerifyReport | None = None
    """What comparing both sides afterwards found; None without `--verify`."""

    @property
    def updates(self) -> bool:
        """Whether rows could be updated, so that the report has counts of them."""
        return self.on_conflict is OnConflict.NEWER

    @property
    def source_rows(self) -> int:
        """Rows of the source that have a place in the destination."""
        return sum(table.source_rows for table in self.tables.values())

    @property
    def nothing_new(self) -> bool:
        """Whether a copy found every row there already. What an earlier one altered or left out, it did not look at."""
        found = self.tables.values()
        changed = any(table.inserted or table.updated or table.failed for table in found) or self.newly_archived
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
        if self.errors:
            return 1
        return self.verification.exit_code if self.verification else 0

    def as_json(self) -> dict[str, Any]:
        """The report as plain JSON values, in the documented shape (schema 1).

        With `--on-conflict newer` there are two more keys: `memories_updated`, and `updated` in each table's entry;
        with `--archive` there is one more: `archived`, and its tables are not in `left_behind`; with `--verify` there
        is `verification`, a report of its own; with `--dry-run` there is `estimate` (docs/workers.md).
        """
        return {
            "schema": 1,
            "command": self.command,
            "dry_run": self.dry_run,
            "complete": self.complete,
            "source": self.source.as_json(),
            "destination": self.destination.as_json(),
            "model": asdict(self.model) if self.model else None,
            **{counter: self.tables[table].in_destination for table, counter in COUNTERS.items()},
            **({"memories_updated": self.memories_updated} if self.updates else {}),
            "tables": {name: table.as_json(self.updates) for name, table in self.tables.items()},
            "errors": [error.as_json() for error in self.errors],
            "left_behind": self.left_behind,
            # Only where there are any: section 6 of the specification names every other key.
            **(
                {"awaiting_reembed": self.awaiting_reembed, "awaiting_reasons": self.awaiting_reasons}
                if self.awaiting_reembed
                else {}
            ),
            **({"mislabelled_vectors": self.mislabelled_vectors} if self.mislabelled_vectors else {}),
            **({"shortened_vectors": self.shortened_vectors} if self.shortened_vectors else {}),
            **({"archived": self.archived} if self.archived is not None else {}),
            "source_changed": self.source_changed,
            "phases": {name: round(seconds, 3) for name, seconds in self.phases.items()},
            "duration_seconds": round(self.duration_seconds, 3),
            **({"estimate": self.estimate.as_json()} if self.estimate else {}),
            **({"verification": self.verification.as_json()} if self.verification else {}),
        }
