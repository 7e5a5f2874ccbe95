"""What a comparison found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from vestige_migrate.model import ModelSignature
from vestige_migrate.report.archive_comparison import ArchiveComparison
from vestige_migrate.report.endpoints import DestinationInfo, SourceInfo
from vestige_migrate.report.rows import COUNTERS, SCHEMA, RowError

RECALL_THRESHOLD = 0.9
"""Below this the search is worth a warning. It is no difference: an HNSW index is approximate by nature."""


class Kind(StrEnum):
    """How a row, or a part of the schema, differs."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERENT = "different"
    FORGOTTEN = "forgotten"
    """Its memory was deleted in the destination, and a copy does not bring it back."""
    REPEATED = "repeated"
    """The destination has the row's key more than once."""
    NOT_ARCHIVED = "not_archived"
    """The row is not in `vestige_archive` as it is in the source."""
    SCHEMA = "schema"
    """A column, constraint or index of the destination's table is not as this program makes it."""
    SEARCH = "search"
    """Full text does not find the memory."""


OF_SCHEMA = (Kind.SCHEMA, Kind.SEARCH)
"""Kinds that are no row of the source."""


@dataclass(frozen=True)
class Difference:
    """One row that is not as the copy leaves it; `columns` are the ones that differ. Never holds row content.

    For a part of the schema `id` is its name. `detail` says in words what is wrong, where the kind alone does not.
    """

    table: str
    id: str
    kind: Kind
    columns: tuple[str, ...] = ()
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """The entry in the JSON report; `detail` only where there is one."""
        entry = {"table": self.table, "id": self.id, "kind": str(self.kind), "columns": list(self.columns)}
        return {**entry, "detail": self.detail} if self.detail else entry

    def __str__(self) -> str:
        said = {
            Kind.MISSING: "missing from the destination",
            Kind.EXTRA: "not in the source",
            Kind.DIFFERENT: f"different in {', '.join(self.columns)}",
            Kind.FORGOTTEN: "forgotten in the destination",
            Kind.REPEATED: "more than once in the destination",
            Kind.NOT_ARCHIVED: "not in vestige_archive as it is in the source",
        }
        return f"{self.table} {self.id}: {self.detail or said[self.kind]}"


@dataclass
class TableComparison:
    """Rows of one table. `source_rows` is the sum of all other counts but `extra`.

    `altered` rows are there as the copy has to bring them, `not_copied` ones are not there: PostgreSQL refuses them, or
    another row of the source is there under their id. `repeated` ones are not there because a later row of the source
    with their id is, as `--on-conflict newer` was asked for. `forgotten` ones are of memories that were deleted there.
    """

    source_rows: int = 0
    same: int = 0
    altered: int = 0
    not_copied: int = 0
    repeated: int = 0
    different: int = 0
    missing: int = 0
    forgotten: int = 0
    extra: int = 0


_INDEX_LACKS = "full text does not find it by its own words, although its row has them: its index lacks it, "


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
    stale: list[str] = field(default_factory=list)
    """Memories whose `search_vec` is not what their texts make of it. Also those without a word that search finds."""
    memories: str = "knowledge_nodes"
    """Their table as a statement names it."""

    @property
    def differences(self) -> list[Difference]:
        """Memories that full text does not find, or by other words than theirs."""
        stale = set(self.stale)
        found = [
            Difference("knowledge_nodes", id_, Kind.SEARCH, ("search_vec",), "search_vec is empty or not of its texts")
            for id_ in self.stale
        ]
        return found + [
            Difference(
                "knowledge_nodes", id_, Kind.SEARCH, ("search_vec",), f"{_INDEX_LACKS}REINDEX TABLE {self.memories}"
            )
            for id_ in self.not_found
            if id_ not in stale
        ]

    @property
    def warnings(self) -> list[str]:
        """What an operator should look at."""
        found = []
        if self.recall is not None and self.recall < RECALL_THRESHOLD:
            found.append(
                f"recall@{self.neighbours} is {self.recall:.2f}, below {RECALL_THRESHOLD}: raise hnsw.ef_search "
                f"(it is {self.ef_search}), or build the HNSW index again"
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
            "stale": self.stale,
            "warnings": self.warnings,
        }


@dataclass
class VerifyReport:
    """The result of a comparison.

    `altered` are the errors that a copy reports for rows that came over otherwise than they are in the source,
    `not_copied` those for rows that are not in the destination because the copy could not place them.
    """

    sources: tuple[SourceInfo, ...]
    destination: DestinationInfo
    model: ModelSignature | None = None
    complete: bool = False
    tables: dict[str, TableComparison] = field(default_factory=lambda: {name: TableComparison() for name in COUNTERS})
    differences: list[Difference] = field(default_factory=list)
    altered: list[RowError] = field(default_factory=list)
    not_copied: list[RowError] = field(default_factory=list)
    archive: ArchiveComparison = field(default_factory=ArchiveComparison)
    awaiting_reembed: int = 0
    """Memories without a vector in the destination, which should have one: see `awaiting_reasons`."""
    awaiting_reasons: dict[str, int] = field(default_factory=dict)
    """The same, by the reason why no vector of the memory came over (`source.read.reembed.Reason`)."""
    missing_indexes: list[str] = field(default_factory=list)
    """Indexes of ours that the destination lacks: slower, and no difference (`copy --indexes none`)."""
    search: SearchCheck | None = None
    source_changed: bool = False
    phases: dict[str, float] = field(default_factory=dict)
    duration_seconds: float = 0.0

    @property
    def not_copied_rows(self) -> int:
        """Rows of the source that are not in the destination because the copy could not place them."""
        return sum(table.not_copied for table in self.tables.values())

    @property
    def altered_rows(self) -> int:
        """Rows that are in the destination otherwise than in the source, as the copy reports it."""
        return sum(table.altered for table in self.tables.values())

    @property
    def same(self) -> bool:
        """Whether every row of the source is in the destination as the copy brings it, and nothing else is."""
        return not (self.differences or self.not_copied or self.not_copied_rows or self.source_changed)

    @property
    def exit_code(self) -> int:
        """0 same, 1 not: something differs, was not copied, or changed in the source while it was compared."""
        return 0 if self.same else 1

    def as_json(self) -> dict[str, Any]:
        """The report as plain JSON values (schema 1); `sources` instead of `source` where there are several."""
        sources = [source.as_json() for source in self.sources]
        return {
            "schema": SCHEMA,
            "command": "verify",
            "dry_run": False,
            "complete": self.complete,
            "same": self.same,
            **({"source": sources[0]} if len(sources) == 1 else {"sources": sources}),
            "destination": self.destination.as_json(),
            "model": asdict(self.model) if self.model else None,
            "tables": {name: asdict(table) for name, table in self.tables.items()},
            "differences": [difference.as_json() for difference in self.differences],
            "not_copied": self.not_copied_rows,
            "not_copied_rows": [error.as_json() for error in self.not_copied],
            "altered": [error.as_json() for error in self.altered],
            "archive": self.archive.as_json(),
            "left_behind": self.archive.left_behind,
            "awaiting_reembed": self.awaiting_reembed,
            **({"awaiting_reasons": self.awaiting_reasons} if self.awaiting_reembed else {}),
            "missing_indexes": self.missing_indexes,
            "search": self.search.as_json() if self.search else None,
            "source_changed": self.source_changed,
            "phases": {name: round(seconds, 3) for name, seconds in self.phases.items()},
            "duration_seconds": round(self.duration_seconds, 3),
        }
