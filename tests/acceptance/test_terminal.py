"""Progress on a terminal: one bar a table, no line that is too wide, nothing left behind; none where none is wanted."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import copy_of
from tests.acceptance.test_report import TABLES
from tests.conftest import CommandLine
from tests.support.sources import SourceSpec, build_source
from tests.support.terminal import Shown, run_on_terminal

SCRIPT = Path(sys.executable).parent / "vestige-migrate"
BAR = re.compile(r"^ *(\w+) [#-]+ (\d+)/(\d+)")


def on_terminal(
    command: CommandLine, columns: int, source: Path, url: str, *more: str | Path, term: str = "xterm-256color"
) -> Shown:
    arguments: list[str | Path] = [SCRIPT, *copy_of(source, url, *more)]
    return run_on_terminal(arguments, command.environment(), command.home, columns, term)


def bars(lines: list[str]) -> dict[str, str]:
    """Table -> its whole line. Raises AssertionError where a table has two."""
    found: dict[str, str] = {}
    for line in lines:
        match = BAR.match(line)
        if match:
            assert match[1] not in found, f"{match[1]} has two bars"
            found[match[1]] = line
    return found


@pytest.mark.parametrize("columns", [80, 40])
def test_a_bar_a_table_and_each_on_one_line(
    columns: int, plain_source: Path, database: str, command: CommandLine, tmp_path: Path
) -> None:
    log = tmp_path / "copy.log"
    shown = on_terminal(
        command, columns, plain_source, database, "--batch-size", "20", "--log-file", log, "--report", tmp_path / "r"
    )
    assert shown.code == 0, shown.raw
    lines = shown.screen()
    assert all(len(line) <= columns for line in lines)
    found = bars(lines)
    assert {*found} == {*TABLES, "indexes"}
    for name, rows in TABLES.items():
        start = f"{name:>17} #"
        assert found[name].startswith(start)
        assert f" {rows}/{rows} (" in found[name]
        assert "-" not in found[name]
        if columns == 80:
            assert re.search(r"\(\d+/s, eta 0:00:00\)$", found[name]), found[name]
    # The report comes after the bars; nothing stands between or above them.
    assert lines[0] in found.values()
    assert any(line.startswith("done: ") for line in lines)


def test_a_comparison_on_a_narrow_terminal_is_readable(
    plain_source: Path, database: str, command: CommandLine, tmp_path: Path
) -> None:
    """40 columns: no frame that has room for no count, and no word that rich broke."""
    shown = on_terminal(command, 40, plain_source, database, "--verify", "--log-file", tmp_path / "copy.log")
    assert shown.code == 0, shown.raw
    lines = shown.screen()
    assert all(len(line) <= 40 for line in lines)
    text = " ".join(lines)
    assert "\u2503" not in text
    assert "\u2026 \u2502" not in text
    assert "knowledge_nodes: 250 in the source, 250 same, 0 different, 0 missing, 0 extra" in text
    assert "edges: 50 in the source, 50 inserted, 0 already there, 0 failed" in text
    for name in TABLES:
        assert sum(line.startswith(f"{name}: ") for line in lines) == 2
    assert any(line.startswith("same: compared ") for line in lines)


def test_log_lines_stand_above_the_bars(plain_source: Path, database: str, command: CommandLine) -> None:
    shown = on_terminal(command, 80, plain_source, database)
    assert shown.code == 0, shown.raw
    lines = shown.screen()
    found = bars(lines)
    assert {*found} == {*TABLES, "indexes"}
    text = "\n".join(lines)
    assert text.index(" INFO    copying ") < text.index(found["users"])
    assert " INFO    workers 1, batches of 500 rows" in text


def test_a_table_that_the_source_lacks_has_no_bar(tmp_path: Path, database: str, command: CommandLine) -> None:
    source = build_source(tmp_path / "vestige.db", SourceSpec(line="released", version=14, form="vestige").sized(20))
    shown = on_terminal(command, 80, source, database)
    assert shown.code == 0, shown.raw
    assert {*bars(shown.screen())} == {"knowledge_nodes", "scheduling", "edges", "indexes"}


@pytest.mark.parametrize("option", ["--no-progress", "--dry-run"])
def test_no_bars_where_none_are_wanted(option: str, source: Path, database: str, command: CommandLine) -> None:
    shown = on_terminal(command, 80, source, database, option)
    assert shown.code == 0, shown.raw
    assert bars(shown.screen()) == {}
    assert "eta" not in shown.raw
    assert "\x1b[?25l" not in shown.raw


def test_a_terminal_that_knows_nothing_gets_plain_text(source: Path, database: str, command: CommandLine) -> None:
    shown = on_terminal(command, 80, source, database, term="dumb")
    assert shown.code == 0, shown.raw
    assert "\x1b" not in shown.raw
    assert any(line.startswith("done: ") for line in shown.screen())


@pytest.mark.in_process
def test_no_bars_and_no_escapes_where_standard_error_is_no_terminal(
    source: Path, database: str, command: CommandLine
) -> None:
    done = command(*copy_of(source, database))
    assert done.returncode == 0
    assert "eta" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.in_process
def test_progress_can_be_asked_for_where_there_is_no_terminal(
    source: Path, database: str, command: CommandLine
) -> None:
    done = command(*copy_of(source, database), "--progress", "--report", "-")
    assert done.returncode == 0
    assert "40/40" in bars(done.stderr.splitlines())["knowledge_nodes"]
    assert "\x1b" not in done.stderr
    assert "eta" not in done.stdout
