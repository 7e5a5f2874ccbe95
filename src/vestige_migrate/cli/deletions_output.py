"""Memories and other rows that only the destination has, as a person reads of them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from vestige_migrate.cli.first_lines import print_first
from vestige_migrate.report.deletions import DeletionReport


def print_deletions(report: DeletionReport, console: Console) -> None:
    """A line and the first ids for each kind of them; nothing where there are none."""
    _print_ids("deleted in the source, and now here too with all that hung on them", report.deleted, console)
    here = "deleted in the source, and still here"
    if report.held_back:
        here = f"{here}, because {report.held_back}"
    elif not report.applied:
        here = f"{here} (--deletions apply deletes them)"
    _print_ids(here, report.to_delete, console)
    _print_ids("deleted in the source, but changed here since, so they stay", report.changed_since, console)
    _print_ids("only here, and no tombstone in the source names them, so they stay", report.not_in_source, console)
    for table, gone in report.rows.items():
        _print_rows(f"{table} that the source has no more, and now are not here either", gone.deleted, console)
        still = "" if report.applied else " (--deletions apply deletes them)"
        if gone.held_back:
            still = f", because {gone.held_back}"
        _print_rows(f"{table} that the source has no more, and still are here{still}", gone.to_delete, console)
        _print_rows(
            f"{table} that the source has no more, but rows of other tables refer to them, so they stay",
            gone.in_use,
            console,
        )
    print_first([str(error) for error in report.errors], console)


def _print_rows(what: str, names: Sequence[str], console: Console) -> None:
    if names:
        console.print(Text(f"{what}: {'1 row' if len(names) == 1 else f'{len(names)} rows'}"), soft_wrap=True)
        print_first(names, console)


def _print_ids(what: str, ids: Sequence[str], console: Console) -> None:
    if not ids:
        return
    memories = "1 memory" if len(ids) == 1 else f"{len(ids)} memories"
    console.print(Text(f"{what}: {memories}"), soft_wrap=True)
    print_first(ids, console)
