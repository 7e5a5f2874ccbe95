"""A whole copy of a file of every kind of version, each row compared with the source by a reader of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Copier
from tests.support.compare import assert_same, counts
from tests.support.expected_left import expected_left_behind
from tests.support.sources import SourceSpec, build_source
from tests.support.untouched import files
from tests.support.verifying import Verifier, named
from tests.support.vestige_schemas import Line
from vestige_migrate import MigrationReport

SPEC = SourceSpec(form="vestige", memories=90, edges=30, events=20, no_vector_every=9)

READ_AS_THEY_ARE: list[tuple[Line, int]] = [
    ("plan", 15), *(("released", version) for version in (14, 15, 16, 17, 18, 28, 32, 37, 39))
]  # fmt: skip
OLDER: list[tuple[Line, int]] = [
    *(("shared", version) for version in (1, 2, 3, 5, 9, 10, 11, 12, 13)), ("plan", 12), ("plan", 14)
]  # fmt: skip


def built(path: Path, line: Line, version: int) -> Path:
    return build_source(path, replace(SPEC, line=line, version=version))


def assert_verified(path: Path, copy: Copier, copied: MigrationReport, **options: bool) -> None:
    """verify finds the same rows, each as the copy brought it."""
    report = Verifier(copy.database)(path, **options)
    assert named(report) == []
    assert (report.complete, report.same, report.exit_code) == (True, True, 0)
    assert {name: (table.source_rows, table.same) for name, table in report.tables.items()} == {
        name: (table.source_rows, table.source_rows) for name, table in copied.tables.items()
    }


@pytest.mark.parametrize(("line", "version"), READ_AS_THEY_ARE)
def test_every_row_of_a_readable_version_arrives(tmp_path: Path, copy: Copier, line: Line, version: int) -> None:
    """And nothing is written to the file, also where an upgrade is allowed: it is read as it is."""
    path = built(tmp_path / "vestige.db", line, version)
    before = files(tmp_path)
    report = copy(path, workers=2)
    assert report.errors == []
    assert (report.source.lineage, report.source.schema_version) == (line, version)
    assert (report.memories_copied, report.scheduling_rows, report.edges_copied) == (90, 90, 30)
    assert_same(path, copy.database)
    assert report.left_behind == expected_left_behind(path)
    assert report.awaiting_reembed == 0
    assert_verified(path, copy, report, snapshot=False)
    again = copy(path, workers=2, allow_source_upgrade=True)
    assert (again.source.lineage, again.source.schema_version) == (line, version)
    assert (again.memories_copied, again.left_behind) == (90, report.left_behind)
    assert [table.inserted for table in again.tables.values()] == [0] * 8
    assert [table.source_rows for table in again.tables.values()] == [
        table.source_rows for table in report.tables.values()
    ]
    assert files(tmp_path) == before


@pytest.mark.parametrize(("line", "version"), OLDER)
def test_every_row_of_an_older_version_arrives_through_a_snapshot(
    tmp_path: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch, line: Line, version: int
) -> None:
    """The file is as it was, and nothing of the snapshot is left."""
    path = built(tmp_path / "vestige.db", line, version)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = files(tmp_path)
    report = copy(path, snapshot=True)
    assert report.errors == []
    assert (report.source.lineage, report.source.schema_version) == (line, version)
    assert (report.memories_copied, report.scheduling_rows) == (90, 90)
    assert report.edges_copied == (30 if version >= 3 else 0)
    assert report.review_events_copied == (20 if line == "plan" else 0)
    assert_same(path, copy.database)
    assert report.left_behind == expected_left_behind(path)
    assert (report.source.path, report.source.schema_version) == (str(path), version)
    assert_verified(path, copy, report, snapshot=True)
    assert files(tmp_path) == before
    assert list(tmp_path.glob("vestige-*")) == []


@pytest.mark.parametrize("version", [14, 39])
@pytest.mark.parametrize("option", ["snapshot", "dry_run"])
def test_no_flag_makes_the_copy_write_to_a_released_file(
    tmp_path: Path, copy: Copier, version: int, option: str
) -> None:
    path = built(tmp_path / "vestige.db", "released", version)
    before = files(tmp_path)
    report = copy(path, **{option: True})
    assert (report.source.lineage, report.source.schema_version) == ("released", version)
    assert report.memories_copied == 90
    assert report.left_behind == expected_left_behind(path)
    assert files(tmp_path) == before
    if option != "dry_run":
        assert_same(path, copy.database)


@pytest.mark.parametrize(("line", "version"), [("shared", 13), ("plan", 14), ("plan", 15), ("released", 39)])
def test_an_empty_file_of_a_version_copies_to_nothing(tmp_path: Path, copy: Copier, line: Line, version: int) -> None:
    path = build_source(tmp_path / "vestige.db", replace(SPEC, line=line, version=version, extra_users=0, groups=0,
                                                         memberships=0, domains=0).sized(0))  # fmt: skip
    report = copy(path, snapshot=True)
    assert report.errors == []
    assert counts(copy.database) == {**dict.fromkeys(counts(copy.database), 0), "users": 1}
