"""The destination remembers its copies: an error holds until a run brings its row whole, and no kill loses one."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.databases import run
from tests.support.guest import Guest
from tests.support.logged import log_lines
from tests.support.running import RunningCopy, blocked_sessions, held_row
from tests.support.said_again import as_first_said
from tests.support.sources import SourceSpec, build_source, edit, node_id
from tests.support.triggers import add_trigger
from tests.support.verifying import Verifier
from vestige_migrate import MigrationReport, SqliteToPostgresPlan, run_several_to_postgres
from vestige_migrate.destination.load.run_record import BatchRecord
from vestige_migrate.destination.schema.run_tables import Run
from vestige_migrate.report.rows import NIL_UUID

pytestmark = pytest.mark.in_process

BAD_TAGS = "UPDATE knowledge_nodes SET tags = 'not JSON' WHERE rowid IN (3, 4)"
RECORD = ("vestige_run", "vestige_run_batch", "vestige_run_error")


def ids_of(report: MigrationReport) -> set[str]:
    return {error.id for error in report.errors}


def recorded(database: str) -> list[tuple[object, ...]]:
    return run(database, "SELECT table_name, key, column_name FROM vestige_run_error ORDER BY table_name, key")


@pytest.mark.old_server
def test_an_error_is_said_again_until_its_row_is_whole(source: Path, copy: Copier) -> None:
    third, fourth, orphan = node_id(source, 3), node_id(source, 4), node_id(source, 7)
    edit(source, (BAD_TAGS, ()), ("UPDATE scheduling SET memory_id = ? WHERE memory_id = ?", (NOBODY, orphan)))
    first = copy(source)
    assert ids_of(first) == {third, fourth, NOBODY}
    assert {row[1] for row in recorded(copy.database)} == {third, fourth, NOBODY}
    # A dry run says what the copy will say.
    for again in (copy(source, dry_run=True), copy(source)):
        assert again.exit_code == 1
        known = {error for error in again.errors if error.known_since is not None}
        assert {error.id for error in known} == {third, fourth}
        assert as_first_said(known) <= as_first_said(first.errors)
        assert [entry for entry in again.as_json()["errors"] if "known_since" in entry]
    assert not again.nothing_new
    # Mended in the source, it is brought by a run that looks, and is still altered for one that does not.
    edit(source, ("UPDATE knowledge_nodes SET tags = '[\"mended\"]' WHERE rowid = 3", ()))
    edit(source, ("UPDATE scheduling SET memory_id = ? WHERE memory_id = ?", (orphan, NOBODY)))
    assert ids_of(copy(source)) == {third, fourth}
    newer = copy(source, on_conflict="newer")
    assert (ids_of(newer), newer.tables["knowledge_nodes"].updated) == ({fourth}, 1)
    assert {row[1] for row in recorded(copy.database)} == {fourth}
    # Somebody gave it a value here: that is no missing value any more.
    run(copy.database, "UPDATE knowledge_nodes SET tags = '{here}' WHERE id = %s", fourth)
    last = copy(source)
    assert (last.errors, last.exit_code, recorded(copy.database)) == ([], 0, [])


NOBODY = "0b0b0b0b-0000-4000-8000-000000000000"


def test_verify_says_what_the_copies_said(source: Path, copy: Copier, command: CommandLine) -> None:
    orphan = node_id(source, 7)
    edit(source, (BAD_TAGS, ()), ("UPDATE scheduling SET memory_id = ? WHERE memory_id = ?", (NOBODY, orphan)))
    copy(source)
    found = Verifier(copy.database)(source)
    assert {error.id for error in found.altered} == {node_id(source, 3), node_id(source, 4)}
    assert {error.id for error in found.not_copied} == {NOBODY}
    [(started,)] = run(copy.database, "SELECT started_at FROM vestige_run")
    said = {error.known_since for error in (*found.altered, *found.not_copied)}
    assert said == {started.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    entries = found.as_json()
    assert all("known_since" in entry for entry in (*entries["altered"], *entries["not_copied_rows"]))
    done = command("verify", "--sqlite-path", source, "--postgres-url", copy.database)
    assert done.stdout.count(", known since ") == 3
    # What no copy has said is new.
    run(copy.database, "UPDATE knowledge_nodes SET tags = '{}' WHERE id = %s", node_id(source, 5))
    edit(source, ("UPDATE knowledge_nodes SET tags = 'not JSON' WHERE rowid = 5", ()))
    newly = [error for error in Verifier(copy.database)(source).altered if error.known_since is None]
    assert {error.id for error in newly} == {node_id(source, 5)}
    # Nor does anybody know without a record, or without the right to read it.
    run(copy.database, "ALTER TABLE vestige_run_error RENAME TO taken_away")
    assert {error.known_since for error in Verifier(copy.database)(source).altered} == {None}


def test_a_row_that_was_changed_elsewhere_keeps_its_error(source: Path, copy: Copier) -> None:
    edit(source, (BAD_TAGS, ()))
    copy(source)
    run(copy.database, "UPDATE knowledge_nodes SET node_type = 'note'")
    assert ids_of(copy(source)) == {node_id(source, 3), node_id(source, 4)}
    run(copy.database, "DELETE FROM knowledge_nodes WHERE id = %s", node_id(source, 3))
    edit(source, ("UPDATE knowledge_nodes SET tags = '[]' WHERE rowid = 3", ()))
    assert ids_of(copy(source)) == {node_id(source, 4)}


def test_the_errors_of_another_file_are_its_own(tmp_path: Path, copy: Copier) -> None:
    spec = SourceSpec(memories=20, schedules=20, edges=5, events=5)
    one = build_source(tmp_path / "one.db", spec)
    two = build_source(tmp_path / "two.db", SourceSpec(memories=20, schedules=20, edges=5, events=5, seed=2))
    edit(one, (BAD_TAGS, ()))
    copy(one)
    assert not ids_of(copy(two)) & {node_id(one, 3), node_id(one, 4)}
    assert ids_of(copy(one)) == {node_id(one, 3), node_id(one, 4)}


def test_of_several_files_each_error_is_said_until_its_row_is_whole(tmp_path: Path, copy: Copier) -> None:
    spec = SourceSpec(memories=20, schedules=0, edges=0, events=0, domains=0, extra_users=0, groups=0, memberships=0)
    files = [build_source(tmp_path / f"{seed}.db", replace(spec, seed=seed)) for seed in (1, 2, 3)]
    for bad in (1, 0):
        edit(files[bad], (BAD_TAGS, ()))
    expected = {node_id(path, row) for path in files[:2] for row in (3, 4)}
    plans = [SqliteToPostgresPlan(path, copy.database, indexes=copy.indexes) for path in files]
    for _ in range(3):
        combined = run_several_to_postgres(plans)
        assert {error.id for report in combined.reports for error in report.errors} == expected
        assert combined.exit_code == 1
    # Gone from all of them.
    edit(files[1], ("DELETE FROM knowledge_nodes WHERE rowid IN (3, 4)", ()))
    combined = run_several_to_postgres(plans)
    assert {row[1] for row in recorded(copy.database)} == {node_id(files[0], row) for row in (3, 4)}


def test_a_row_that_another_tables_trigger_touched_keeps_its_error(source: Path, copy: Copier) -> None:
    edit(source, (BAD_TAGS, ()))
    copy(source)
    run(copy.database, "UPDATE domains SET label = 'here'")
    add_trigger(
        copy.database, "UPDATE knowledge_nodes SET codebase = 'touched'; RETURN NEW;", "domains", when="AFTER INSERT"
    )
    edit(source, ("INSERT INTO domains (id, label, created_at) VALUES ('new', 'new', '2026-01-01')", ()))
    for _ in range(2):
        assert ids_of(copy(source)) == {node_id(source, 3), node_id(source, 4)}


def test_the_error_of_an_edge_is_over_when_it_is_whole(source: Path, copy: Copier) -> None:
    [(one, other, weight)] = sqlite_rows(source, "SELECT source_id, target_id, weight FROM edges WHERE rowid = 2")
    edit(source, ("UPDATE edges SET weight = 'heavy' WHERE rowid = 2", ()))
    for _ in range(2):
        assert ids_of(copy(source)) == {f"{one} -> {other}"}
    # Somebody gave it a value here, which holds for as long as the source has none that can be read.
    run(copy.database, "UPDATE edges SET weight = 0.5 WHERE (source_id, target_id) = (%s, %s)", one, other)
    for on_conflict in ("skip", "newer"):
        report = copy(source, on_conflict=on_conflict)
        assert (report.errors, recorded(copy.database)) == ([], [])
    run(copy.database, "DELETE FROM edges WHERE (source_id, target_id) = (%s, %s)", one, other)
    assert ids_of(copy(source)) == {f"{one} -> {other}"}
    edit(source, ("UPDATE edges SET weight = ? WHERE rowid = 2", (weight,)))
    report = copy(source, on_conflict="newer")
    assert (report.errors, report.tables["edges"].updated, recorded(copy.database)) == ([], 1, [])


def test_errors_of_rows_without_an_id_are_forgotten_when_they_are_not_said_again(source: Path, copy: Copier) -> None:
    rows = sqlite_rows(source, "SELECT rowid, source_id FROM edges WHERE rowid <= 3")
    edit(source, ("UPDATE edges SET source_id = 'a secret of row ' || rowid WHERE rowid <= 3", ()))
    for _ in range(3):
        report = copy(source)
        assert [error.message.partition(": ")[2] for error in report.errors] == [
            f"'a secret of row {row}'" for row, _ in rows
        ]
        # Their values are said, and not kept.
        assert run(copy.database, "SELECT reason, key FROM vestige_run_error") == [("source_id is no UUID", NIL_UUID)]
    edit(source, *(("UPDATE edges SET source_id = ? WHERE rowid = ?", (value, row)) for row, value in rows))
    assert copy(source).exit_code == 0
    assert recorded(copy.database) == []


def test_a_record_that_cannot_be_written_leaves_no_transaction_behind(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        record = BatchRecord(connection, Run(uuid4(), ("x",)), "edges", 0)
        with pytest.raises(psycopg.errors.UndefinedTable), record.of_direct(1):
            pass
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_killed_coordinator_loses_no_error(tmp_path: Path, database: str, process: CommandLine) -> None:
    source = build_source(tmp_path / "vestige.db", SourceSpec(memories=600, schedules=600, edges=0, events=0))
    (_, first), (_, second), *_, (_, blocked) = sorted(all_memories(source))
    edit(source, ("UPDATE knowledge_nodes SET tags = 'not JSON' WHERE id IN (?, ?)", (first, second)))
    Copier(database)(build_source(tmp_path / "empty.db", SourceSpec(memories=0, schedules=0, edges=0, events=0)))
    last = run(database, "SELECT count(*) FROM vestige_run")
    with held_row(database, blocked):
        started = RunningCopy.start(
            "--sqlite-path", source, "--postgres-url", database, "--workers", "1", "--batch-size", "50",
            environment=process.environment(),
        )  # fmt: skip
        started.wait_until(lambda: blocked_sessions(database), "the last batch to wait")
        started.process.send_signal(signal.SIGKILL)
        started.process.wait(timeout=30)
    noted = {row[1] for row in recorded(database)}
    assert noted == {first, second}
    assert run(database, "SELECT count(*) FROM vestige_run WHERE ended_at IS NULL") == [(1,)]
    assert run(database, "SELECT count(*) FROM vestige_run") == [(last[0][0] + 1,)]
    report = Copier(database)(source)
    assert ids_of(report) == noted
    assert report.memories_copied == 600


def sqlite_rows(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def all_memories(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT created_at, id FROM knowledge_nodes").fetchall()


def test_what_went_in_is_counted_once_and_nothing_secret_is_kept(source: Path, copy: Copier) -> None:
    edit(source, (BAD_TAGS.replace("not JSON", "a secret"), ()))
    report = copy(source, workers=2, batch_size=7, owner="somebody")
    copy(source, workers=2, owner="somebody")
    entered = dict(
        run(copy.database, "SELECT table_name, sum(inserted)::int FROM vestige_run_batch GROUP BY table_name")
    )
    for name, table in report.tables.items():
        expected = table.inserted + (1 if name == "users" else 0)  # --owner's
        assert entered.get(name, 0) == expected, name
    [(complete, counts, options), _] = run(
        copy.database, "SELECT complete, counts, options FROM vestige_run ORDER BY started_at"
    )
    assert complete
    assert counts[str(source)]["knowledge_nodes"]["inserted"] == 40
    assert options["batch_size"] == 7
    everything = json.dumps([run(copy.database, f"SELECT {name} FROM {name}") for name in RECORD], default=str)
    assert "host=" not in everything
    assert "a secret" not in everything


def test_tables_that_came_from_another_server_say_nothing_of_the_rows(source: Path, copy: Copier) -> None:
    """A dump and its restore give every row another transaction, whose number may be one of the record's."""
    copy(source)
    run(copy.database, "UPDATE vestige_run SET system_identifier = system_identifier - 1")
    edit(source, ("UPDATE domains SET label = 'other'", ()))
    report = copy(source, on_conflict="newer")
    assert (report.tables["domains"].updated, {row.table for row in report.kept}) == (0, {"domains"})
    # Unknown to a role that may not ask, it is taken for this one.
    copy(source, on_conflict="source", yes=True)
    run(copy.database, "UPDATE vestige_run SET system_identifier = NULL")
    edit(source, ("UPDATE domains SET label = 'another'", ()))
    assert copy(source, on_conflict="newer").tables["domains"].updated == 5


def test_a_role_that_may_not_make_it_copies_all_the_same_with_one_warning(source: Path, guest: Guest) -> None:
    edit(source, (BAD_TAGS, ()))
    guest.owner("GRANT CREATE ON SCHEMA public TO {role}")
    owner = Copier(guest.url)
    owner(source)
    with psycopg.connect(guest.url, autocommit=True) as connection:
        for name in RECORD:
            connection.execute(f"DROP TABLE {name}")
        connection.execute("CREATE VIEW vestige_run AS SELECT 1 AS id")
    with log_lines() as lines:
        report = owner(source, on_conflict="newer")
    assert report.exit_code == 0  # nothing is remembered
    [warning] = [line for line in lines if "keeps no record" in line]
    assert "vestige_run (rename or drop that)" in warning
    edit(source, ("UPDATE domains SET label = 'other'", ()))
    report = owner(source, on_conflict="newer")
    assert {row.table for row in report.kept} == {"domains"}
    assert not Verifier(guest.url)(source).same
