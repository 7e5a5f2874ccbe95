"""A comparison as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from vestige_migrate.cli.counts import print_counts
from vestige_migrate.cli.first_lines import print_first
from vestige_migrate.cli.output import names_with_rows, print_destination
from vestige_migrate.cli.reembed_line import awaiting_line
from vestige_migrate.cli.streams import SteadyConsole
from vestige_migrate.errors import MigrationError, PlanError, Refused
from vestige_migrate.report.archive_comparison import ArchiveState
from vestige_migrate.report.rows import RowError
from vestige_migrate.report.verification import OF_SCHEMA, RECALL_THRESHOLD, Kind, SearchCheck, VerifyReport
from vestige_migrate.source.read.counts import CACHES

ARCHIVE = "vestige_archive"


def print_verification(report: VerifyReport, console: Console) -> None:
    """The report for a person: a table, what differs, what was not copied or altered, what is only in the source, the
    search, and the answer."""
    print_destination(report.destination.url, console)
    _print_counts(report, console)
    forgotten = [item for item in report.differences if item.kind is Kind.FORGOTTEN]
    different = [item for item in report.differences if item.kind is not Kind.FORGOTTEN]
    _print_list("different", [str(difference) for difference in different], console)
    _print_list(
        "forgotten in the destination (copy --restore-forgotten brings them back)",
        [f"{item.table} {item.id}" for item in forgotten],
        console,
    )
    _print_list("not copied, only in the source", _of_errors(report.not_copied), console)
    _print_list("altered as the copy reports, no difference", _of_errors(report.altered), console)
    for line in (*archive_lines(report), *_index_lines(report)):
        console.print(Text(line), soft_wrap=True)
    if report.search is not None:
        for line in _search_lines(report.search):
            console.print(Text(line), soft_wrap=True)
    rows = sum(table.source_rows for table in report.tables.values())
    rate = rows / report.duration_seconds if report.duration_seconds else 0.0
    took = f"compared {rows} rows in {report.duration_seconds:.1f} s ({rate:.0f} rows/s)"
    console.print(Text(f"{answer(report)}: {took}"), soft_wrap=True)


@contextmanager
def answered(console: SteadyConsole) -> Iterator[None]:
    """Whoever reads only standard output finds no comparison there that was refused or did not come to its end."""
    try:
        yield
    except PlanError:
        raise
    except Refused:
        console.print_line("nothing was compared, for the reason in the error")
        raise
    except MigrationError:
        console.print_line("not compared to the end, for the reason in the error")
        raise


def answer(report: VerifyReport) -> str:
    """The whole result in one line. It says "same" only where nothing of the source would be lost with the file, but
    for what the lines above name as only in the source."""
    said = []
    forgotten = sum(difference.kind is Kind.FORGOTTEN for difference in report.differences)
    rows = sum(difference.kind not in OF_SCHEMA for difference in report.differences) - forgotten
    parts = len(report.differences) - rows - forgotten
    if rows or parts:
        found = [f"{_count(rows, 'row')}"] if rows else []
        found += [f"{_count(parts, 'part')} of the schema or search"] if parts else []
        said.append(f"different in {' and '.join(found)}")
    if forgotten:
        said.append(f"forgotten in the destination ({forgotten})")
    not_copied = max(report.not_copied_rows, len(report.not_copied))
    if not_copied:
        are = "1 row of the source is" if not_copied == 1 else f"{not_copied} rows of the source are"
        said.append(f"not copied: {are} not in the destination")
    if report.source_changed:
        said.append("the source changed during the comparison, copy and verify again")
    if said:
        return "; ".join(said)
    altered = max(report.altered_rows, len({(error.table, error.id) for error in report.altered}))
    return f"same but for {_count(altered, 'row')} that the copy altered, listed above" if altered else "same"


def archive_lines(report: VerifyReport) -> list[str]:
    """What has no place in the destination: is it in the archive, or only in the source?"""
    archive = report.archive
    lines = []
    if any(archive.archived.values()):
        kept = {name: rows for name, rows in archive.archived.items() if rows}
        lines.append(f"in {ARCHIVE} as in the source: {names_with_rows(kept)}")
    for state, said in _STATES.items():
        if state in archive.states:
            lines.append(said)
    if archive.left_behind:
        caches = [name for name in archive.left_behind if name in CACHES]
        or_copy = "" if any(source.scope is not None for source in report.sources) else " or copy with --archive"
        advice = "" if len(caches) == len(archive.left_behind) else f", keep the file{or_copy}"
        but = f" (but for {', '.join(caches)}, which is worthless without the file)" if advice and caches else ""
        lines.append(f"only in the source{advice}{but}: {names_with_rows(archive.left_behind)}")
    for source in report.sources:
        lines += source.portable_archive.lines if source.portable_archive is not None else []
    if report.awaiting_reembed:
        lines.append(awaiting_line(report.awaiting_reembed, report.awaiting_reasons, report.model))
    return lines


_STATES = {
    ArchiveState.NONE_OF_THIS_SOURCE: (
        f"{ARCHIVE} has rows, and none of this source: it was copied without --archive (verify --archive fails then)"
    ),
    ArchiveState.UNREADABLE: f"{ARCHIVE} is there, and this role may not read it, or not all of it: not compared",
}


def _index_lines(report: VerifyReport) -> list[str]:
    if not report.missing_indexes:
        return []
    return [f"indexes that the destination lacks, copy again to build them: {', '.join(report.missing_indexes)}"]


def _of_errors(errors: list[RowError]) -> list[str]:
    return [str(error) for error in errors]


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


_ALWAYS_SHOWN = ("source_rows", "same", "different", "missing", "extra")
_HEADINGS = {
    "source_rows": "in the source",
    "same": "same",
    "altered": "altered",
    "not_copied": "not copied",
    "repeated": "repeated ids",
    "different": "different",
    "missing": "missing",
    "forgotten": "forgotten",
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
    print_first(lines, console)


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
