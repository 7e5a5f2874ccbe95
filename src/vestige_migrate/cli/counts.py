"""A line of counts a table, on a terminal of any width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

_UNBOUNDED = 10_000


def print_counts(
    console: Console, headings: Sequence[str], counts: Mapping[str, Sequence[int]], title: str | None = None
) -> None:
    """Prints table -> a count for each heading; without the frame where the terminal is too narrow for it, so that no
    digit is ever cut."""
    table = Table("table", title=title)
    for heading in headings:
        table.add_column(heading, justify="right")
    for name, values in counts.items():
        table.add_row(name, *map(str, values))
    unbounded = console.options.update(max_width=_UNBOUNDED)
    if console.measure(table, options=unbounded).maximum <= console.width:
        console.print(table)
        return
    if title:
        console.print(Text(title))
    for name, values in counts.items():
        parts = (f"{value} {heading}" for heading, value in zip(headings, values, strict=True))
        console.print(Text(f"{name}: {', '.join(parts)}"))
