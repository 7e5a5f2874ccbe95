"""Memories that were deleted in the destination: no copy brings them back unless it is told to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.integration.test_deletions import bury, there
from tests.support.compare import assert_same, stored
from tests.support.databases import run
from tests.support.guest import Guest
from tests.support.logged import log_lines
from tests.support.sources import SourceSpec, build_source, node_id
from tests.support.table_counts import table_counts
from tests.support.verifying import Verifier
from vestige_migrate import (
    Indexes,
    Interrupted,
    MigrationReport,
    Progress,
    SqliteToPostgresPlan,
    run_several_to_postgres,
    run_sqlite_to_postgres,
)

pytestmark = pytest.mark.in_process

SPEC = SourceSpec(memories=300, schedules=300, edges=60, events=40)
OF_MEMORIES = ("knowledge_nodes", "scheduling", "edges", "review_events")


def forget(url: str, *memories: str) -> dict[str, int]:
    """Deletes memories as whoever uses the destination does; how many rows of each table went."""
    before = {name: len(rows) for name, rows in stored(url).items()}
    run(url, "DELETE FROM knowledge_nodes WHERE id = ANY(%s::uuid[])", list(memories))
    after = stored(url)
    return {name: before[name] - len(after[name]) for name in OF_MEMORIES}


def tombstones(url: str) -> list[str]:
    return sorted(id_ for (id_,) in run(url, "SELECT memory_id::text FROM deletion_tombstones"))


def counts(report: MigrationReport) -> dict[str, int]:
    """The forgotten rows of each table, whose counts add up."""
    for found in report.tables.values():
        assert found.source_rows == (found.inserted + found.skipped + found.updated + found.failed + found.forgotten)
    return {name: report.tables[name].forgotten for name in OF_MEMORIES}


def chosen(url: str) -> list[str]:
    """A memory that an edge starts from, one that another edge leads to, and one that was reviewed."""
    [(start, end)] = run(
        url,
        "SELECT a.source_id::text, b.target_id::text FROM edges AS a, edges AS b WHERE a.source_id <> b.target_id"
        " AND NOT EXISTS (SELECT FROM edges AS c WHERE c.target_id = a.source_id OR c.source_id = b.target_id)"
        " ORDER BY 1, 2 LIMIT 1",
    )
    [(reviewed,)] = run(
        url, "SELECT memory_id::text FROM review_events WHERE memory_id NOT IN (%s, %s) LIMIT 1", start, end
    )
    return sorted([str(start), str(end), str(reviewed)])


@pytest.mark.old_server
def test_what_was_forgotten_stays_away_with_all_that_hangs_on_it_until_it_is_restored(
    tmp_path: Path, copy: Copier
) -> None:
    path = build_source(tmp_path / "vestige.db", SPEC)
    verify = Verifier(copy.database)
    copy(path)
    assert tombstones(copy.database) == []
    memories = chosen(copy.database)
    gone = forget(copy.database, *memories)
    assert gone["knowledge_nodes"] == 3
    assert gone["edges"] >= 2
    assert gone["review_events"] >= 1
    assert tombstones(copy.database) == memories
    left = stored(copy.database)
    for options in ({"dry_run": True}, {"workers": 3, "batch_size": 20}, {"on_conflict": "newer"}):
        report = copy(path, **options)
        assert (report.forgotten, counts(report), report.errors) == (memories, gone, [])
        assert (report.exit_code, report.nothing_new) == (0, False)
        assert {report.tables[name].inserted for name in OF_MEMORIES} == {0}
        assert stored(copy.database) == left
    compared = verify(path)
    assert {name: compared.tables[name].forgotten for name in OF_MEMORIES} == gone
    assert {str(item.kind) for item in compared.differences} == {"forgotten"}
    assert (compared.exit_code, compared.not_copied_rows) == (1, 0)

    run(copy.database, "TRUNCATE knowledge_nodes CASCADE")
    report = copy(path, workers=2)
    assert (report.forgotten, counts(report)) == (memories, gone)
    assert stored(copy.database) == left

    dry = copy(path, restore_forgotten=True, dry_run=True)
    report = copy(path, restore_forgotten=True, workers=2)
    for found in (dry, report):
        assert {name: found.tables[name].inserted for name in OF_MEMORIES} == gone
        assert found.forgotten == []
    assert tombstones(copy.database) == []
    assert_same(path, copy.database)
    again = copy(path)
    assert again.nothing_new
    assert again.as_json()["forgotten"] == []
    assert verify(path).exit_code == 0


@pytest.mark.parametrize(
    "spec",
    [
        SourceSpec(form="vestige", memories=40, edges=10, events=10),
        SourceSpec(line="released", version=35, memories=40, edges=10),
    ],
)
def test_whatever_form_the_file_has(tmp_path: Path, copy: Copier, spec: SourceSpec) -> None:
    path = build_source(tmp_path / "vestige.db", spec)
    copy(path)
    [(memory,)] = run(copy.database, "SELECT source_id::text FROM edges LIMIT 1")
    gone = forget(copy.database, memory)
    assert gone["knowledge_nodes"] == gone["scheduling"] == 1
    for dry_run in (True, False):
        report = copy(path, on_conflict="newer", dry_run=dry_run)
        assert (report.forgotten, counts(report), report.errors) == ([memory], gone, [])


def test_of_several_files_each_names_what_it_has_and_one_that_came_back_by_hand_counts_as_any_other(
    source: Path, tmp_path: Path, copy: Copier
) -> None:
    other = tmp_path / "other.db"
    shutil.copy(source, other)
    both, only, back = sorted(node_id(source, row) for row in (1, 2, 3))
    plans = [SqliteToPostgresPlan(path, copy.database, workers=2, indexes="none") for path in (source, other)]  # type: ignore[arg-type]
    run_several_to_postgres(plans)
    forget(copy.database, both, only, back)
    bury(other, only)
    run(copy.database, "INSERT INTO knowledge_nodes (id, content) VALUES (%s, 'again')", back)
    run(copy.database, "CREATE FUNCTION idle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    # Where rows go in by a trigger of somebody's, every row is looked for once more.
    run(copy.database, "CREATE TRIGGER idle BEFORE INSERT ON scheduling FOR EACH ROW EXECUTE FUNCTION idle()")
    combined = run_several_to_postgres(plans)
    assert {error.id for error in combined.errors} <= {back}  # its other content stays
    report = combined.as_json()
    assert [section["forgotten"] for section in report["sources"]] == [sorted([both, only]), [both]]
    assert there(copy.database, back)
    first = report["sources"][0]["tables"]
    assert (first["scheduling"]["inserted"], first["scheduling"]["forgotten"]) == (1, 2)


def test_what_the_program_deletes_by_itself_is_not_forgotten(source: Path, tmp_path: Path, copy: Copier) -> None:
    before = tmp_path / "before.db"
    shutil.copy(source, before)
    copy(source)
    bury(source, node_id(source, 1))
    report = copy(source, deletions="apply")
    assert report.deletions is not None
    assert len(report.deletions.deleted) == 1
    assert tombstones(copy.database) == []
    assert copy(before).tables["knowledge_nodes"].inserted == 1
    assert_same(before, copy.database)


def test_a_role_without_rights_on_the_tombstones_deletes_and_copies_and_is_told(
    source: Path, copy: Copier, guest: Guest
) -> None:
    copy(source)
    memory = node_id(source, 1)
    guest.owner(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
        "REVOKE ALL ON deletion_tombstones FROM {role}",
    )
    run(guest.url, "SET search_path = pg_catalog; DELETE FROM public.knowledge_nodes WHERE id = '" + memory + "'")
    assert tombstones(copy.database) == [memory]
    assert told(Copier(guest.url, Indexes.NONE), source)[0].endswith(
        f"GRANT SELECT ON deletion_tombstones TO {guest.role}"
    )
    assert there(copy.database, memory)
    forget(copy.database, memory)
    guest.owner("GRANT SELECT ON deletion_tombstones TO {role}")
    with log_lines() as lines:
        assert Copier(guest.url, Indexes.NONE)(source).forgotten == [memory]
    assert [line for line in lines if "tombstones" in line] == []
    [line] = told(Copier(guest.url, Indexes.NONE), source, restore_forgotten=True)
    assert "permission denied for table deletion_tombstones" in line
    assert there(copy.database, memory)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(guest.url, "SELECT vestige_keep_tombstones()")
    guest.owner("DROP TABLE deletion_tombstones")
    run(guest.url, "DELETE FROM knowledge_nodes WHERE id = %s", memory)
    assert "Let the owner of the tables run this command once" in told(Copier(guest.url, Indexes.NONE), source)[0]
    assert there(copy.database, memory)


def told(copy: Copier, source: Path, **options: Any) -> list[str]:
    with log_lines() as lines:
        assert copy(source, **options).exit_code == 0
    return [line.rstrip() for line in lines if line.startswith("WARNING") and "deletion_tombstones" in line]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("memory_id uuid UNIQUE, deleted_at timestamptz", None),
        (
            "memory_id uuid PRIMARY KEY, deleted_at timestamptz, reason text NOT NULL",
            "is read, and no trigger fills it",
        ),
        ("memory_id text PRIMARY KEY, deleted_at timestamptz", "has no column memory_id of type uuid"),
    ],
)
def test_a_table_of_somebody_elses_is_used_as_far_as_it_fits(
    source: Path, copy: Copier, columns: str, said: str | None
) -> None:
    run(copy.database, f"CREATE TABLE deletion_tombstones ({columns})")
    lines = told(copy, source)
    assert [said in line for line in lines if said] == [True] * (said is not None)
    memory = node_id(source, 1)
    forget(copy.database, memory)
    if said is not None:
        assert tombstones(copy.database) == []
        if "reason" in columns:
            run(copy.database, "INSERT INTO deletion_tombstones VALUES (%s, now(), 'asked for')", memory)
    assert copy(source).forgotten == ([] if "text PRIMARY KEY" in columns else [memory])


def test_a_copy_that_is_stopped_in_the_middle_keeps_what_was_forgotten_meanwhile(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SPEC)

    def stop(progress: Progress) -> None:
        if progress.table == "knowledge_nodes" and progress.done >= 120:
            raise KeyboardInterrupt

    plan = SqliteToPostgresPlan(path, copy.database, workers=1, batch_size=20, indexes="none")  # type: ignore[arg-type]
    with pytest.raises(Interrupted):
        run_sqlite_to_postgres(plan, on_progress=stop)
    [(memory,)] = run(copy.database, "SELECT min(id::text) FROM knowledge_nodes")
    forget(copy.database, memory)
    report = copy(path)
    assert (report.forgotten, report.errors) == ([memory], [])
    assert report.tables["knowledge_nodes"].in_destination == 299
    assert counts(report)["scheduling"] == 1


def test_the_command_line_names_them_and_says_how_they_come_back(
    source: Path, tmp_path: Path, copy: Copier, command: CommandLine
) -> None:
    copy(source)
    memories = sorted(node_id(source, row) for row in range(1, 24))
    rows = sum(forget(copy.database, *memories).values())
    report = tmp_path / "report.json"
    arguments = ("--sqlite-path", source, "--postgres-url", copy.database)
    done = command("copy", *arguments, "--indexes", "none", "--report", report)
    assert done.returncode == 0, done.stderr
    line = (
        "forgotten in the destination, so not brought back, with all that hangs on them "
        "(--restore-forgotten brings them back): 23 memories"
    )
    assert f"{line}\n  {memories[0]}\n" in done.stdout
    assert "  +3 more (the whole list: --report FILE)" in done.stdout
    written = json.loads(report.read_text())
    assert written["forgotten"] == memories
    assert written["tables"]["knowledge_nodes"] == table_counts(source_rows=40, skipped=17, forgotten=23)
    verified = command("verify", *arguments)
    assert verified.returncode == 1
    assert f"\nforgotten in the destination ({rows}): compared" in verified.stdout
    assert command("copy", *arguments, "--indexes", "none", "--restore-forgotten").returncode == 0
    assert command("verify", *arguments).returncode == 0
