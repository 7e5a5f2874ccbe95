"""What a person reads: the report on the terminal, the report file, the log."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path

import pytest
from loguru import logger
from rich.console import Console

from tests.unit.test_report import filled
from vestige_migrate.cli.output import SHOWN_ERRORS, check_report_target, configure_logging, print_report, write_report
from vestige_migrate.errors import PlanError
from vestige_migrate.plan import OnConflict
from vestige_migrate.report import NIL_UUID, MigrationReport, Outcome, RowError, TableReport


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


# The report file.


def test_the_report_file_is_the_json_and_its_owners_only(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    check_report_target(str(target))
    write_report(filled(), str(target))
    assert json.loads(target.read_text(encoding="utf-8")) == filled().as_json()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_longer_report_from_before_leaves_no_tail(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    target.write_text("x" * 100_000)
    check_report_target(str(target))
    write_report(filled(), str(target))
    assert json.loads(target.read_text(encoding="utf-8"))["schema"] == 1


def test_a_dash_is_standard_output_with_nothing_else(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    check_report_target("-")
    write_report(filled(), "-")
    assert json.loads(capsysbinary.readouterr().out) == filled().as_json()


def test_no_target_is_no_report(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    check_report_target(None)
    write_report(filled(), None)
    assert capsysbinary.readouterr().out == b""


def test_a_target_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"--report .*missing.* cannot be written: No such file or directory"):
        check_report_target(str(tmp_path / "missing" / "report.json"))
    with pytest.raises(PlanError, match=r"--report .* cannot be written: Is a directory"):
        check_report_target(str(tmp_path))


# The log.


def test_an_unknown_level_is_refused_with_the_known_ones() -> None:
    with pytest.raises(PlanError, match="--log-level is LOUD: it must be one of TRACE, DEBUG, INFO"):
        configure_logging("loud", None, Console(file=io.StringIO()))


def test_log_lines_go_to_the_console_at_their_level_without_markup() -> None:
    stream = io.StringIO()
    configure_logging("info", None, Console(file=stream, width=40, color_system=None))
    try:
        logger.debug("not this")
        logger.info("[red]{}[/red] " + "long " * 20, "this")
    finally:
        logger.remove()
    (line,) = stream.getvalue().splitlines()
    assert "INFO    [red]this[/red] long long" in line


def test_a_log_file_takes_the_lines_and_is_its_owners_only(tmp_path: Path) -> None:
    target = tmp_path / "copy.log"
    stream = io.StringIO()
    configure_logging("WARNING", target, Console(file=stream))
    try:
        logger.warning("a line")
        logger.info("not this")
    finally:
        logger.remove()
    assert target.read_text(encoding="utf-8").rstrip().endswith("WARNING a line")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert stream.getvalue() == ""


def test_a_narrow_terminal_gets_lines_with_every_digit() -> None:
    report = filled()
    report.tables["group_memberships"] = TableReport(1_234_567_890, 1_234_567_000, 890, 0)
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=40, color_system=None))
    said = " ".join(stream.getvalue().split())
    assert "group_memberships: 1234567890 in the source, 1234567000 inserted, 890 already there, 0 failed" in said
