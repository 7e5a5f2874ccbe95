"""What a person reads: the report on the terminal, and log lines."""

from __future__ import annotations

import io

import pytest
from loguru import logger
from rich.console import Console

from tests.unit.test_report import filled
from vestige_migrate.cli.first_lines import SHOWN_ERRORS
from vestige_migrate.cli.output import console_sink, log_to, print_report
from vestige_migrate.errors import PlanError
from vestige_migrate.plan import OnConflict
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import NIL_UUID, Outcome, RowError, TableReport


def printed(report: MigrationReport) -> str:
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=100, color_system=None))
    return stream.getvalue()


def row_errors(count: int) -> list[RowError]:
    return [RowError("edges", f"id-{at}", None, "why", Outcome.NOT_COPIED) for at in range(count)]


def test_the_table_has_a_line_a_table_with_its_four_counts() -> None:
    lines = printed(filled()).splitlines()
    (line,) = [line for line in lines if "knowledge_nodes" in line and "250" in line]
    assert [word for word in line.split() if word.isdigit()] == ["250", "200", "47", "3"]
    for heading in ("in the source", "inserted", "already there", "failed"):
        assert heading in printed(filled())


def test_a_column_for_updated_rows_is_there_where_rows_can_be_updated() -> None:
    report = filled()
    assert "updated" not in printed(report)
    report.on_conflict = OnConflict.NEWER
    report.tables["knowledge_nodes"] = TableReport(250, 200, 40, 3, 7)
    (line,) = [line for line in printed(report).splitlines() if "knowledge_nodes" in line and "250" in line]
    assert [word for word in line.split() if word.isdigit()] == ["250", "200", "7", "40", "3"]
    report.dry_run = True
    assert "to update" in printed(report)


@pytest.mark.parametrize(("count", "more"), [(0, None), (1, None), (SHOWN_ERRORS, None), (SHOWN_ERRORS + 1, "+1 more")])
def test_the_first_twenty_errors_are_shown_and_the_rest_counted(count: int, more: str | None) -> None:
    report = filled()
    report.errors = row_errors(count)
    text = printed(report)
    assert text.count(": why (not_copied)") == min(count, 20)
    heading = "1 error:" if count == 1 else f"{count} errors:"
    assert (heading in text) == (count > 0)
    assert (more in text) if more else ("more" not in text)


def test_an_id_that_looks_like_markup_is_shown_as_it_is() -> None:
    report = filled()
    report.errors = [RowError("edges", NIL_UUID, None, "id is no UUID: '[red]x[/nonsense]'", Outcome.NOT_COPIED)]
    assert "'[red]x[/nonsense]'" in printed(report)


def test_what_stays_behind_the_duration_and_the_rate_are_said() -> None:
    text = printed(filled())
    assert "intentions 12" in text
    assert "done: 250 rows in 12.3 s (20 rows/s)" in text
    assert "run again" not in text


@pytest.mark.parametrize(
    ("left_behind", "hint"),
    [
        ({"intentions": 3}, "(--archive keeps these rows too)"),
        ({"intentions": 3, "vector_journal": 2}, "(--archive keeps these rows too, but for vector_journal)"),
        ({"vector_journal": 2}, ""),
    ],
)
def test_the_archive_is_named_where_it_would_keep_rows(left_behind: dict[str, int], hint: str) -> None:
    report = filled()
    report.left_behind = left_behind
    text = " ".join(printed(report).split())
    assert hint in text
    assert ("--archive" in text) == bool(hint)
    report.archived = {}
    assert "--archive" not in printed(report)


def test_a_source_that_changed_is_said_with_what_to_do() -> None:
    report = filled()
    report.source_changed = True
    assert "the source changed during the copy: run again" in printed(report)


def test_a_dry_run_says_that_nothing_was_written() -> None:
    report = filled()
    report.dry_run = True
    text = printed(report)
    assert "nothing was written" in text
    assert "to insert" in text
    assert "counted: 250 rows" in text


def test_a_run_of_no_time_divides_by_nothing() -> None:
    report = filled()
    report.duration_seconds = 0.0
    report.tables["knowledge_nodes"] = TableReport()
    assert "done: 0 rows in 0.0 s (0 rows/s)" in printed(report)


# Nothing new.


def all_there() -> MigrationReport:
    report = filled()
    report.tables["knowledge_nodes"] = TableReport(250, 0, 250, 0)
    report.errors = []
    report.complete = True
    return report


def test_a_copy_that_found_every_row_there_does_not_say_that_all_is_well() -> None:
    last = printed(all_there()).splitlines()[-1]
    assert last == (
        "nothing new: all 250 rows of the source were there already, and were not looked at again; vestige migrate "
        "verify names what an earlier run altered or left out"
    )


@pytest.mark.parametrize("what", ["inserted", "updated", "failed", "archived", "dry run", "stopped", "error"])
def test_nothing_new_is_said_of_nothing_else(what: str) -> None:
    report = all_there()
    table = report.tables["edges"]
    table.source_rows = 1
    if what in ("inserted", "updated", "failed"):
        setattr(table, what, 1)
    report.newly_archived = int(what == "archived")
    report.dry_run = what == "dry run"
    report.complete = what != "stopped"
    report.errors = row_errors(int(what == "error"))
    assert "nothing new" not in printed(report)


# The log.


def test_an_unknown_level_is_refused_with_the_known_ones() -> None:
    with pytest.raises(PlanError, match="--log-level is LOUD: it must be one of TRACE, DEBUG, INFO"):
        log_to(print, "loud")


def test_log_lines_go_to_the_console_at_their_level_without_markup() -> None:
    stream = io.StringIO()
    log_to(console_sink(Console(file=stream, width=40, color_system=None)), "info")
    try:
        logger.debug("not this")
        logger.info("[red]{}[/red] " + "long " * 20, "this")
    finally:
        logger.remove()
    (line,) = stream.getvalue().splitlines()
    assert "INFO    [red]this[/red] long long" in line


def test_a_narrow_terminal_gets_lines_with_every_digit() -> None:
    report = filled()
    report.tables["group_memberships"] = TableReport(1_234_567_890, 1_234_567_000, 890, 0)
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=40, color_system=None))
    said = " ".join(stream.getvalue().split())
    assert "group_memberships: 1234567890 in the source, 1234567000 inserted, 890 already there, 0 failed" in said
