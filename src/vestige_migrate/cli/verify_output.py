"""A comparison as a person reads it."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from vestige_migrate.cli.counts import print_counts
from vestige_migrate.cli.output import SHOWN_ERRORS
from vestige_migrate.verify.report import RECALL_THRESHOLD, SearchCheck, VerifyReport

_MORE = "(the whole list: --report FILE)"


def print_verification(report: VerifyReport, console: Console) -> None:
    """The report for a person: a table, what differs, what was altered, the search, and the answer."""
    _print_counts(report, console)
    _print_list("different", [str(difference) for difference in report.differences], console)
    altered = [f"{error.table} {error.id}: {error.message} ({error.outcome})" for error in report.altered]
    _print_list("altered as the copy reports, no difference", altered, console)
    if report.search is not None:
        for line in _search_lines(report.search):
            console.print(Text(line), soft_wrap=True)
    if report.source_changed:
        console.print(Text("the source changed during the comparison: copy and verify again"), soft_wrap=True)
    rows = sum(table.source_rows for table in report.tables.values())
    rate = rows / report.duration_seconds if report.duration_seconds else 0.0
    answer = "same" if report.same else f"different in {len(report.differences)} rows"
    console.print(Text(f"{answer}: compared {rows} rows in {report.duration_seconds:.1f} s ({rate:.0f} rows/s)"))


_ALWAYS_SHOWN = ("source_rows", "same", "different", "missing", "extra")
_HEADINGS = {
    "source_rows": "in the source",
    "same": "same",
    "altered": "altered",
    "not_copied": "not copied",
    "repeated": "repeated ids",
    "different": "different",
    "missing": "missing",
    "extra": "extra",
}


def _print_counts(report: VerifyReport, console: Console) -> None:
    """Counts that are zero everywhere have no column unless they are the answer: the table fits into 80 characters."""
    counts = {name: asdict(comparison) for name, comparison in report.tables.items()}
    shown = [name for name in _HEADINGS if name in _ALWAYS_SHOWN or any(found[name] for found in counts.values())]
    rows = {table: [found[name] for name in shown] for table, found in counts.items()}
    print_counts(console, [_HEADINGS[name] for name in shown], rows)


def _print_list(title: str, lines: list[str], console: Console) -> None:
    if not lines:
        return
    console.print(Text(f"{title}: {len(lines)}"))
    for line in lines[:SHOWN_ERRORS]:
        console.print(Text(f"  {line}"), soft_wrap=True)
    more = len(lines) - SHOWN_ERRORS
    if more > 0:
        console.print(Text(f"  +{more} more {_MORE}"))


def _search_lines(search: SearchCheck) -> list[str]:
    recall = (
        f"not measured, {search.no_recall}"
        if search.recall is None
        else f"{search.recall:.3f} over {search.vectors_sampled} memories (a warning below {RECALL_THRESHOLD})"
    )
    lines = [
        f"search: recall@{search.neighbours} of the HNSW index {recall}",
        f"search: full text finds {search.texts_found} of {search.texts_sampled} memories by their own rarest words",
    ]
    return lines + [f"warning: {warning}" for warning in search.warnings]
