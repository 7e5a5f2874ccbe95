"""Two contents under one id: one is stored, and every other one is named, on every run, and by the comparison."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from tests.conftest import Copier
from tests.support.compare import KEYS, stored
from tests.support.databases import run
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.untyped import untyped
from tests.support.verifying import Verifier, named
from vestige_migrate import (
    CombinedReport,
    MigrationReport,
    SqliteToPostgresPlan,
    TooManyErrors,
    run_several_to_postgres,
)
from vestige_migrate.report.rows import Outcome

KEPT = Outcome.OTHER_CONTENT_KEPT
MARKER = "quetzalcoatl"
SPEC = SourceSpec(memories=20, schedules=15, edges=10, events=10, extra_users=3, groups=2, memberships=4, domains=5)
# What is no key and tells two contents of a row apart.
CONTENT = {
    "users": "display_name",
    "groups": "display_name",
    "group_memberships": "role",
    "domains": "label",
    "knowledge_nodes": "content",
    "scheduling": "reps",
    "edges": "weight",
    "review_events": "kind",
}
SPELT: dict[str, Callable[[str], object]] = {
    "upper": str.upper,
    "braces": lambda id_: f"{{{id_}}}",
    "no hyphens": lambda id_: id_.replace("-", ""),
    "some hyphens in braces": lambda id_: f"{{{id_[:18]}{id_[19:23]}{id_[24:]}}}",  # 36 characters
    "blob": str.encode,
    "swapped": str.swapcase,
}


@pytest.fixture
def verify(database: str) -> Verifier:
    return Verifier(database)


def build(folder: Path, name: str = "vestige.db", **changes: object) -> Path:
    return build_source(folder / name, replace(SPEC, **changes))  # type: ignore[arg-type]


def query(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def again(path: Path, table: str, rowid: int, key: dict[str, object], content: object) -> None:
    """Adds the row once more with another key and content."""
    new = {**key, CONTENT[table]: content}
    columns = [str(name) for _, name, *_ in query(path, f"PRAGMA table_info({table})")]
    values = ", ".join("?" if name in new else name for name in columns)
    given = tuple(new[name] for name in columns if name in new)
    edit(
        path, (f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} WHERE rowid = {rowid}", given)
    )


def kept_other(report: MigrationReport | CombinedReport) -> list[tuple[str, str]]:
    return sorted((error.table, error.id) for error in report.errors if error.outcome is KEPT)


def balanced(report: MigrationReport) -> bool:
    return all(
        table.source_rows == table.inserted + table.skipped + table.failed + table.updated
        for table in report.tables.values()
    )


def plant_everywhere(path: Path) -> list[tuple[str, str]]:
    """A second content in every table, each key spelt in another way; what is to be named."""
    spellings = list(SPELT.values())
    wanted = []
    for number, (table, names) in enumerate(KEYS.items()):
        if table == "domains":
            edit(path, ("UPDATE domains SET id = ? WHERE rowid = 1", ("a\ufffdb",)))
            again(path, table, 1, {"id": "a\0b"}, MARKER)
            wanted.append((table, "a\ufffdb"))
            continue
        [key] = query(path, f"SELECT {', '.join(names)} FROM {table} WHERE rowid = 2")
        spelt = dict(zip(names, key, strict=True))
        changed = names[-1] if table == "edges" else names[0]  # either part of a key counts
        spelt[changed] = spellings[number % len(spellings)](str(spelt[changed]))
        if table in {"users", "groups"}:
            spelt["handle"] = f"{MARKER} {table}"
        again(path, table, 2, spelt, {"reps": 99, "role": "admin", "weight": 0.125}.get(CONTENT[table], MARKER))
        wanted.append((table, " -> ".join(map(str, key))))
    return sorted(wanted)


def test_a_second_content_is_named_in_every_table_on_every_run_and_by_the_comparison(
    tmp_path: Path, copy: Copier, verify: Verifier
) -> None:
    path = build(tmp_path)
    edit(path, ("UPDATE group_memberships SET role = 'member'", ()))
    wanted = plant_everywhere(path)
    dry = copy(path, dry_run=True)
    assert kept_other(dry) == wanted
    first = copy(path)
    before = stored(copy.database)
    for report in (first, copy(path), copy(path, on_conflict="newer")):
        assert kept_other(report) == wanted
        assert report.exit_code == 1
        assert balanced(report)
        assert {name: table.failed for name, table in report.tables.items()} == dict.fromkeys(KEYS, 1)
        assert MARKER not in str(report.errors)
        assert stored(copy.database) == before
    assert balanced(dry)
    assert {name: table.failed for name, table in dry.tables.items()} == dict.fromkeys(KEYS, 1)
    compared = verify(path)
    assert compared.exit_code == 1
    assert named(compared) == []
    assert {name: table.not_copied for name, table in compared.tables.items()} == dict.fromkeys(KEYS, 1)


def test_every_spelling_that_is_read_counts_and_the_same_content_is_no_error(tmp_path: Path, copy: Copier) -> None:
    """Of each spelling a memory with the same content, and one with another."""
    path = build(tmp_path, schedules=0, edges=0, events=0, memberships=0)
    memories = query(path, "SELECT id, content FROM knowledge_nodes ORDER BY rowid")
    others: dict[str, str] = {}
    for rowid, (spelling, spell) in zip(range(1, len(memories), 2), SPELT.items(), strict=False):
        (id_, content), (other, _) = memories[rowid - 1], memories[rowid]
        again(path, "knowledge_nodes", rowid, {"id": spell(str(id_))}, content)
        again(path, "knowledge_nodes", rowid + 1, {"id": spell(str(other))}, "another")
        others[spelling] = str(other)
    assert others.keys() == SPELT.keys()
    for _ in range(2):
        report = copy(path)
        assert kept_other(report) == sorted(("knowledge_nodes", other) for other in others.values()), others
        assert len(report.errors) == len(others)
        assert (report.tables["knowledge_nodes"].failed, balanced(report)) == (len(others), True)


def test_a_table_without_a_key_may_have_one_id_many_times(tmp_path: Path, copy: Copier, verify: Verifier) -> None:
    """As a rebuilt file may: the same to the last letter, whichever row of them comes first."""
    path = build(tmp_path, edges=0, events=0)
    for table in ("knowledge_nodes", "scheduling", "domains"):
        untyped(path, table)
        again(path, table, 3, {}, 7)
        again(path, table, 3, {}, 8)
        again(path, table, 4, {}, query(path, f"SELECT {CONTENT[table]} FROM {table} WHERE rowid = 4")[0][0])
    for _ in range(2):
        report = copy(path)
        found = [(error.table, error.outcome) for error in report.errors]
        assert sorted(found) == sorted([(name, KEPT) for name in ("knowledge_nodes", "scheduling", "domains")] * 2)
        assert balanced(report)
    assert verify(path).tables["scheduling"].not_copied == 2


def test_a_second_content_that_is_refused_for_another_reason_is_named_once(tmp_path: Path, copy: Copier) -> None:
    path = build(tmp_path, schedules=0, edges=0, events=0)
    [(id_,)] = query(path, "SELECT id FROM knowledge_nodes WHERE rowid = 5")
    again(path, "knowledge_nodes", 5, {"id": str(id_).upper(), "visibility": "nobody"}, "refused")
    [error] = copy(path, workers=1).errors
    assert (error.id, error.outcome) == (id_, Outcome.NOT_COPIED)
    report = copy(path)  # it is not sent again, and is not there either
    assert [(error.id, error.outcome) for error in report.errors] == [(id_, KEPT)]
    assert report.tables["knowledge_nodes"].failed == 1


def several(copy: Copier, *paths: Path, **options: object) -> CombinedReport:
    plans = [
        SqliteToPostgresPlan(path, copy.database, **{"workers": 1, "indexes": copy.indexes, **options})  # type: ignore[arg-type]
        for path in paths
    ]
    return run_several_to_postgres(plans)


def share(one: Path, other: Path, tables: tuple[str, ...]) -> None:
    """Puts all rows of `one` into `other`, too."""
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("ATTACH ? AS one", (str(one),))
        for table in tables:
            connection.execute(f"INSERT OR REPLACE INTO {table} SELECT * FROM one.{table}")
        connection.commit()


def test_a_second_content_in_another_file_is_named_with_the_file(
    tmp_path: Path, copy: Copier, verify: Verifier
) -> None:
    one, other = (
        build(tmp_path, "one.db"),
        build(tmp_path, "other.db", seed=8, memories=25, extra_users=0, groups=0, memberships=0),
    )
    share(one, other, tuple(KEYS))
    wanted = []
    for table, names in KEYS.items():
        if table == "group_memberships":
            continue
        given = {"reps": 99, "weight": 0.125}.get(CONTENT[table], MARKER)
        edit(
            other,
            (f"UPDATE {table} SET {CONTENT[table]} = ? WHERE rowid IN (SELECT max(rowid) FROM {table})", (given,)),
        )
        [key] = query(other, f"SELECT {', '.join(names)} FROM {table} ORDER BY rowid DESC LIMIT 1")
        wanted.append((table, " -> ".join(map(str, key))))
    # A spelling of its own is found in the other file, too.
    edit(other, ("UPDATE review_events SET id = upper(id)", ()))
    for _ in range(2):
        report = several(copy, one, other)
        assert kept_other(report) == sorted(wanted)
        assert report.reports[0].errors == []
        assert len(report.errors) == len(wanted)
        assert all(str(other) in error.message for error in report.errors)
        assert all(map(balanced, report.reports))
        assert (report.exit_code, MARKER in str(report.errors)) == (1, False)
    compared = verify(one, other)
    assert (compared.exit_code, named(compared)) == (1, [])
    assert sum(table.not_copied for table in compared.tables.values()) == len(wanted)
    # A file of its own that changed meanwhile is what `skip` leaves alone.
    edit(
        other, ("UPDATE knowledge_nodes SET content = 'changed' WHERE id NOT IN (SELECT memory_id FROM scheduling)", ())
    )
    edit(one, ("UPDATE knowledge_nodes SET content = 'changed' WHERE rowid = 1", ()))
    assert kept_other(copy(one)) == []


def test_with_newer_the_loser_by_its_time_is_what_was_asked_for(tmp_path: Path, copy: Copier) -> None:
    alone = {"edges": 0, "events": 0, "extra_users": 0, "groups": 0, "memberships": 0, "domains": 0}
    one, other = build(tmp_path, "one.db", **alone), build(tmp_path, "other.db", memories=20, **alone)
    ids = [str(id_) for (id_,) in query(one, "SELECT memory_id FROM scheduling WHERE rowid <= 4 ORDER BY rowid")]
    earlier, same, later, schedule = ids
    change = "UPDATE knowledge_nodes SET content = 'other', updated_at = ? WHERE id = ?"
    [(time,)] = query(one, f"SELECT updated_at FROM knowledge_nodes WHERE id = '{same}'")
    edit(other, (change, ("2001-01-01T00:00:00Z", earlier)), (change, (time, same)),
         (change, ("2031-01-01T00:00:00Z", later)), ("UPDATE scheduling SET stability = stability + 1", ()),
         ("DELETE FROM scheduling WHERE memory_id NOT IN (?, ?, ?, ?)", tuple(ids)))  # fmt: skip
    for _ in range(2):
        report = several(copy, one, other, on_conflict="newer")
        assert kept_other(report) == sorted([("knowledge_nodes", same), ("scheduling", same), ("scheduling", schedule)])
        assert len(report.errors) == 3
        assert all(map(balanced, report.reports))
    found = stored(copy.database)
    assert found["knowledge_nodes"][(UUID(later),)]["content"] == "other"
    # A review that cannot be read says nothing of which is older.
    edit(other, ("UPDATE scheduling SET last_review = 'yesterday' WHERE memory_id = ?", (schedule,)))
    assert ("scheduling", schedule) in kept_other(several(copy, one, other, on_conflict="newer"))
    edit(other, ("UPDATE scheduling SET last_review = NULL", ()))
    edit(one, ("UPDATE scheduling SET last_review = NULL", ()))
    run(copy.database, "UPDATE scheduling SET last_review = NULL")
    # Schedules that were reviewed more often come, and those that were less often lost: neither is named.
    for reviews in ("reps + 1", "reps - 2"):
        edit(other, (f"UPDATE scheduling SET reps = {reviews}", ()))
        for _ in range(2):
            report = several(copy, one, other, on_conflict="newer")
            assert kept_other(report) == [("knowledge_nodes", same)]


def test_what_every_destination_has_of_itself_stays_silent(tmp_path: Path, copy: Copier) -> None:
    paths = [build(tmp_path, f"{name}.db", seed=seed, domains=0) for seed, name in ((7, "one"), (8, "other"))]
    for path in paths:
        edit(path, ("UPDATE users SET display_name = ? WHERE handle = 'local'", (path.name,)),
             ("UPDATE users SET handle = handle || ? WHERE handle <> 'local'", (path.name,)),
             ("UPDATE groups SET handle = handle || ?", (path.name,)))  # fmt: skip
    for _ in range(2):
        assert several(copy, *paths).errors == []


def test_max_errors_counts_second_contents(tmp_path: Path, copy: Copier) -> None:
    path = build(tmp_path, schedules=0, edges=0, events=0)
    for rowid, (id_,) in enumerate(query(path, "SELECT id FROM knowledge_nodes ORDER BY rowid LIMIT 3"), start=1):
        again(path, "knowledge_nodes", rowid, {"id": str(id_).upper()}, "other")
    with pytest.raises(TooManyErrors, match="3 rows have errors"):
        copy(path, max_errors=2)
    assert len(copy(path, max_errors=3).errors) == 3


TWICE = {
    "users": ("metadata", '{"MARKER": 1, "b": 2, "MARKER": 3}'),
    "groups": ("metadata", '{"a": {"MARKER": [{"x": 1, "x" : 1}]}}'),
    "knowledge_nodes": ("metadata", '{"MARKER": "first", "\\u0071uetzalcoatl": "last"}'),
    "review_events": ("metadata", '{"": 0, "" : "MARKER"}'),
}


def test_a_json_key_that_is_there_twice_is_named_and_the_row_comes_over(
    tmp_path: Path, copy: Copier, verify: Verifier
) -> None:
    path = build(tmp_path)
    for table, (column, text) in TWICE.items():
        edit(path, (f"UPDATE {table} SET {column} = ? WHERE rowid = 2", (text.replace("MARKER", MARKER),)))
    edit(path, ("UPDATE knowledge_nodes SET domain_scores = ? WHERE rowid = 3", (f'{{"{MARKER}":1,"{MARKER}":1}}',)))
    report = copy(path)
    wanted = sorted([*((table, column) for table, (column, _) in TWICE.items()), ("knowledge_nodes", "domain_scores")])
    assert sorted((error.table, error.column or "") for error in report.errors) == wanted
    assert {error.outcome for error in report.errors} == {Outcome.COPIED_WITHOUT_VALUE}
    assert not [error for error in report.errors if MARKER in error.message or "more than once" not in error.message]
    assert sum(table.inserted + table.skipped for table in report.tables.values()) == sum(
        table.source_rows for table in report.tables.values()
    )
    found = [row["metadata"] for row in stored(copy.database)["knowledge_nodes"].values()]
    assert {MARKER: "last"} in found
    compared = verify(path)
    assert sorted((error.table, error.column or "") for error in compared.altered) == wanted
    assert named(compared) == []


def test_a_second_content_in_vestiges_own_storage_is_named_with_its_schedule(
    tmp_path: Path, copy: Copier, verify: Verifier
) -> None:
    """There the schedule is in the memory's columns, and what has no place goes into its metadata."""
    path = build(tmp_path, line="released", version=35, form="vestige")
    [(id_,)] = query(path, "SELECT id FROM knowledge_nodes WHERE rowid = 3")
    [(one, other)] = query(path, "SELECT source_id, target_id FROM memory_connections WHERE rowid = 2")
    columns = [str(name) for _, name, *_ in query(path, "PRAGMA table_info(knowledge_nodes)")]
    values = ", ".join({"id": "upper(id)", "reps": "77", "source": f"'{MARKER}'"}.get(name, name) for name in columns)
    edit(
        path,
        (f"INSERT INTO knowledge_nodes SELECT {values} FROM knowledge_nodes WHERE rowid = 3", ()),
        ("INSERT INTO memory_connections (source_id, target_id, strength, link_type, created_at, last_activated)"
         " SELECT source_id, upper(target_id), 0.125, link_type, created_at, last_activated"
         " FROM memory_connections WHERE rowid = 2",
         ()),
    )  # fmt: skip
    wanted = sorted([("knowledge_nodes", id_), ("scheduling", id_), ("edges", f"{one} -> {other}")])
    for snapshot in (False, True):
        report = copy(path, snapshot=snapshot)
        assert kept_other(report) == wanted
        assert balanced(report)
        assert MARKER not in str(report.errors)
    assert (verify(path).exit_code, kept_other(copy(path, dry_run=True))) == (1, wanted)
