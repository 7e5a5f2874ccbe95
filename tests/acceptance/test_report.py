"""The 250-memory copy by its report: as JSON in the shape of docs/report.md, and on the terminal."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.acceptance.conftest import copy_of
from tests.conftest import CommandLine
from tests.support.compare import assert_same, counts
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.table_counts import COUNTS, table_counts

pytestmark = pytest.mark.in_process

COUNTERS = {
    "memories_copied": 250,
    "scheduling_rows": 250,
    "edges_copied": 50,
    "review_events_copied": 50,
    "domains_copied": 5,
    "users_copied": 4,
    "groups_copied": 2,
    "group_memberships_copied": 4,
}
TABLES = {
    "knowledge_nodes": 250,
    "scheduling": 250,
    "edges": 50,
    "review_events": 50,
    "domains": 5,
    "users": 4,
    "groups": 2,
    "group_memberships": 4,
}
KEYS = [
    "schema", "command", "dry_run", "complete", "source", "destination", "model", *COUNTERS,
    "memories_updated", "tables", "errors", "left_behind", "source_changed", "kept", "forgotten", "phases",
    "duration_seconds",
]  # fmt: skip
ERROR_KEYS = ["table", "id", "column", "message", "sqlstate", "outcome"]


@dataclass(frozen=True)
class Runs:
    """The copy, the same again, and what they reported."""

    url: str
    first: CompletedProcess[str]
    second: CompletedProcess[str]
    first_file: Path

    @property
    def first_report(self) -> dict[str, Any]:
        return _loaded(self.first_file.read_text(encoding="utf-8"))

    @property
    def second_report(self) -> dict[str, Any]:
        return _loaded(self.second.stdout)


def _loaded(text: str) -> dict[str, Any]:
    """The whole text as one JSON object. Raises ValueError where anything stands beside it."""
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def runs(plain_source: Path, module_database: str, module_command: CommandLine) -> Runs:
    file = module_command.home / "report.json"
    arguments = ("copy", "--from", "sqlite", "--to", "postgres", "--sqlite-path", plain_source, "--postgres-url")
    first = module_command("migrate", *arguments, module_database, "--report", file, script="vestige")
    second = module_command(*arguments, module_database, "--report", "-")
    return Runs(module_database, first, second, file)


def assert_shape(report: dict[str, Any]) -> None:
    """Every key of docs/report.md in its order, of its type, and no other."""
    assert list(report) == KEYS + (["estimate"] if report["dry_run"] else [])
    assert report["schema"] == 2
    assert report["command"] == "copy"
    for name in ("dry_run", "complete", "source_changed"):
        assert isinstance(report[name], bool), name
    assert {name: type(value) for name, value in report["source"].items()} == {
        "path": str,
        "schema_version": int,
        "lineage": str,
    }
    assert {name: type(value) for name, value in report["destination"].items()} == {
        "url": str,
        "server_version": str,
        "pgvector_version": str,
    }
    if report["model"] is not None:
        assert list(report["model"]) == ["name", "dimension", "hash"]
    assert set(report["tables"]) == set(TABLES)
    for name, table in report["tables"].items():
        assert tuple(table) == COUNTS, name
        assert all(type(value) is int for value in table.values()), name
        assert table["source_rows"] == table["inserted"] + table["skipped"] + table["failed"], name
    for error in report["errors"]:
        assert list(error) == ERROR_KEYS
        assert all(isinstance(error[name], str) for name in ("table", "id", "message", "outcome"))
        assert all(error[name] is None or isinstance(error[name], str) for name in ("column", "sqlstate"))
    assert all(type(rows) is int and rows > 0 for rows in report["left_behind"].values())
    assert report["phases"]
    assert all(isinstance(seconds, float) for seconds in report["phases"].values())
    assert isinstance(report["duration_seconds"], float)


def test_the_report_is_exactly_the_promised_one(runs: Runs, plain_source: Path) -> None:
    assert runs.first.returncode == 0, runs.first.stderr
    report = runs.first_report
    assert_shape(report)
    assert {name: report[name] for name in COUNTERS} == COUNTERS
    assert (report["dry_run"], report["complete"], report["source_changed"]) == (False, True, False)
    assert report["errors"] == []
    assert report["left_behind"] == {}
    assert report["source"] == {"path": str(plain_source), "schema_version": 15, "lineage": "plan"}
    assert report["model"] == {
        "name": SourceSpec().model,
        "dimension": SourceSpec().dimension,
        "hash": SourceSpec().model_hash,
    }
    for name, rows in TABLES.items():
        there = 1 if name == "users" else 0  # the bootstrap user is on both sides
        assert report["tables"][name] == table_counts(source_rows=rows, inserted=rows - there, skipped=there)
    assert_same(plain_source, runs.url)


def test_the_second_run_has_the_same_totals_and_inserts_nothing(runs: Runs) -> None:
    assert runs.second.returncode == 0, runs.second.stderr
    report = runs.second_report
    assert_shape(report)
    assert {name: report[name] for name in COUNTERS} == COUNTERS
    assert report["complete"] is True
    assert report["errors"] == []
    for name, rows in TABLES.items():
        assert report["tables"][name] == table_counts(source_rows=rows, skipped=rows)
    assert counts(runs.url) == TABLES


def test_a_report_on_standard_output_stands_there_alone_and_the_table_on_standard_error(runs: Runs) -> None:
    assert runs.second.stdout.startswith("{")
    assert runs.second.stdout.endswith("}\n")
    assert "knowledge_nodes" in runs.second.stderr
    assert "already there" in runs.second.stderr


def test_the_terminal_has_a_line_a_table_then_duration_and_rate(runs: Runs) -> None:
    lines = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in runs.first.stdout.splitlines()]
    for name, rows in TABLES.items():
        there = 1 if name == "users" else 0
        assert [name, str(rows), str(rows - there), str(there), "0"] in lines
    last = runs.first.stdout.splitlines()[-1]
    assert last.startswith(f"done: {sum(TABLES.values())} rows in ")
    assert last.endswith("rows/s)")


def test_the_report_file_is_its_owners_only(runs: Runs) -> None:
    assert stat.S_IMODE(runs.first_file.stat().st_mode) == 0o600


def test_row_errors_are_in_the_report_in_the_log_and_on_the_terminal(
    source: Path, database: str, command: CommandLine
) -> None:
    with closing(sqlite3.connect(source)) as connection:
        (bad,) = connection.execute("SELECT id FROM knowledge_nodes ORDER BY id LIMIT 1").fetchone()
    edit(source, ("UPDATE knowledge_nodes SET shared_with_groups = '{broken' WHERE id = ?", (bad,)))
    file = command.home / "report.json"
    done = command(*copy_of(source, database), "--report", file)
    assert done.returncode == 1, done.stderr
    report = _loaded(file.read_text())
    assert_shape(report)
    assert report["complete"] is True
    assert report["memories_copied"] == 40
    (error,) = report["errors"]
    assert (error["table"], error["id"], error["column"]) == ("knowledge_nodes", bad, "shared_with_groups")
    assert (error["outcome"], error["sqlstate"]) == ("copied_without_value", None)
    (warning,) = [line for line in done.stderr.splitlines() if " WARNING " in line]
    assert bad in warning
    assert error["message"] in warning
    assert "1 error:" in done.stdout
    assert bad in done.stdout
    assert "{broken" not in done.stdout + done.stderr + file.read_text()


def test_more_than_twenty_errors_are_cut_on_the_terminal_and_whole_in_the_json(
    source: Path, database: str, command: CommandLine
) -> None:
    edit(source, ("UPDATE knowledge_nodes SET tags = 'x' WHERE rowid <= 25", ()))
    file = command.home / "report.json"
    done = command(*copy_of(source, database), "--report", file)
    assert done.returncode == 1
    assert len([line for line in done.stdout.splitlines() if line.startswith("  knowledge_nodes ")]) == 20
    assert "+5 more" in done.stdout
    assert len(_loaded(file.read_text())["errors"]) == 25


def test_what_has_no_place_in_the_destination_is_named_with_its_rows(
    tmp_path: Path, database: str, command: CommandLine
) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(form="vestige").sized(20))
    done = command(*copy_of(path, database), "--report", "-")
    assert done.returncode == 0, done.stderr
    report = _loaded(done.stdout)
    assert_shape(report)
    assert report["left_behind"]["intentions"] == _rows(path, "intentions")
    for name, rows in report["left_behind"].items():
        assert _rows(path, name) == rows
        assert f"{name} {rows}" in done.stderr.replace("\n", " ")


def _rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])
