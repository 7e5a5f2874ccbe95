"""What a comparison found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from vestige_migrate.report import COUNTERS, DestinationInfo, ModelInfo, Outcome, RowError, SourceInfo

RECALL_THRESHOLD = 0.9
"""Below this the search is worth a warning. It is no difference: an HNSW index is approximate by nature."""


class Kind(StrEnum):
    """How a row differs."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERENT = "different"


@dataclass(frozen=True)
class Difference:
    """One row that is not as the copy leaves it; `columns` are the ones that differ. Never holds row content."""

    table: str
    id: str
    kind: Kind
    columns: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The entry in the JSON report."""
        return {"table": self.table, "id": self.id, "kind": str(self.kind), "columns": list(self.columns)}

    def __str__(self) -> str:
        said = {
            Kind.MISSING: "missing from the destination",
            Kind.EXTRA: "not in the source",
            Kind.DIFFERENT: f"different in {', '.join(self.columns)}",
        }
        return f"{self.table} {self.id}: {said[self.kind]}"


@dataclass
class TableComparison:
    """Rows of one table. `source_rows` is the sum of all other counts but `extra`.

    `altered` rows are there as the copy has to bring them, `not_copied` ones are not there: PostgreSQL refuses them, or
    another row of the source is there under their id. `repeated` ones are not there because a later row of the source
    with their id is, as `--on-conflict newer` was asked for.
    """

    source_rows: int = 0
    same: int = 0
    altered: int = 0
    not_copied: int = 0
    repeated: int = 0
    different: int = 0
    missing: int = 0
    extra: int = 0


@dataclass
class SearchCheck:
    """The spot check of search. Both parts look at memories that are in the destination.

    `recall` is None where `no_recall` says why. `ef_search` is pgvector's setting of that name, as the server has it.
    """

    neighbours: int
    vectors_sampled: int = 0
    recall: float | None = None
    no_recall: str | None = None
    ef_search: int | None = None
    texts_sampled: int = 0
    texts_found: int = 0
    not_found: list[str] = field(default_factory=list)

    @property
    def warnings(self) -> list[str]:
        """What an operator should look at."""
        found = []
        if self.recall is not None and self.recall < RECALL_THRESHOLD:
            found.append(
                f"recall@{self.neighbours} is {self.recall:.2f}, below {RECALL_THRESHOLD}: raise hnsw.ef_search "
                f"(it is {self.ef_search}), or build the HNSW index again"
            )
        if self.not_found:
            found.append(
                f"full text does not find {len(self.not_found)} memories by their own words: "
                f"{', '.join(self.not_found)}"
            )
        return found

    def as_json(self) -> dict[str, Any]:
        """The entry in the JSON report."""
        return {
            "vectors_sampled": self.vectors_sampled,
            f"recall_at_{self.neighbours}": None if self.recall is None else round(self.recall, 4),
            "recall_threshold": RECALL_THRESHOLD,
            "no_recall": self.no_recall,
            "ef_search": self.ef_search,
            "texts_sampled": self.texts_sampled,
            "texts_found": self.texts_found,
            "not_found": self.not_found,
            "warnings": self.warnings,
        }


@dataclass
class VerifyReport:
    """The result of a comparison. `altered` are the errors that a copy reports for these rows."""

    sources: tuple[SourceInfo, ...]
    destination: DestinationInfo
    model: ModelInfo | None = None
    complete: bool = False
    tables: dict[str, TableComparison] = field(default_factory=lambda: {name: TableComparison() for name in COUNTERS})
    differences: list[Difference] = field(default_factory=list)
    altered: list[RowError] = field(default_factory=list)
    search: SearchCheck | None = None
    source_changed: bool = False
    phases: dict[str, float] = field(default_factory=dict)
    duration_seconds: float = 0.0

    @property
    def same(self) -> bool:
        """Whether the destination holds what the copy leaves, and nothing else."""
        kept_other = any(error.outcome is Outcome.OTHER_CONTENT_KEPT for error in self.altered)
        return not (self.differences or kept_other)

    @property
    def exit_code(self) -> int:
        """0 same, 1 different."""
        return 0 if self.same else 1

    def as_json(self) -> dict[str, Any]:
        """The report as plain JSON values (schema 1); `sources` instead of `source` where there are several."""
        sources = [asdict(source) for source in self.sources]
        return {
            "schema": 1,
            "command": "verify",
            "dry_run": False,
            "complete": self.complete,
            "same": self.same,
            **({"source": sources[0]} if len(sources) == 1 else {"sources": sources}),
            "destination": asdict(self.destination),
            "model": asdict(self.model) if self.model else None,
            "tables": {name: asdict(table) for name, table in self.tables.items()},
            "differences": [difference.as_json() for difference in self.differences],
            "altered": [error.as_json() for error in self.altered],
            "search": self.search.as_json() if self.search else None,
            "source_changed": self.source_changed,
            "phases": {name: round(seconds, 3) for name, seconds in self.phases.items()},
            "duration_seconds": round(self.duration_seconds, 3),
        }
