"""What Vestige writes for nothing, and what SQLite's own functions write for a time."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Copier
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.verifying import Verifier

SPEC = SourceSpec(memories=20, schedules=20, edges=5, events=5, domains=3, dimension=8, no_vector_every=0)


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("form", ["plain", "vestige"])
def test_an_empty_centroid_and_an_empty_last_review_are_null_and_no_error(
    tmp_path: Path, copy: Copier, form: Any
) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(**{**SPEC.__dict__, "form": form}))
    table, last = ("scheduling", "last_review") if form == "plain" else ("knowledge_nodes", "last_accessed")
    edit(
        path,
        ("UPDATE domains SET centroid = x'' WHERE rowid < 3", ()),
        (f"UPDATE {table} SET {last} = '' WHERE rowid % 2", ()),
        (f"UPDATE {table} SET next_review = '' WHERE rowid = 1", ()),
    )
    dry = copy(path, dry_run=True)
    report = copy(path)
    assert (dry.errors, report.errors, report.exit_code) == ([], [], 0)
    assert ask(copy.database, "SELECT count(*), count(centroid) FROM domains") == [(3, 1)]
    with closing(sqlite3.connect(path)) as connection:
        wanted = connection.execute(f"SELECT count(*) FROM {table} WHERE ifnull({last}, '') = ''").fetchone()
    assert ask(copy.database, "SELECT count(*) FROM scheduling WHERE last_review IS NULL") == [wanted]
    assert wanted >= (10,)
    found = Verifier(copy.database)(path)
    assert (found.same, found.altered) == (True, [])
    assert copy(path).nothing_new


def test_a_centroid_that_is_no_vector_is_still_an_error(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SPEC)
    edit(path, ("UPDATE domains SET centroid = x'00' WHERE rowid = 1", ()))
    assert [error.column for error in copy(path).errors] == ["centroid"]


def test_julian_days_are_times_wherever_a_time_stands(tmp_path: Path, copy: Copier) -> None:
    """Columns of TEXT affinity hold them as texts; one without any holds the real number itself."""
    path = build_source(tmp_path / "vestige.db", SPEC)
    day = "julianday('2023-02-25 06:00:00')"
    edit(
        path,
        (f"UPDATE knowledge_nodes SET created_at = {day}, updated_at = {day} + 1 WHERE rowid IN (1, 2)", ()),
        (f"UPDATE edges SET created_at = {day} WHERE rowid = 1", ()),
        (f"UPDATE review_events SET occurred_at = {day} WHERE rowid = 1", ()),
        ("ALTER TABLE scheduling RENAME TO typed", ()),
        ("CREATE TABLE scheduling (memory_id, stability, difficulty, retrievability, last_review, next_review, reps,"
         " lapses)", ()),
        (f"INSERT INTO scheduling SELECT memory_id, stability, difficulty, retrievability, {day}, next_review, reps,"
         " lapses FROM typed", ()),
        ("DROP TABLE typed", ()),
    )  # fmt: skip
    report = copy(path)
    assert report.errors == []
    moment = datetime(2023, 2, 25, 6, tzinfo=UTC)
    assert ask(copy.database, "SELECT DISTINCT last_review FROM scheduling") == [(moment,)]
    for table, column, rows in (("knowledge_nodes", "created_at", 2), ("edges", "created_at", 1),
                                ("review_events", "occurred_at", 1)):  # fmt: skip
        assert ask(copy.database, f"SELECT count(*) FROM {table} WHERE {column} = '{moment}'") == [(rows,)]
    assert Verifier(copy.database)(path).same
    edit(path, (f"UPDATE knowledge_nodes SET updated_at = {day} + 2 WHERE rowid = 2", ()))
    assert copy(path, on_conflict="newer").memories_updated == 1
    assert Verifier(copy.database)(path).same
