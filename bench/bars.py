"""The bars, in the order of the table: what is measured, against what, and where the line is.

`measured` and `reference` are names of figures that a round of `bench.suites` brings. Without a reference the figure
itself is judged; with one, the ratio of the two medians.
"""

from __future__ import annotations

from dataclasses import dataclass

K, M = 1_000, 1_000_000
JUDGED_ROUNDS = 5
"""Fewer rounds decide nothing: one slow limit makes any copy look fast (seen: 4.1 s and 5.4 s for the same work)."""


@dataclass(frozen=True)
class Bar:
    """One line of the table. `rows` and `dimension` are the memories that the bar is stated for."""

    name: str
    work: str
    measured: str
    reference: str | None
    limit: float
    said: str
    """The bar in words."""
    rows: int = 100 * K
    dimension: int = 256
    unit: str = "s"
    rounds: int = JUDGED_ROUNDS
    below: bool = False
    """Whether the limit itself is missed already."""
    both_ways: bool = False
    """Whether the ratio may not lie further below 1 than above it."""

    def holds(self, value: float) -> bool:
        """Whether a ratio, or a figure without a reference, meets the bar."""
        if self.both_ways:
            value = max(value, 1 / value)
        return value < self.limit if self.below else value <= self.limit


BARS = (
    Bar(
        "memories_released", "memories of the released line, no secondary index, 2 workers; against the server alone",
        "load_memories_released", "limit_memories_released", 1.20, "≤ 1.20",
    ),
    Bar(
        "tables_released", "all tables of the released line, no secondary index, 2 workers; against the server alone",
        "load_tables_released", "limit_tables_released", 1.20, "≤ 1.20",
    ),
    Bar(
        "cpu_released", "client CPU, tables of the released line, all processes of ours together", "cpu_released", None,
        2.6, "≤ 2.6 s",
    ),
    Bar(
        "memories", "memories of a narrow file, no index, 2 workers; against the server alone", "load_memories",
        "limit_memories", 1.30, "≤ 1.30",
    ),
    Bar(
        "tables", "all tables of a narrow file, no secondary index, 2 workers; against the server alone", "load_tables",
        "limit_tables", 1.30, "≤ 1.30",
    ),
    Bar(
        "everything", "everything, whole command; against the server alone and the same indexes by hand", "copy",
        "by_hand", 1.15, "≤ 1.15",
    ),
    Bar(
        "row_by_row", "everything; against one writer row by row, indexes there from the start", "copy",
        "row_by_row", 1 / 7, "≤ 1/7 (0.143)", rows=20 * K, dimension=768,
    ),
    Bar("again", "second run, nothing to do; against the first", "again", "copy", 0.06, "≤ 0.06"),
    Bar("grown", "second run, 1% new rows, HNSW included; against the first", "grown", "copy", 0.10, "≤ 0.10"),
    Bar("verify", "verify; against the copy", "verify", "copy", 0.25, "≤ 0.25"),
    Bar(
        "start", "everything, server running; against importing psycopg, numpy, typer and rich", "copy", "imports", 6,
        "≤ 6", rows=K,
    ),
    Bar(
        "executemany", "everything; against psycopg's executemany, indexes afterwards", "copy", "executemany", 1,
        "< 1", below=True,
    ),
    Bar(
        "pgloader", "everything; against pgloader, SQL into the final tables, indexes afterwards", "copy", "pgloader",
        1, "< 1", below=True,
    ),
    Bar(
        "memory", "peak memory of the largest process of ours", "peak_mib", None, 200, "≤ 200 MiB", unit="MiB",
        rounds=1,
    ),
    Bar(
        "memory_1m", "peak memory of the largest process of ours", "peak_mib", None, 200, "≤ 200 MiB", rows=M,
        unit="MiB", rounds=1,
    ),
    Bar(
        "memory_growth", "peak memory; against that at 100,000 (kept results count)", "peak_mib", "peak_mib_100k", 1.1,
        "within 10%", rows=M, unit="MiB", rounds=1, both_ways=True,
    ),
    Bar(
        "cpu", "client CPU, everything, all processes of ours together", "cpu", None, 2.2, "≤ 2.2 s",
    ),
)  # fmt: skip
NAMES = tuple(bar.name for bar in BARS)
