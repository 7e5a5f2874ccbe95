"""docs/bad-rows.md, line by line: no bad row stops the run, takes its batch along, or leaks."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from loguru import logger

from tests.conftest import Copier
from tests.support.compare import stored
from tests.support.databases import new_database
from tests.support.sources import SourceSpec, build_source, edit, node_id
from vestige_migrate import MigrationReport
from vestige_migrate.report.rows import NIL_UUID, Outcome

WITHOUT = Outcome.COPIED_WITHOUT_VALUE
REPLACED = Outcome.COPIED_WITH_REPLACEMENT
LOST = Outcome.NOT_COPIED
MARKER = "quetzalcoatl"


def balanced(report: MigrationReport) -> bool:
    """For every table source_rows = inserted + skipped + failed."""
    return all(table.source_rows == table.inserted + table.skipped + table.failed for table in report.tables.values())


def test_the_fixture_has_no_bad_row(source: Path, copy: Copier) -> None:
    assert copy(source).errors == []


JSON_COLUMNS: list[tuple[str, object, object]] = [
    (column, bad, empty)
    for column, empty in (
        ("shared_with_groups", []),
        ("tags", []),
        ("domains", []),
        ("domain_scores", {}),
        ("metadata", {}),
    )
    for bad in (
        f"{{not json {MARKER}",
        '"just a string"',
        '[NaN, "x"]' if empty == [] else '{"x": NaN}',
        f'["{MARKER}\\u0000"]' if empty == [] else f'{{"{MARKER}": "\\u0000"}}',
        '[1, ["nested"]]' if empty == [] else "[]",
    )
]


VECTORS: list[object] = [
    b"\x01\x02\x03",
    struct.pack("<255f", *range(255)),
    struct.pack("<384f", *range(384)),
    struct.pack("<256f", *[0.5] * 255, float("nan")),
    struct.pack("<256f", *[0.5] * 255, float("-inf")),
    "a text",
    17,
]
TEXTS = [
    (b"a\x00b", "a\ufffdb"),
    (b"a\xffb", "a\ufffdb"),
    (b"\xc3", "\ufffd"),
    (b"a\xed\xa0\x80b", "a\ufffd\ufffd\ufffdb"),
]
NUMBERS: list[tuple[str, object, float]] = [
    ("reps", "many", 0),
    ("reps", 2**31, 0),
    ("lapses", 1.5, 0),
    ("stability", float("inf"), 1.0),
    ("difficulty", "hard", 5.0),
    ("retrievability", b"\x00", 1.0),
]
UNPLACED: list[object] = ["not-a-uuid", None, 17, b"\x01", "", "z" * 5000]


@dataclass(frozen=True)
class Value:
    """One bad value in a row of its own, what becomes of the row, and what is in the destination then."""

    table: str
    column: str
    bad: object
    outcome: Outcome
    expected: object


VALUES = [
    *(Value("knowledge_nodes", column, bad, WITHOUT, empty) for column, bad, empty in JSON_COLUMNS),
    *(Value("knowledge_nodes", "embedding", bad, WITHOUT, None) for bad in VECTORS),
    *(Value("knowledge_nodes", "content", bad, REPLACED, text) for bad, text in TEXTS),
    *(Value("scheduling", column, bad, WITHOUT, default) for column, bad, default in NUMBERS),
]
FIRST = 3
"""The rowid of the first bad value; each has the next one."""


@dataclass(frozen=True)
class Copied:
    """One copy of all of them together."""

    ids: list[str]
    report: MigrationReport
    rows: dict[str, dict[tuple[Any, ...], dict[str, Any]]]


@pytest.fixture(scope="module")
def copied(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copied]:
    path = build_source(
        tmp_path_factory.mktemp("bad") / "vestige.db", SourceSpec(memories=80, schedules=80, edges=10, events=10)
    )
    ids = []
    for rowid, value in enumerate(VALUES, FIRST):
        placeholder = "CAST(? AS TEXT)" if value.column == "content" else "?"
        edit(path, (f"UPDATE {value.table} SET {value.column} = {placeholder} WHERE rowid = {rowid}", (value.bad,)))
        ids.append(node_id(path, rowid, value.table, "memory_id" if value.table == "scheduling" else "id"))
    with new_database(server_url) as url:
        yield Copied(ids, Copier(url)(path), stored(url))


@pytest.mark.parametrize(("at", "value"), list(enumerate(VALUES)))
def test_a_bad_value_costs_itself_and_nothing_else(copied: Copied, at: int, value: Value) -> None:
    id_ = copied.ids[at]
    [error] = [error for error in copied.report.errors if (error.table, error.id) == (value.table, id_)]
    assert (error.column, error.outcome) == (value.column, value.outcome)
    assert MARKER not in error.message
    assert copied.rows[value.table][(UUID(id_),)][value.column] == value.expected


def test_every_row_with_a_bad_value_arrives(copied: Copied) -> None:
    assert len(copied.report.errors) == len(VALUES)
    assert copied.report.memories_copied == copied.report.scheduling_rows == 80
    assert copied.report.exit_code == 1
    assert balanced(copied.report)


def test_malformed_top_terms_of_a_domain(source: Path, copy: Copier) -> None:
    edit(source, ("UPDATE domains SET top_terms = 'nope' WHERE rowid = 1", ()))
    [error] = copy(source).errors
    assert (error.table, error.column, error.outcome) == ("domains", "top_terms", WITHOUT)


def test_an_unreadable_time_takes_the_other_one(source: Path, copy: Copier) -> None:
    edit(
        source,
        ("UPDATE knowledge_nodes SET created_at = 'yesterday', updated_at = '2026-05-27 09:35:58' WHERE rowid = 1", ()),
        ("UPDATE knowledge_nodes SET updated_at = '' , created_at = '2025-01-02T03:04:05Z' WHERE rowid = 2", ()),
        ("UPDATE knowledge_nodes SET updated_at = 'x', created_at = 'y' WHERE rowid = 3", ()),
    )
    report = copy(source)
    rows = stored(copy.database)["knowledge_nodes"]
    first, second, third = (rows[(UUID(node_id(source, rowid)),)] for rowid in (1, 2, 3))
    assert first["created_at"].isoformat() == "2026-05-27T09:35:58+00:00"
    assert second["updated_at"].isoformat() == "2025-01-02T03:04:05+00:00"
    assert third["created_at"] == third["updated_at"]
    with psycopg.connect(copy.database) as connection:
        (now,) = connection.execute("SELECT now()").fetchone() or (None,)
    assert abs((now - third["created_at"]).total_seconds()) < 60
    assert sorted((error.column, error.outcome) for error in report.errors) == [
        ("created_at", WITHOUT),
        ("created_at", WITHOUT),
        ("updated_at", WITHOUT),
        ("updated_at", WITHOUT),
    ]


def test_numbers_are_read_as_epoch_times(source: Path, copy: Copier) -> None:
    edit(
        source,
        ("UPDATE knowledge_nodes SET created_at = 1716800000, updated_at = 1716800000123 WHERE rowid = 1", ()),
    )
    report = copy(source)
    row = stored(copy.database)["knowledge_nodes"][(UUID(node_id(source, 1)),)]
    assert row["created_at"].isoformat() == "2024-05-27T08:53:20+00:00"
    assert row["updated_at"].isoformat() == "2024-05-27T08:53:20.123000+00:00"
    assert report.errors == []


def test_other_unreadable_times_are_null_where_allowed(source: Path, copy: Copier) -> None:
    edit(source, ("UPDATE scheduling SET last_review = 'soon', next_review = 'later' WHERE rowid = 1", ()))
    report = copy(source)
    memory = node_id(source, 1, "scheduling", "memory_id")
    row = stored(copy.database)["scheduling"][(UUID(memory),)]
    assert (row["last_review"], row["next_review"]) == (None, None)
    assert [(error.column, error.outcome) for error in report.errors] == [
        ("last_review", WITHOUT),
        ("next_review", WITHOUT),
    ]


def test_visibility_outside_the_three_is_refused_alone(source: Path, copy: Copier) -> None:
    edit(source, ("UPDATE knowledge_nodes SET visibility = ? WHERE rowid IN (9, 20)", (MARKER,)))
    report = copy(source)
    refused = {node_id(source, 9), node_id(source, 20)}
    nodes = [error for error in report.errors if error.table == "knowledge_nodes"]
    assert {error.id for error in nodes} == refused
    assert {(error.sqlstate, error.outcome) for error in nodes} == {("23514", LOST)}
    assert all("knowledge_nodes_visibility_check" in error.message for error in nodes)
    assert report.tables["knowledge_nodes"].failed == 2
    # What hangs on them is refused too, and said so.
    assert {error.id for error in report.errors if error.table == "scheduling"} == refused
    assert {error.sqlstate for error in report.errors if error.table != "knowledge_nodes"} == {"23503"}
    assert balanced(report)


def test_an_owner_that_is_not_there_is_refused(source: Path, copy: Copier) -> None:
    stranger = "11111111-2222-3333-4444-555555555555"
    edit(source, ("UPDATE knowledge_nodes SET owner_user_id = ? WHERE rowid = 2", (stranger,)))
    [error, *_] = copy(source).errors
    assert (error.id, error.column, error.sqlstate, error.outcome) == (
        node_id(source, 2),
        "owner_user_id",
        "23503",
        LOST,
    )
    assert stranger not in error.message


@pytest.mark.holds("a copy")
def test_a_handle_that_is_taken_is_refused(source: Path, copy: Copier) -> None:
    other = build_source(source.parent / "other.db", SourceSpec(memories=5, schedules=5, edges=0, events=0))
    edit(
        other,
        ("UPDATE knowledge_nodes SET owner_user_id = '00000000-0000-0000-0000-000000000001'", ()),
        ("DELETE FROM group_memberships", ()),
        ("DELETE FROM users WHERE handle <> 'local'", ()),
        ("DELETE FROM groups", ()),
        ("INSERT INTO users (id, handle, created_at) VALUES ('99999999-0000-0000-0000-000000000001', ?, '2026-01-01')",
         (next(row["handle"] for row in stored(copy.database)["users"].values() if row["handle"] != "local"),)),
    )  # fmt: skip
    [error] = copy(other).errors
    assert (error.table, error.sqlstate, error.outcome) == ("users", "23505", LOST)
    assert "users_handle_key" in error.message


def test_what_hangs_on_a_missing_memory_is_refused(source: Path, copy: Copier) -> None:
    gone = "aaaaaaaa-0000-0000-0000-000000000001"
    edit(
        source,
        ("UPDATE edges SET source_id = ? WHERE rowid = 1", (gone,)),
        ("UPDATE scheduling SET memory_id = ? WHERE rowid = 1", (gone,)),
        ("UPDATE review_events SET memory_id = ? WHERE rowid = 1", (gone,)),
    )
    report = copy(source)
    assert {(error.table, error.sqlstate, error.outcome) for error in report.errors} == {
        ("edges", "23503", LOST),
        ("scheduling", "23503", LOST),
        ("review_events", "23503", LOST),
    }
    assert (report.scheduling_rows, report.edges_copied, report.review_events_copied) == (39, 9, 9)
    assert balanced(report)


def test_an_id_that_is_no_uuid_cannot_be_placed(source: Path, copy: Copier) -> None:
    for rowid, bad in enumerate(UNPLACED, 6):
        old = node_id(source, rowid)
        edit(
            source,
            ("DELETE FROM scheduling WHERE memory_id = ?", (old,)),
            ("DELETE FROM edges WHERE source_id = ? OR target_id = ?", (old, old)),
            ("DELETE FROM review_events WHERE memory_id = ?", (old,)),
            ("UPDATE knowledge_nodes SET id = ? WHERE rowid = ?", (bad, rowid)),
        )
    report = copy(source)
    assert [(error.id, error.column, error.outcome) for error in report.errors] == [(NIL_UUID, "id", LOST)] * 6
    assert all(len(error.message) < 200 for error in report.errors)
    assert any("not-a-uuid" in error.message for error in report.errors)
    assert report.tables["knowledge_nodes"].failed == 6
    assert report.memories_copied == 34


def test_ids_in_upper_case_and_in_braces_are_the_same_memory(source: Path, copy: Copier) -> None:
    old = node_id(source, 6)
    edit(
        source,
        ("UPDATE knowledge_nodes SET id = ? WHERE rowid = 6", (old.upper(),)),
        ("INSERT INTO knowledge_nodes SELECT '{' || ? || '}', content, node_type, tags, metadata, domains,"
         " domain_scores, embedding, codebase, owner_user_id, visibility, shared_with_groups, created_at, updated_at"
         " FROM knowledge_nodes WHERE rowid = 6", (old,)),
    )  # fmt: skip
    report = copy(source)
    assert report.errors == []
    nodes = report.tables["knowledge_nodes"]
    assert (nodes.source_rows, nodes.inserted, nodes.skipped) == (41, 40, 1)


def test_what_only_postgresql_refuses_costs_the_value_and_not_the_memory(source: Path, copy: Copier) -> None:
    # JSON by every rule, but numeric has no such exponent.
    edit(source, ("UPDATE knowledge_nodes SET metadata = '{\"x\": 1e400000}' WHERE rowid = 8", ()))
    report = copy(source)
    [error] = report.errors
    assert (error.id, error.column, error.outcome) == (node_id(source, 8), "metadata", WITHOUT)
    assert error.sqlstate == "22003"
    assert report.memories_copied == 40


def test_every_third_row_bad_and_nothing_else_lost(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(memories=600, schedules=600, edges=0, events=0))
    edit(
        path,
        ("UPDATE knowledge_nodes SET visibility = 'secret' WHERE rowid % 30 = 0", ()),
        ("UPDATE knowledge_nodes SET tags = 'x' WHERE rowid % 30 = 1", ()),
        ("UPDATE knowledge_nodes SET id = 'bad-' || rowid WHERE rowid % 30 = 2", ()),
        ("UPDATE knowledge_nodes SET content = CAST(x'FF' AS TEXT) WHERE rowid % 30 = 3", ()),
    )
    report = copy(path, batch_size=100)
    nodes = report.tables["knowledge_nodes"]
    assert (nodes.source_rows, nodes.inserted, nodes.failed) == (600, 560, 40)
    kinds = [(error.column, str(error.outcome)) for error in report.errors if error.table == "knowledge_nodes"]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        (None, "not_copied"): 20,
        ("tags", "copied_without_value"): 20,
        ("id", "not_copied"): 20,
        ("content", "copied_with_replacement"): 20,
    }
    assert balanced(report)
    second = copy(path, batch_size=100)
    assert second.tables["knowledge_nodes"].inserted == 0
    assert second.memories_copied == report.memories_copied


def test_no_row_content_in_report_or_log(source: Path, copy: Copier) -> None:
    edit(
        source,
        ("UPDATE knowledge_nodes SET content = ? || CAST(x'00FF' AS TEXT)", (MARKER,)),
        ("UPDATE knowledge_nodes SET tags = ?, metadata = ?, domains = ?", (MARKER, MARKER, MARKER)),
        ("UPDATE knowledge_nodes SET visibility = ?, node_type = ? WHERE rowid < 9", (MARKER, MARKER)),
        ("UPDATE knowledge_nodes SET created_at = ?, updated_at = ? WHERE rowid > 20", (MARKER, MARKER)),
        ("UPDATE scheduling SET reps = ?, last_review = ?, stability = ?", (MARKER, MARKER, MARKER)),
        ("UPDATE review_events SET metadata = ?, rating = ?, occurred_at = ?", (MARKER, MARKER, MARKER)),
        ("UPDATE users SET metadata = ?, created_at = ?", (MARKER, MARKER)),
        ("UPDATE group_memberships SET role = ?", (MARKER,)),
    )
    lines: list[Any] = []
    sink = logger.add(lines.append, level="TRACE", backtrace=True, diagnose=False)
    try:
        report = copy(source)
    finally:
        logger.remove(sink)
    assert len(report.errors) > 100
    assert balanced(report)
    assert MARKER not in json.dumps(report.as_json())
    assert MARKER not in "".join(map(str, lines))


@pytest.mark.parametrize("null_first", [True, False])
def test_a_second_run_is_not_misled_by_ids_that_cannot_be_placed(source: Path, copy: Copier, null_first: bool) -> None:
    """Keys are joined with a separator: an id with one in it beside an id that is NULL, and new events between."""
    known = [node_id(source, rowid, "review_events") for rowid in (1, 2)]
    copy(source)
    new = [str(UUID(int=at)) for at in (101, 102)]
    odd: list[object] = [None, "\x1e".join(known)]
    columns = "memory_id, occurred_at, retrievability_before, retrievability_after, rating, kind, metadata"
    edit(
        source,
        *(
            (
                f"INSERT INTO review_events (rowid, id, {columns}) SELECT ?, ?, {columns} FROM review_events"
                " WHERE rowid = 1",
                (rowid, id_),  # in front, where ranges are wide
            )
            for rowid, id_ in enumerate((odd[not null_first], *new, odd[null_first]), start=-3)
        ),
    )
    report = copy(source)
    assert report.tables["review_events"].inserted == len(new)
    assert {(UUID(id_),) for id_ in new} < set(stored(copy.database)["review_events"])
    assert [(error.id, error.outcome) for error in report.errors] == [(NIL_UUID, LOST)] * 2
    assert balanced(report)


def test_contents_stay_with_their_memories_where_one_has_a_separator_and_one_is_null(
    source: Path, copy: Copier
) -> None:
    edit(
        source,
        ("UPDATE knowledge_nodes SET content = 'a' || char(30) || 'b' WHERE rowid = 3", ()),
        ("UPDATE knowledge_nodes SET content = NULL WHERE rowid = 30", ()),
    )
    report = copy(source)
    there = {str(key[0]): row["content"] for key, row in stored(copy.database)["knowledge_nodes"].items()}
    expected = {key: text or "" for key, text in _contents(source).items()}
    assert {key for key in expected if there[key] != expected[key]} == set()
    assert len(report.errors) == 1


def _contents(path: Path) -> dict[str, str | None]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT id, content FROM knowledge_nodes ORDER BY rowid"))


@pytest.mark.parametrize("refused_beside", [False, True])
def test_rows_that_a_trigger_of_the_destination_drops_are_not_called_inserted(
    source: Path, copy: Copier, refused_beside: bool
) -> None:
    copy(source)
    with psycopg.connect(copy.database, autocommit=True) as connection:
        connection.execute("DELETE FROM review_events")
        connection.execute(
            "CREATE FUNCTION drop_some() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF NEW.rating >= 3 THEN RETURN NULL; END IF; RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER drop_some BEFORE INSERT ON review_events FOR EACH ROW EXECUTE FUNCTION drop_some()"
        )
    if refused_beside:
        edit(source, ("UPDATE review_events SET kind = 'a' || char(0) WHERE rowid = 1", ()))
    report = copy(source)
    events = report.tables["review_events"]
    there = stored(copy.database)["review_events"]
    assert (events.inserted + events.skipped, events.source_rows) == (len(there), 10)
    dropped = [error for error in report.errors if error.outcome is LOST]
    assert events.failed == len(dropped) == 10 - len(there) > 0
    assert all(error.table == "review_events" and "trigger" in error.message for error in dropped)
    assert not {(UUID(error.id),) for error in dropped} & set(there)
    assert balanced(report)
