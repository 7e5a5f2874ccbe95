"""The destination remembers its copies: an error holds until a run brings its row whole, and no kill loses one."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.databases import run
from tests.support.guest import Guest
from tests.support.logged import log_lines
from tests.support.running import RunningCopy, blocked_sessions, held_row
from tests.support.said_again import as_first_said
from tests.support.sources import SourceSpec, build_source, edit, node_id
from tests.support.verifying import Verifier
from vestige_migrate import MigrationReport

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
