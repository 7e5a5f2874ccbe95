"""Several sources into one destination."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import KEYS, expected, stored
from tests.support.sources import SourceSpec, build_source, edit, node_id
from vestige_migrate import (
    CombinedReport,
    ModelMismatch,
    PlanError,
    SourcesMismatch,
    SourceTooOld,
    SourceUnusable,
    SqliteToPostgresPlan,
    TooManyErrors,
    run_several_to_postgres,
)

pytestmark = pytest.mark.in_process

SPEC = SourceSpec(memories=30, schedules=30, edges=10, events=10, extra_users=0, groups=0, memberships=0)
# Files of any seed have the same ids of domains, which would then have two contents.
OTHER = {"seed": 8, "domains": 0}
SECTION_6 = [
    "schema", "command", "dry_run", "complete", "source", "destination", "model", "memories_copied", "scheduling_rows",
    "edges_copied", "review_events_copied", "domains_copied", "users_copied", "groups_copied",
    "group_memberships_copied", "memories_updated", "tables", "errors", "left_behind", "source_changed", "kept",
    "forgotten", "phases", "duration_seconds",
]  # fmt: skip

Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Builds a file by name; the seed tells its memories from those of the others."""

    def build_named(name: str, **changes: object) -> Path:
        return build_source(tmp_path / name, replace(SPEC, **changes))  # type: ignore[arg-type]

    return build_named


def several(copy: Copier, *paths: Path, **options: object) -> CombinedReport:
    plans = [
        SqliteToPostgresPlan(path, copy.database, **{"workers": 1, "indexes": copy.indexes, **options})  # type: ignore[arg-type]
        for path in paths
    ]
    return run_several_to_postgres(plans)


def share(one: Path, other: Path, rows: int) -> None:
    """Copies the first memories of `one`, with their schedules, to `other`."""
    edit_attached = (
        f"INSERT INTO knowledge_nodes SELECT * FROM one.knowledge_nodes WHERE rowid <= {rows}",
        "INSERT INTO scheduling SELECT * FROM one.scheduling WHERE memory_id IN"
        f" (SELECT id FROM one.knowledge_nodes WHERE rowid <= {rows})",
    )
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("ATTACH ? AS one", (str(one),))
        for statement in edit_attached:
            connection.execute(statement)
        connection.commit()


def nothing_was_made(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT to_regclass('knowledge_nodes')").fetchone() == (None,)


def indexes(url: str) -> int:
    with psycopg.connect(url) as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM pg_index WHERE indisvalid AND indexrelid::regclass::text LIKE 'idx_%'"
        ).fetchone() or (0,)
    return int(count)


@pytest.mark.indexed
def test_every_row_of_every_file_arrives_and_a_shared_memory_once(build: Build, copy: Copier) -> None:
    people = {"extra_users": 3, "groups": 2, "memberships": 4}
    paths = [build("a.db", **people), build("b.db", seed=8, domains=0), build("c.db", seed=9, domains=0)]
    share(paths[0], paths[2], 6)
    report = several(copy, *paths)
    assert report.errors == []
    assert report.complete
    assert [section.source.path for section in report.reports] == [str(path) for path in paths]
    assert [section.memories_copied for section in report.reports] == [30, 30, 36]
    assert [section.tables["knowledge_nodes"].inserted for section in report.reports] == [30, 30, 30]
    assert [section.tables["scheduling"].skipped for section in report.reports] == [0, 0, 6]
    found = stored(copy.database)
    assert all(row.pop("metadata") == {} for row in found["domains"].values())  # no source has any
    for path in paths:
        for table, rows in expected(path).items():
            for key, row in rows.items():
                if table != "users" or row["handle"] != "local":
                    assert found[table][key] == row, (path, table, key)
    wanted = {table: {key for path in paths for key in expected(path)[table]} for table in KEYS}
    assert {table: set(rows) for table, rows in found.items()} == wanted
    assert indexes(copy.database) == 17
    second = several(copy, *paths)
    assert [table.inserted for section in second.reports for table in section.tables.values()] == [0] * 24
    again = stored(copy.database)
    assert all(row.pop("metadata") == {} for row in again["domains"].values())
    assert again == found


def test_indexes_wait_for_the_last_file(build: Build, copy: Copier) -> None:
    seen: list[tuple[str, int]] = []
    plans = [SqliteToPostgresPlan(path, copy.database, workers=1) for path in (build("a.db"), build("b.db", seed=8))]
    run_several_to_postgres(plans, on_progress=lambda at: seen.append((at.table, indexes(copy.database))))
    while_loading = [built for table, built in seen if table in KEYS]
    assert set(while_loading) == {0}
    assert [table for table, _ in seen].index("indexes") > max(
        at for at, (table, _) in enumerate(seen) if table == "review_events"
    )
    assert indexes(copy.database) == 17


def test_of_a_shared_memory_the_first_counts_and_with_newer_the_latest(build: Build, copy: Copier) -> None:
    one, other = build("a.db"), build("b.db", seed=8)
    share(one, other, 4)
    ids = [node_id(one, rowid) for rowid in (1, 2, 3, 4)]
    later = "2031-01-01T00:00:00Z"
    newer = "UPDATE knowledge_nodes SET content = 'later', updated_at = ? WHERE id = ?"
    edit(
        other,
        *[(newer, (later, id_)) for id_ in ids[:2]],
        *[("UPDATE scheduling SET reps = 77 WHERE memory_id = ?", (id_,)) for id_ in ids],
    )  # fmt: skip
    first = several(copy, one, other).reports[1]
    assert (first.tables["knowledge_nodes"].skipped, first.tables["knowledge_nodes"].failed) == (2, 2)
    assert (first.tables["scheduling"].skipped, first.tables["scheduling"].failed) == (0, 4)
    assert contents(copy.database, ids)[0] != ("later", 77)
    report = several(copy, other, one, on_conflict="newer")
    assert [section.memories_updated for section in report.reports] == [2, 0]
    # Of a schedule the one with the later reviews counts, whosever memory is the later one.
    assert [section.tables["scheduling"].updated for section in report.reports] == [4, 0]
    found = contents(copy.database, ids)
    assert [content == "later" for content, _ in found] == [True, True, False, False]
    assert {reps for _, reps in found} == {77}


def test_of_a_shared_edge_the_first_weight_counts_and_with_newer_the_last(build: Build, copy: Copier) -> None:
    one, other = build("a.db"), build("b.db", seed=8)
    share(one, other, 30)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("DELETE FROM edges")
        connection.execute("ATTACH ? AS one", (str(one),))
        connection.execute("INSERT INTO edges SELECT * FROM one.edges")
        connection.execute("UPDATE edges SET weight = 0.125")
        connection.commit()
    first = {key: row["weight"] for key, row in expected(one)["edges"].items()}
    several(copy, one, other)
    assert {key: row["weight"] for key, row in stored(copy.database)["edges"].items()} == first
    report = several(copy, one, other, on_conflict="newer")
    assert [section.tables["edges"].updated for section in report.reports] == [0, 10]
    assert {row["weight"] for row in stored(copy.database)["edges"].values()} == {0.125}


def contents(url: str, ids: list[str]) -> list[tuple[str, int]]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT id::text, content, reps FROM knowledge_nodes JOIN scheduling ON memory_id = id"
        ).fetchall()
    found = {id_: (content, reps) for id_, content, reps in rows}
    return [found[id_] for id_ in ids]


def test_two_people_of_one_handle_are_an_error_that_names_them(build: Build, copy: Copier) -> None:
    """Whether they are one person is not for the program to say: handles are unique, ids differ."""
    one, other = build("a.db", extra_users=1), build("b.db", seed=8, extra_users=1)
    report = several(copy, one, other)
    assert report.reports[0].errors == []
    refused = [error for error in report.reports[1].errors if error.table == "users"]
    assert [error.message for error in refused] == ['violates unique constraint "users_handle_key"']
    nodes = report.reports[1].tables["knowledge_nodes"]
    assert nodes.failed > 0
    assert nodes.source_rows == nodes.inserted + nodes.failed == 30


def test_two_models_are_refused_before_anything_is_written(build: Build, copy: Copier) -> None:
    one, other = build("a.db"), build("b.db", seed=8, model="BAAI/bge-large-en-v1.5")
    with pytest.raises(SourcesMismatch) as caught:
        several(copy, one, build("c.db", seed=9, model=None), other)
    for part in (str(one), str(other), "nomic-embed-text-v1.5", "BAAI/bge-large-en-v1.5"):
        assert part in str(caught.value)
    assert caught.value.exit_code == 3
    assert isinstance(caught.value, ModelMismatch)
    assert nothing_was_made(copy.database)


def test_a_hash_of_one_file_holds_for_the_others_and_the_destination(build: Build, copy: Copier) -> None:
    """The second file's model is inferred from its vectors and has no hash; the third's has another one."""
    paths = [
        build("a.db", form="vestige", registered_model=False),
        build("b.db", **OTHER),
        build("c.db", seed=9, domains=0, model_hash="0" * 64),
    ]
    with pytest.raises(SourcesMismatch):
        several(copy, *paths)
    report = several(copy, *paths[:2])
    assert report.errors == []
    assert report.model is not None
    assert report.model.hash == SPEC.model_hash
    with pytest.raises(ModelMismatch):
        copy(paths[2])


def test_vectors_of_two_lengths_without_a_model_are_refused(build: Build, copy: Copier) -> None:
    with pytest.raises(SourcesMismatch, match="dim 384"):
        several(
            copy,
            build("a.db", registered_model=False),
            build("b.db", seed=8, registered_model=False, dimension=384),
        )
    assert nothing_was_made(copy.database)


@pytest.mark.indexed
def test_a_file_without_vectors_may_come_first(build: Build, copy: Copier) -> None:
    report = several(copy, build("a.db", model=None), build("b.db", **OTHER))
    assert report.errors == []
    assert indexes(copy.database) == 17


@pytest.mark.parametrize("how", ["same", "link", "hard link"])
def test_one_file_given_twice_is_refused(build: Build, copy: Copier, tmp_path: Path, how: str) -> None:
    path = build("a.db")
    again = path if how == "same" else tmp_path / "again.db"
    if how == "link":
        again.symlink_to(path)
    elif how == "hard link":
        again.hardlink_to(path)
    with pytest.raises(PlanError, match="names one file twice"):
        several(copy, path, build("b.db", seed=8), again)
    assert nothing_was_made(copy.database)


def test_a_later_file_that_cannot_be_read_stops_everything_first(build: Build, copy: Copier, tmp_path: Path) -> None:
    one = build("a.db")
    with pytest.raises(SourceUnusable, match=r"gone\.db does not exist"):
        several(copy, one, tmp_path / "gone.db")
    older = build("old.db", line="shared", version=12, seed=8)
    before = older.read_bytes()
    with pytest.raises(SourceTooOld, match=r"old\.db is at V12"):
        several(copy, one, older)
    with pytest.raises(SourceTooOld):
        several(copy, older, build("older.db", line="shared", version=9, seed=9), allow_source_upgrade=True)
    assert older.read_bytes() == before
    assert nothing_was_made(copy.database)


def test_files_of_different_versions_are_each_treated_as_what_they_are(build: Build, copy: Copier) -> None:
    paths = [
        build("a.db"),
        build("b.db", line="shared", version=9, seed=8),
        build("c.db", line="released", version=35, seed=9),
    ]
    report = several(copy, *paths, snapshot=True, archive=True)
    assert [(item.source.schema_version, item.source.lineage) for item in report.reports] == [
        (15, "plan"), (9, "shared"), (35, "released"),
    ]  # fmt: skip
    assert [item.memories_copied for item in report.reports] == [30, 30, 30]
    for section in report.reports[1:]:
        assert section.archived
    with psycopg.connect(copy.database) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM vestige_archive").fetchone() or (0,)
    archived = [section.archived or {} for section in report.reports]
    shared = archived[1]["fsrs_config"]  # the row that every schema comes with, the same in both files
    assert rows == sum(sum(tables.values()) for tables in archived) - shared


def test_max_errors_is_for_all_files_together(build: Build, copy: Copier) -> None:
    paths = [build("a.db"), build("b.db", **OTHER), build("c.db", seed=9, domains=0)]
    for path in paths:
        edit(path, ("UPDATE knowledge_nodes SET tags = 'no' WHERE rowid <= 2", ()))
    report = several(copy, *paths, max_errors=6)
    assert [len(section.errors) for section in report.reports] == [2, 2, 2]
    assert report.exit_code == 1
    with psycopg.connect(copy.database) as connection:
        connection.execute("TRUNCATE users, knowledge_nodes CASCADE")
    with pytest.raises(TooManyErrors, match="6 rows have errors, more than --max-errors 4") as caught:
        several(copy, *paths, max_errors=4)
    partial = caught.value.report
    assert isinstance(partial, CombinedReport)
    assert not partial.complete
    assert [section.complete for section in partial.reports] == [True, True, False]


def test_plans_that_differ_otherwise_are_refused(plain_source: Path, database: str) -> None:
    one = SqliteToPostgresPlan(plain_source, database)
    with pytest.raises(PlanError, match="may differ in their source file only"):
        run_several_to_postgres([one, replace(one, batch_size=7)])
    with pytest.raises(PlanError, match="at least one"):
        run_several_to_postgres([])


def test_the_command_line_gives_each_file_a_section(
    build: Build, copy: Copier, command: CommandLine, tmp_path: Path
) -> None:
    one, other = build("a.db"), build("b.db", **OTHER)
    report_file = tmp_path / "report.json"
    arguments = ("copy", "--sqlite-path", one, "--sqlite-path", other, "--postgres-url", copy.database)
    dry = command(*arguments, "--dry-run", "--report", report_file)
    assert dry.returncode == 0, dry.stderr
    estimated = json.loads(report_file.read_text())
    assert not any("estimate" in section for section in estimated["sources"])  # one of both files together
    assert estimated["estimate"]["rows"] == sum(
        table["inserted"] for section in estimated["sources"] for table in section["tables"].values()
    )
    assert dry.stdout.count("\nto move: ") == 1
    assert nothing_was_made(copy.database)
    done = command(*arguments, "--report", report_file)
    assert done.returncode == 0, done.stderr
    for text in (dry.stdout, done.stdout):
        assert f"{one} (V15, plan line), file 1 of 2" in text
        assert f"{other} (V15, plan line), file 2 of 2" in text
        assert [line.split()[3] for line in text.splitlines() if "knowledge_nodes" in line] == ["30", "30"]
    report = json.loads(report_file.read_text())
    assert list(report) == [
        "schema", "command", "dry_run", "complete", "destination", "model", "sources", "duration_seconds",
    ]  # fmt: skip
    assert [section["source"]["path"] for section in report["sources"]] == [str(one), str(other)]
    assert [list(section) for section in report["sources"]] == [SECTION_6, SECTION_6]
    assert report["complete"] is True
    assert "nothing new" not in done.stdout
    again = command(*arguments, "--report", "-")
    rows = sum(table["source_rows"] for section in report["sources"] for table in section["tables"].values())
    assert again.stderr.splitlines()[-1].startswith(f"nothing new: all {rows} rows of the 2 sources were there already")
    assert again.stderr.count("nothing new: all") == 1


def test_one_path_keeps_the_report_of_one_copy(
    build: Build, copy: Copier, command: CommandLine, tmp_path: Path
) -> None:
    report_file = tmp_path / "report.json"
    done = command("copy", "--sqlite-path", build("a.db"), "--postgres-url", copy.database, "--report", report_file)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(report_file.read_text())) == SECTION_6


def test_the_command_line_names_both_files_of_a_mismatch(build: Build, copy: Copier, command: CommandLine) -> None:
    one, other = build("a.db"), build("b.db", seed=8, model="BAAI/bge-large-en-v1.5")
    refused = command("copy", "--sqlite-path", one, "--sqlite-path", other, "--postgres-url", copy.database)
    assert refused.returncode == 3
    assert "error: embedding model mismatch between two sources" in refused.stderr
    assert str(one) in refused.stderr
    assert str(other) in refused.stderr
    twice = command("copy", "--sqlite-path", one, "--sqlite-path", one, "--postgres-url", copy.database)
    assert twice.returncode == 2
    assert "Give each file once" in twice.stderr
