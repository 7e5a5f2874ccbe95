"""What a dry run expects a copy to move, to need and to take."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

Span = tuple[float, float]
"""Lowest and highest, in seconds."""


@dataclass(frozen=True)
class HnswEstimate:
    """The build of the HNSW index: the memory that a graph of so many vectors wants, what the server has set, what the
    build would get and why. `form` is the type that it has of each: vector, halfvec or bit."""

    vectors: int
    dimension: int
    form: str
    memory_wanted_mib: int
    memory_set_mib: int
    memory_given_mib: int
    fits: bool
    reason: str


@dataclass(frozen=True)
class Estimate:
    """Rows that a copy would insert or update, their size in the source, and what follows from it.

    `bytes_at_most` is what the files have in use: no estimate can be wrong past it. `exact` says that every row was
    measured. `hnsw` is None where no HNSW index would be built. `load` and `indexes` are the two parts of the time,
    which lasts longer than they do by the start. `basis` has the assumptions, one line each.
    """

    rows: int
    content_bytes: int
    vector_bytes: int
    other_bytes: int
    bytes_at_most: int
    exact: bool
    table_bytes: int
    index_bytes: int
    wal_bytes: int
    hnsw: HnswEstimate | None
    start: Span
    load: Span
    indexes: Span
    basis: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Of all values that would be sent."""
        return self.content_bytes + self.vector_bytes + self.other_bytes

    @property
    def seconds(self) -> Span:
        """The whole run."""
        parts = (self.start, self.load, self.indexes)
        return sum(low for low, _ in parts), sum(high for _, high in parts)

    def as_json(self) -> dict[str, Any]:
        """The entry `estimate` of the JSON report (docs/workers.md)."""
        return {
            "rows": self.rows,
            "bytes": self.bytes,
            "content_bytes": self.content_bytes,
            "vector_bytes": self.vector_bytes,
            "other_bytes": self.other_bytes,
            "bytes_at_most": self.bytes_at_most,
            "exact": self.exact,
            "destination_table_bytes": self.table_bytes,
            "destination_index_bytes": self.index_bytes,
            "wal_bytes_at_most": self.wal_bytes,
            "hnsw": asdict(self.hnsw) if self.hnsw else None,
            "seconds": _span(self.seconds),
            "load_seconds": _span(self.load),
            "index_seconds": _span(self.indexes),
            "basis": list(self.basis),
        }


def _span(span: Span) -> dict[str, float]:
    return {"low": round(span[0], 1), "high": round(span[1], 1)}
