"""Section 5's bad rows: verify calls them what the copy's report calls them. What came over altered is no difference;
what did not come over is never the same."""

from __future__ import annotations

import struct
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Copier
from tests.integration.test_bad_rows import JSON_COLUMNS, MARKER
from tests.support.sources import SourceSpec, build_source, edit, node_id
from tests.support.verifying import Verifier, balanced, named
from vestige_migrate import MigrationReport, RowError, VerifyReport

STRANGER = "11111111-2222-3333-4444-555555555555"
Edit = tuple[str, tuple[object, ...]]


@pytest.fixture
def verify(database: str) -> Verifier:
    return Verifier(database)


def listed(errors: list[RowError]) -> list[tuple[str, str, str, str, str, str]]:
    return sorted(
        (error.table, error.id, str(error.column), error.message, str(error.outcome), str(error.sqlstate))
        for error in errors
    )


def agrees(report: VerifyReport, copied: MigrationReport) -> None:
    """verify found what the copy reported, row for row and word for word, and nothing else."""
    assert named(report) == []
    assert listed(report.altered + report.not_copied) == listed(copied.errors)
    failed = sum(table.failed for table in copied.tables.values())
    assert (report.not_copied_rows, report.exit_code) == (failed, 1 if failed else 0)
    assert balanced(report)
    assert {name: (table.source_rows, table.not_copied) for name, table in report.tables.items()} == {
        name: (table.source_rows, table.failed) for name, table in copied.tables.items()
    }


def nodes(assignment: str, value: object, rowid: int = 3) -> Edit:
    return f"UPDATE knowledge_nodes SET {assignment} WHERE rowid = {rowid}", (value,)


VALUES: list[tuple[str, object]] = [
    *((f"{column} = ?", bad) for column, bad, _ in JSON_COLUMNS),
    ("embedding = ?", b"\x01\x02\x03"),
    ("embedding = ?", struct.pack("<384f", *range(384))),
    ("embedding = ?", struct.pack("<256f", *[0.5] * 255, float("nan"))),
    ("embedding = ?", "a text"),
    ("content = 'a' || CAST(? AS TEXT)", b"\x00b"),
    ("content = CAST(? AS TEXT)", b"a\xffb"),
    ("created_at = ?", "yesterday"),
    ("created_at = 'y', updated_at = ?", "x"),
    ("created_at = NULL, updated_at = ?", None),
    ("created_at = 1716800000, updated_at = ?", 1716800000123),  # no error: numbers are times
    ("visibility = ?", MARKER),
    ("owner_user_id = ?", STRANGER),
    ("owner_user_id = ?", "me"),
    ("id = ?", "not-a-uuid"),
    ("id = ?", None),
    ("id = ?", b"\x01"),
    ("metadata = ?", '{"x": 1e400000}'),
    ("tags = 'x', metadata = ?", '{"x": 1e400000}'),
    ("visibility = 'secret', metadata = ?", '{"x": 1e400000}'),
    ("node_type = ?", "x" * 5000),
    ("codebase = ?", "y" * 5000),
    ("tags = ?", f'["{"t" * 3000}"]'),
]
"""Of memories: one value, or two, that the copy cannot take as they are."""

OTHERS: list[Edit] = [
    ("UPDATE domains SET top_terms = 'nope' WHERE rowid = 1", ()),
    ("UPDATE domains SET centroid = x'0102' WHERE rowid = 1", ()),
    ("UPDATE domains SET memory_count = 'few' WHERE rowid = 2", ()),
    ("UPDATE scheduling SET last_review = 'soon', next_review = 'later' WHERE rowid = 1", ()),
    ("UPDATE scheduling SET reps = 'many', lapses = 4294967296, stability = 9e999 WHERE rowid = 2", ()),
    ("UPDATE scheduling SET difficulty = 'x', retrievability = 'x' WHERE rowid = 3", ()),
    ("UPDATE scheduling SET memory_id = ? WHERE rowid = 4", (STRANGER,)),
    ("UPDATE edges SET created_at = 'x' WHERE rowid = 1", ()),
    ("UPDATE edges SET weight = x'00' WHERE rowid = 2", ()),
    ("UPDATE edges SET target_id = 'nobody' WHERE rowid = 3", ()),
    ("UPDATE edges SET source_id = ? WHERE rowid = 4", (STRANGER,)),
    ("UPDATE edges SET source_id = ?, target_id = ? WHERE rowid = 5", (STRANGER, STRANGER)),
    ("UPDATE review_events SET occurred_at = NULL WHERE rowid = 1", ()),
    ("UPDATE review_events SET rating = 70000, retrievability_after = 'x' WHERE rowid = 2", ()),
    ("UPDATE review_events SET id = 17 WHERE rowid = 3", ()),
    ("UPDATE review_events SET memory_id = ? WHERE rowid = 4", (STRANGER,)),
]
"""Of the other tables."""

PEOPLE: dict[str, list[Edit]] = {
    "roles, and handles that two have": [
        ("UPDATE group_memberships SET role = 'owner'", ()),
        ("UPDATE users SET handle = 'twice' WHERE handle <> 'local'", ()),
    ],
    "groups without a handle": [("UPDATE groups SET handle = NULL", ())],
    "ids of users, handles too long for their index": [
        ("UPDATE users SET id = 'x' || rowid WHERE handle <> 'local'", ()),
        ("UPDATE groups SET handle = handle || hex(randomblob(5000))", ()),
    ],
}
"""What other rows hang on: a file each."""


def test_bad_rows_are_altered_as_the_copy_reports(tmp_path: Path, copy: Copier, verify: Verifier) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(memories=60, schedules=60, edges=20, events=20))
    edit(path, *(nodes(assignment, value, at) for at, (assignment, value) in enumerate(VALUES, 5)), *OTHERS)
    ids = {node_id(path, at) for at in range(5, 5 + len(VALUES))}
    copied = copy(path)
    assert len(ids - {error.id for error in copied.errors}) == 4  # the numbers as times, and three ids that are none
    agrees(verify(path), copied)


@pytest.mark.parametrize("kind", PEOPLE)
def test_bad_users_and_groups_are_altered_as_the_copy_reports(
    source: Path, copy: Copier, verify: Verifier, kind: str
) -> None:
    edit(source, *PEOPLE[kind])
    copied = copy(source)
    assert copied.errors
    agrees(verify(source), copied)


def test_all_bad_rows_at_once(tmp_path: Path, copy: Copier, verify: Verifier) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(memories=600, schedules=600, edges=100, events=100))
    edit(
        path,
        ("UPDATE knowledge_nodes SET visibility = 'secret' WHERE rowid % 30 = 0", ()),
        ("UPDATE knowledge_nodes SET tags = 'x' WHERE rowid % 30 = 1", ()),
        ("UPDATE knowledge_nodes SET id = 'bad-' || rowid WHERE rowid % 30 = 2", ()),
        ("UPDATE knowledge_nodes SET content = CAST(x'FF' AS TEXT) WHERE rowid % 30 = 3", ()),
        ("UPDATE knowledge_nodes SET created_at = 'x', updated_at = 'y' WHERE rowid % 30 = 4", ()),
        ("UPDATE knowledge_nodes SET metadata = '{\"x\": 1e400000}' WHERE rowid % 30 = 5", ()),
    )
    copied = copy(path, batch_size=100)
    agrees(verify(path), copied)


def test_a_bad_row_that_is_changed_as_well_is_different(source: Path, copy: Copier, verify: Verifier) -> None:
    edit(
        source,
        nodes("tags = ?", "x"),
        nodes("created_at = 'x', updated_at = ?", "y", 4),
        nodes("metadata = ?", '{"x": 1e400000}', 8),
    )
    copy(source)
    ids = {rowid: node_id(source, rowid) for rowid in (3, 4, 8)}
    verify.tamper(
        f"UPDATE knowledge_nodes SET tags = '{{mine}}' WHERE id = '{ids[3]}'",
        f"UPDATE knowledge_nodes SET content = '' WHERE id = '{ids[4]}'",
        f"UPDATE knowledge_nodes SET metadata = '{{\"x\": 1}}' WHERE id = '{ids[8]}'",
    )
    report = verify(source)
    assert named(report) == sorted([
        ("knowledge_nodes", ids[3], "different", ("tags",)),
        ("knowledge_nodes", ids[4], "different", ("content",)),
        ("knowledge_nodes", ids[8], "different", ("metadata",)),
    ])  # fmt: skip
    assert balanced(report)


def test_an_emptied_value_that_postgresql_would_take_is_different(source: Path, copy: Copier, verify: Verifier) -> None:
    edit(source, nodes("metadata = ?", '{"x": 1}'))
    copy(source)
    memory = node_id(source, 3)
    verify.tamper(f"UPDATE knowledge_nodes SET metadata = '{{}}', embedding = NULL WHERE id = '{memory}'")
    [difference] = verify(source).differences
    assert difference.columns == ("metadata", "embedding")


def test_a_row_that_comes_over_without_a_value_is_missing_where_it_is_not_there(
    source: Path, copy: Copier, verify: Verifier
) -> None:
    edit(source, nodes("metadata = ?", '{"x": 1e400000}', 8), nodes("tags = ?", "x", 9))
    copy(source)
    ids = [node_id(source, rowid) for rowid in (8, 9)]
    for id_ in ids:
        verify.tamper(f"DELETE FROM knowledge_nodes WHERE id = '{id_}'")
    report = verify(source)
    assert named(report) == sorted(("knowledge_nodes", id_, "missing", ()) for id_ in ids)
    assert report.altered == []


def test_what_hangs_on_a_memory_that_cannot_be_placed_is_not_missing(
    source: Path, copy: Copier, verify: Verifier
) -> None:
    edit(source, ("UPDATE knowledge_nodes SET visibility = 'secret'", ()))
    copied = copy(source)
    assert copied.tables["scheduling"].failed == 40
    agrees(verify(source), copied)


def test_a_bad_row_that_somebody_put_into_the_destination(source: Path, copy: Copier, verify: Verifier) -> None:
    edit(source, ("UPDATE knowledge_nodes SET visibility = 'secret' WHERE rowid = 9", ()))
    copy(source)
    memory = node_id(source, 9)
    with psycopg.connect(copy.database) as connection:
        connection.execute("INSERT INTO knowledge_nodes (id, content) VALUES (%s, 'mine')", (memory,))
    found = named(verify(source))
    # What hangs on it could be there now, too.
    assert [item[:3] for item in found if item[0] == "knowledge_nodes"] == [("knowledge_nodes", memory, "different")]
    assert {item[2] for item in found if item[0] != "knowledge_nodes"} <= {"missing"}
