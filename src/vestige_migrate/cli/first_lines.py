"""The beginning of a list that may be long."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

SHOWN_ERRORS = 20


def print_first(lines: Sequence[str], console: Console) -> None:
    """The first lines, and how many more there are."""
    for line in lines[:SHOWN_ERRORS]:
        console.print(Text(f"  {line}"), soft_wrap=True)
    more = len(lines) - SHOWN_ERRORS
    if more > 0:
        console.print(Text(f"  +{more} more (the whole list: --report FILE)"))
