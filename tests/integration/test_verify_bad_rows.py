"""Section 5's bad rows: verify calls them what the copy's report calls them. What came over altered is no difference;
what did not come over is never the same."""

from __future__ import annotations

import struct
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Copier
from tests.integration.test_bad_rows import JSON_COLUMNS, MARKER, node_id
from tests.support.sources import SourceSpec, build_source, edit
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


BAD: dict[str, list[Edit]] = {
    **{
        f"{column} {at}": [nodes(f"{column} = ?", bad)]
        for at, (column, bad, _) in enumerate(JSON_COLUMNS)
    },
    "top_terms": [("UPDATE domains SET top_terms = 'nope' WHERE rowid = 1", ())],
    "centroid": [("UPDATE domains SET centroid = x'0102' WHERE rowid = 1", ())],
    "vector of no length": [nodes("embedding = ?", b"\x01\x02\x03")],
    "vector of another dimension": [nodes("embedding = ?", struct.pack("<384f", *range(384)))],
    "vector with NaN": [nodes("embedding = ?", struct.pack("<256f", *[0.5] * 255, float("nan")))],
    "text for a vector": [nodes("embedding = ?", "a text")],
    "NUL": [("UPDATE knowledge_nodes SET content = 'a' || CAST(x'0062' AS TEXT) WHERE rowid = 3", ())],
    "invalid UTF-8": [("UPDATE knowledge_nodes SET content = CAST(x'61FF62' AS TEXT) WHERE rowid = 3", ())],
    "one time unreadable": [nodes("created_at = ?", "yesterday")],
    "both times unreadable": [nodes("created_at = 'y', updated_at = ?", "x")],
    "both times NULL": [nodes("created_at = NULL, updated_at = ?", None)],
    "times of schedules": [("UPDATE scheduling SET last_review = 'soon', next_review = 'later' WHERE rowid = 1", ())],
    "time of an edge and an event": [
        ("UPDATE edges SET created_at = 'x' WHERE rowid = 1", ()),
        ("UPDATE review_events SET occurred_at = NULL WHERE rowid = 1", ()),
    ],
    "numbers": [
        ("UPDATE scheduling SET reps = 'many', lapses = 4294967296, stability = 9e999 WHERE rowid = 2", ()),
        ("UPDATE scheduling SET difficulty = 'x', retrievability = 'x' WHERE rowid = 3", ()),
        ("UPDATE edges SET weight = x'00' WHERE rowid = 2", ()),
        ("UPDATE review_events SET rating = 70000, retrievability_after = 'x' WHERE rowid = 2", ()),
        ("UPDATE domains SET memory_count = 'few' WHERE rowid = 2", ()),
    ],
    "numbers as times": [nodes("created_at = 1716800000, updated_at = ?", 1716800000123)],
    "visibility": [("UPDATE knowledge_nodes SET visibility = ? WHERE rowid IN (9, 20)", (MARKER,))],
    "role": [("UPDATE group_memberships SET role = 'owner'", ())],
    "owner not there": [nodes("owner_user_id = ?", STRANGER)],
    "owner no UUID": [nodes("owner_user_id = ?", "me")],
    "handle taken twice": [("UPDATE users SET handle = 'twice' WHERE handle <> 'local'", ())],
    "group handle NULL": [("UPDATE groups SET handle = NULL", ())],
    "ends not there": [
        ("UPDATE edges SET source_id = ? WHERE rowid = 1", (STRANGER,)),
        ("UPDATE edges SET source_id = ?, target_id = ? WHERE rowid = 2", (STRANGER, STRANGER)),
        ("UPDATE scheduling SET memory_id = ? WHERE rowid = 1", (STRANGER,)),
        ("UPDATE review_events SET memory_id = ? WHERE rowid = 1", (STRANGER,)),
    ],
    "ids no UUID": [
        nodes("id = ?", "not-a-uuid", 6),
        nodes("id = ?", None, 7),
        nodes("id = ?", b"\x01", 8),
        ("UPDATE edges SET target_id = 'nobody' WHERE rowid = 3", ()),
        ("UPDATE review_events SET id = 17 WHERE rowid = 3", ()),
        ("UPDATE users SET id = 'x' || rowid WHERE handle <> 'local'", ()),
    ],
    "number past numeric": [nodes("metadata = ?", '{"x": 1e400000}', 8)],
    "number past numeric and another value": [nodes("tags = 'x', metadata = ?", '{"x": 1e400000}', 8)],
    "number past numeric in a refused row": [nodes("visibility = 'secret', metadata = ?", '{"x": 1e400000}', 8)],
    "label too long": [nodes("node_type = ?", "x" * 5000), nodes("codebase = ?", "y" * 5000, 4)],
    "handle too long": [("UPDATE groups SET handle = handle || hex(randomblob(5000))", ())],
    "tag too long": [nodes("tags = ?", f'["{"t" * 3000}"]')],
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_altered_as_the_copy_reports(source: Path, copy: Copier, verify: Verifier, kind: str) -> None:
    edit(source, *BAD[kind])
    copied = copy(source)
    assert bool(copied.errors) != (kind == "numbers as times")
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
    edit(source, nodes("tags = ?", "x"), nodes("created_at = 'x', updated_at = ?", "y", 4), *BAD["number past numeric"])
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
    edit(source, *BAD["number past numeric"], nodes("tags = ?", "x", 9))
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
