"""The report's JSON: exactly the documented keys, in their order, and counts that add up."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vestige_migrate.model import ModelSignature
from vestige_migrate.plan import OnConflict
from vestige_migrate.report.deletions import DeletionReport, GoneRows
from vestige_migrate.report.endpoints import DestinationInfo, SourceInfo
from vestige_migrate.report.migration import MigrationReport
from vestige_migrate.report.rows import COUNTERS, Outcome, RowError, TableReport

ERROR = RowError("edges", "a -> b", None, 'violates foreign key "f"', Outcome.NOT_COPIED, "23503")


def filled() -> MigrationReport:
    report = MigrationReport(
        SourceInfo("/home/me/vestige.db", 15, "plan"), DestinationInfo("postgresql://me:***@h/db", "18.1", "0.8.5")
    )
    report.model = ModelSignature("nomic", 256, None)
    report.complete = True
    report.tables["knowledge_nodes"] = TableReport(source_rows=250, inserted=200, skipped=47, failed=3)
    report.errors = [ERROR, RowError("knowledge_nodes", "c", "tags", "tags is not JSON", Outcome.COPIED_WITHOUT_VALUE)]
    report.left_behind = {"intentions": 12}
    report.phases = {"parents": 1.23456, "indexes": 0.0004}
    report.duration_seconds = 12.34567
    return report


def test_the_json_is_the_documented_one_to_the_letter() -> None:
    none = dict.fromkeys(("source_rows", "inserted", "updated", "skipped", "forgotten", "failed", "kept", "deleted"), 0)
    empty = json.dumps(none)
    memories = json.dumps({**none, "source_rows": 250, "inserted": 200, "skipped": 47, "failed": 3})
    assert json.dumps(filled().as_json()) == (
        '{"schema": 2, "command": "copy", "dry_run": false, "complete": true, '
        '"source": {"path": "/home/me/vestige.db", "schema_version": 15, "lineage": "plan"}, '
        '"destination": {"url": "postgresql://me:***@h/db", "server_version": "18.1", "pgvector_version": "0.8.5"}, '
        '"model": {"name": "nomic", "dimension": 256, "hash": null}, '
        '"memories_copied": 247, "scheduling_rows": 0, "edges_copied": 0, "review_events_copied": 0, '
        '"domains_copied": 0, "users_copied": 0, "groups_copied": 0, "group_memberships_copied": 0, '
        f'"memories_updated": 0, "tables": {{"knowledge_nodes": {memories}, '
        f'"scheduling": {empty}, "edges": {empty}, "review_events": {empty}, "domains": {empty}, "users": {empty}, '
        f'"groups": {empty}, "group_memberships": {empty}}}, '
        '"errors": [{"table": "edges", "id": "a -> b", "column": null, "message": "violates foreign key \\"f\\"", '
        '"sqlstate": "23503", "outcome": "not_copied"}, '
        '{"table": "knowledge_nodes", "id": "c", "column": "tags", "message": "tags is not JSON", "sqlstate": null, '
        '"outcome": "copied_without_value"}], '
        '"left_behind": {"intentions": 12}, "source_changed": false, "kept": [], "forgotten": [], '
        '"phases": {"parents": 1.235, "indexes": 0.0}, "duration_seconds": 12.346}'
    )


def test_a_report_of_nothing_has_the_same_keys() -> None:
    empty = MigrationReport(SourceInfo("x", 15, "plan"), DestinationInfo("postgresql://", "18", None)).as_json()
    assert list(empty) == list(filled().as_json())
    assert empty["model"] is None
    assert empty["complete"] is False
    assert (empty["errors"], empty["left_behind"], empty["phases"]) == ([], {}, {})


def test_what_happened_to_rows_that_were_there_is_counted() -> None:
    report = filled()
    report.on_conflict = OnConflict.NEWER
    report.tables["knowledge_nodes"] = TableReport(
        source_rows=250, inserted=190, skipped=40, failed=3, updated=7, forgotten=10, kept=1
    )
    report.kept = [RowError("knowledge_nodes", "d", "tags, domains", "was changed here", Outcome.KEPT)]
    report.forgotten = ["e"]
    report.deletions = DeletionReport(applied=True, deleted=["f", "g"], rows={"edges": GoneRows(deleted=["a -> b"])})
    found = report.as_json()
    assert found["memories_updated"] == report.memories_updated == 7
    assert found["memories_copied"] == 237
    assert found["tables"]["knowledge_nodes"] == {
        "source_rows": 250, "inserted": 190, "updated": 7, "skipped": 40, "forgotten": 10, "failed": 3, "kept": 1,
        "deleted": 2,
    }  # fmt: skip
    assert found["tables"]["edges"]["deleted"] == 1
    assert found["kept"] == [
        {"table": "knowledge_nodes", "id": "d", "columns": ["tags", "domains"], "reason": "was changed here"}
    ]
    assert found["forgotten"] == ["e"]


def test_outcomes_are_the_documented_words() -> None:
    assert [str(item) for item in Outcome] == [
        "copied_without_value", "copied_with_replacement", "not_copied", "other_content_kept",
        "source_changed", "kept", "vector_replaced", "not_deleted",
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 10**9)] * 3), min_size=8, max_size=8))
def test_a_counter_is_what_is_in_the_destination_now(counts: list[tuple[int, int, int]]) -> None:
    report = filled()
    for name, (inserted, skipped, failed) in zip(COUNTERS, counts, strict=True):
        report.tables[name] = TableReport(inserted + skipped + failed, inserted, skipped, failed)
    as_json = report.as_json()
    for (table, counter), (inserted, skipped, _) in zip(COUNTERS.items(), counts, strict=True):
        assert report.tables[table].in_destination == inserted + skipped
        assert report.counter(counter) == as_json[counter] == getattr(report, counter) == inserted + skipped


@pytest.mark.parametrize("name", ["knowledge_nodes", "memories", ""])
def test_an_unknown_counter_is_a_key_error(name: str) -> None:
    with pytest.raises(KeyError):
        filled().counter(name)


def test_the_exit_code_says_whether_rows_have_errors() -> None:
    report = filled()
    assert report.exit_code == 1
    report.errors = []
    assert report.exit_code == 0


def test_reports_share_nothing() -> None:
    one, other = (MigrationReport(SourceInfo("x", 15, "p"), DestinationInfo("p", "18", None)) for _ in range(2))
    one.tables["users"].inserted = 3
    one.errors.append(ERROR)
    assert other.tables["users"].inserted == 0
    assert other.errors == []
