"""Rows of the table: rounds of figures set against a bar. Pure functions; nothing here measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.bars import Bar

Figures = Mapping[str, float]
"""What one round brought, by name."""


@dataclass(frozen=True)
class Row:
    """A bar with the figures of the rounds that have all it needs; `why_not` says why there are none."""

    bar: Bar
    rows: int
    dimension: int
    measured: tuple[float, ...]
    reference: tuple[float, ...]
    why_not: str = ""

    @property
    def ratio(self) -> float | None:
        """Of the medians."""
        return median(self.measured) / median(self.reference) if self.measured and self.reference else None

    @property
    def ratios(self) -> tuple[float, ...]:
        """Round by round: how far they scatter says how much to trust the ratio."""
        return tuple(a / b for a, b in zip(self.measured, self.reference, strict=True)) if self.reference else ()

    @property
    def value(self) -> float | None:
        """What is judged: the ratio, or the figure where there is nothing to set it against (of memory the largest)."""
        if self.bar.reference is not None or not self.measured:
            return self.ratio
        return max(self.measured) if self.bar.unit == "MiB" else median(self.measured)

    def verdict(self, judge: bool = True) -> str:
        """met, MISSED, or why neither can be said."""
        value = self.value
        if value is None:
            return self.why_not or "not measured"
        if not judge:
            return "not judged (smoke test)"
        if (self.rows, self.dimension) != (self.bar.rows, self.bar.dimension):
            return f"not judged (the bar is for {self.bar.rows:,} x {self.bar.dimension})"
        if len(self.measured) < self.bar.rounds:
            return f"not judged (fewer than {self.bar.rounds} rounds)"
        return "met" if self.bar.holds(value) else "MISSED"

    def as_json(self, judge: bool) -> dict[str, Any]:
        """All of it, for the results' file."""
        return {
            "name": self.bar.name,
            "work": self.bar.work,
            "rows": self.rows,
            "dimension": self.dimension,
            "unit": self.bar.unit,
            "measured": self.measured,
            "reference": self.reference,
            "ratio": self.ratio,
            "ratios": self.ratios,
            "bar": self.bar.limit,
            "verdict": self.verdict(judge),
        }


def row_of(bar: Bar, rows: int, dimension: int, rounds: Sequence[Figures], why_not: str = "") -> Row:
    """The row of a bar: only rounds with both figures count, so that every ratio is of one and the same round."""
    needed = [bar.measured] if bar.reference is None else [bar.measured, bar.reference]
    complete = [figures for figures in rounds if all(name in figures for name in needed)]
    return Row(
        bar,
        rows,
        dimension,
        measured=tuple(figures[bar.measured] for figures in complete),
        reference=tuple(figures[bar.reference] for figures in complete) if bar.reference is not None else (),
        why_not=why_not,
    )


def cells(row: Row, judge: bool) -> tuple[str, str, str, str, str, str]:
    """work, measured, reference, ratio with the rounds' range, bar, verdict: as the table prints them."""
    return (
        f"{row.rows:,} x {row.dimension}: {row.bar.work}",
        _figure(row.measured, row.bar.unit),
        _figure(row.reference, row.bar.unit),
        "-" if row.ratio is None else f"{row.ratio:.3g} ({min(row.ratios):.3g} to {max(row.ratios):.3g})",
        row.bar.said,
        row.verdict(judge),
    )


def _figure(values: Sequence[float], unit: str) -> str:
    if not values:
        return "-"
    if unit == "MiB":
        return f"{max(values):.0f} MiB"
    return f"{median(values):.2f}"
