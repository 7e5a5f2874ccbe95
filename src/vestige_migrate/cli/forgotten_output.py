"""Memories that a copy does not bring back, as a person reads of them."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from vestige_migrate.cli.first_lines import print_first
from vestige_migrate.report.migration import MigrationReport


def print_forgotten(report: MigrationReport, console: Console) -> None:
    """A line and the first ids; nothing where there are none."""
    rows = sum(table.forgotten for table in report.tables.values())
    if not rows:
        return
    memories = "1 memory" if len(report.forgotten) == 1 else f"{len(report.forgotten)} memories"
    verb = "would not be" if report.dry_run else "not"
    line = (
        f"forgotten in the destination, so {verb} brought back, with all that hangs on them "
        f"(--restore-forgotten brings them back): {memories}"
    )
    console.print(Text(line), soft_wrap=True)
    print_first(report.forgotten, console)
