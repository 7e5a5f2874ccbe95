"""`verify && rm vestige.db`: exit 0 only where every row of the source is in the destination."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.sources import SourceSpec, build_source, edit, node_id
from tests.support.verifying import Verifier, balanced, named
from vestige_migrate import Progress, SqliteToPostgresPlan
from vestige_migrate.verify.coordinator import verify_sqlite_to_postgres

pytestmark = pytest.mark.in_process

STRANGER = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def verify(database: str) -> Verifier:
    return Verifier(database)


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


NOT_COPIED: dict[str, tuple[str, int]] = {
    "refused by a CHECK": ("UPDATE knowledge_nodes SET visibility = 'secret' WHERE rowid = 9", 1),
    "an id that is no UUID": ("UPDATE review_events SET id = 'mine' WHERE rowid = 3", 1),
    "an edge to nowhere": (f"UPDATE edges SET target_id = '{STRANGER}' WHERE rowid < 3", 2),
    "a schedule of nobody": (f"UPDATE scheduling SET memory_id = '{STRANGER}' WHERE rowid = 1", 1),
    "a group without a handle": ("UPDATE groups SET handle = NULL WHERE rowid = 1", 1),
}


def test_one_row_of_any_kind_that_was_not_copied_is_never_the_same(
    source: Path, copy: Copier, verify: Verifier
) -> None:
    """One file with all of them, then the sum; each by itself is in `test_verify_bad_rows`."""
    for statement, _ in NOT_COPIED.values():
        edit(source, (statement, ()))
    copied = copy(source)
    report = verify(source)
    failed = sum(table.failed for table in copied.tables.values())
    assert failed >= sum(rows for _, rows in NOT_COPIED.values())
    assert (named(report), report.not_copied_rows, report.same, report.exit_code) == ([], failed, False, 1)
    assert len(report.not_copied) == failed
    assert {str(error.outcome) for error in report.not_copied} == {"not_copied"}
    assert report.as_json()["not_copied"] == failed
    assert balanced(report)


def test_a_destination_that_refused_everything(source: Path, copy: Copier, verify: Verifier) -> None:
    copy(source)
    with psycopg.connect(verify.database) as connection:
        connection.execute("TRUNCATE knowledge_nodes, review_events, edges, scheduling")
        connection.execute("ALTER TABLE knowledge_nodes ADD CHECK (content = '')")
    report = verify(source)
    assert report.tables["knowledge_nodes"].not_copied == 40
    assert (report.not_copied_rows, report.exit_code) == (100, 1)


def test_the_answer_in_words(tmp_path: Path, copy: Copier, verify: Verifier, command: CommandLine) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(memories=30, schedules=0, edges=0, events=0))
    edit(path, ("UPDATE knowledge_nodes SET tags = 'x' WHERE rowid IN (3, 4)", ()))
    copied = copy(path)
    assert len(copied.errors) == 2
    arguments = ("--sqlite-path", path, "--postgres-url", copy.database)
    altered = command("verify", *arguments)
    assert altered.returncode == 0, altered.stderr
    assert last_line(altered.stdout).startswith("same but for 2 rows that the copy altered, listed above: compared ")
    edit(path, ("UPDATE knowledge_nodes SET visibility = 'secret' WHERE rowid = 9", ()))
    memory = node_id(path, 9)
    verify.tamper(f"DELETE FROM knowledge_nodes WHERE id = '{memory}'")
    one = command("verify", *arguments)
    assert one.returncode == 1
    assert last_line(one.stdout).startswith("not copied: 1 row of the source is not in the destination: compared ")
    assert f'  knowledge_nodes {memory}: violates check constraint "knowledge_nodes_visibility_check"' in one.stdout
    assert memory in one.stderr
    verify.tamper("UPDATE knowledge_nodes SET content = 'x' WHERE id = (SELECT min(id::text)::uuid FROM"
                  " knowledge_nodes)")  # fmt: skip
    edit(path, ("UPDATE knowledge_nodes SET id = 'x' || rowid WHERE rowid = 10", ()))
    both = command("verify", *arguments, "--report", "-")
    assert both.returncode == 1
    assert " in 2 rows; not copied: 2 rows of the source are not in the destination: compared " in last_line(
        both.stderr
    )
    report = json.loads(both.stdout)
    assert (report["same"], report["not_copied"], len(report["not_copied_rows"])) == (False, 2, 2)
    again = command("copy", *arguments, "--verify")
    assert again.returncode == 1
    assert "not copied: 2 rows" in last_line(again.stdout)


OPTIONS: dict[str, dict[str, object]] = {
    "codebase": {"codebase": "alpha"},
    "owner": {"owner": "somebody"},
    "snapshot": {"snapshot": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_with_every_option_a_row_that_was_not_copied_is_exit_1(
    source: Path, copy: Copier, verify: Verifier, options: dict[str, object]
) -> None:
    copy(source, **options)
    assert (named(report := verify(source, **options)), report.exit_code) == ([], 0)
    edit(source, ("UPDATE review_events SET id = 'no uuid' WHERE rowid = 1", ()))
    with psycopg.connect(copy.database) as connection:
        connection.execute("DELETE FROM review_events")
    copied = copy(source, verify=True, **options)
    assert copied.exit_code == 1
    report = verify(source, **options)
    assert (named(report), report.not_copied_rows, report.exit_code) == ([], 1, 1)


def test_of_several_files_one_row_that_was_not_copied_is_exit_1(tmp_path: Path, copy: Copier, verify: Verifier) -> None:
    spec = SourceSpec(memories=10, schedules=10, edges=3, events=3, domains=0, extra_users=0, groups=0, memberships=0)
    paths = [build_source(tmp_path / f"{seed}.db", replace(spec, seed=seed)) for seed in (1, 2)]
    edit(paths[1], (f"UPDATE edges SET source_id = '{STRANGER}' WHERE rowid = 1", ()))
    for path in paths:
        copy(path)
    report = verify(*paths)
    assert (named(report), report.not_copied_rows, report.exit_code) == ([], 1, 1)


def test_a_source_that_changes_meanwhile_is_not_called_the_same(source: Path, copy: Copier) -> None:
    """What was written after its table was read is not in the destination, and was not compared."""
    copy(source)
    added: list[Progress] = []

    def add(progress: Progress) -> None:
        if not added and progress.done:
            added.append(progress)
            edit(source, ("CREATE TABLE written_meanwhile (id)", ()))

    report = verify_sqlite_to_postgres(SqliteToPostgresPlan(source, copy.database, workers=1), add)
    assert (named(report), report.source_changed, report.same, report.exit_code) == ([], True, False, 1)
