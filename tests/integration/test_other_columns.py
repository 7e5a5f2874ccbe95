"""Columns that the destination has no column for: kept under `metadata.sqlite`, or named with their count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from loguru import logger

from tests.conftest import Copier
from tests.support.sources import SourceSpec, build_source, edit


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Log lines as `LEVEL text`."""
    said: list[str] = []
    sink = logger.add(lambda line: said.append(str(line).rstrip("\n")), format="{level} {message}", level="INFO")
    yield said
    logger.remove(sink)


@pytest.mark.parametrize("table", ["users", "groups", "review_events"])
def test_a_table_with_metadata_keeps_them_there(source: Path, copy: Copier, lines: list[str], table: str) -> None:
    edit(
        source,
        (f'ALTER TABLE {table} ADD COLUMN "e-mail"', ()),
        (f"UPDATE {table} SET \"e-mail\" = 'me@work' WHERE rowid = 2", ()),
    )
    assert copy(source).errors == []
    with psycopg.connect(copy.database) as connection:
        kept = connection.execute(
            f"SELECT metadata->'sqlite' FROM {table} WHERE metadata ? 'sqlite'".encode()
        ).fetchall()
    assert kept == [({"e-mail": "me@work"},)]
    assert not [line for line in lines if "no place in the destination" in line]


def test_any_other_table_says_how_many_values_stay_behind(source: Path, copy: Copier, lines: list[str]) -> None:
    edit(
        source,
        ("ALTER TABLE edges ADD COLUMN activation_count INTEGER", ()),
        ("ALTER TABLE edges ADD COLUMN last_activated TEXT", ()),
        ("ALTER TABLE edges ADD COLUMN never_set TEXT", ()),
        ("UPDATE edges SET activation_count = 3 WHERE rowid <= 7", ()),
        ("UPDATE edges SET last_activated = 'secret' WHERE rowid <= 2", ()),
    )
    wanted = [
        "INFO edges: columns of edges with no place in the destination: activation_count (7 rows), "
        "last_activated (2 rows)"
    ]
    for dry_run in (True, False):
        assert copy(source, dry_run=dry_run).errors == []
        assert [line for line in lines if "no place in the destination" in line] == wanted
        lines.clear()


def test_vestiges_own_edges_are_named_by_their_table_and_schedules_drop_nothing(
    tmp_path: Path, copy: Copier, lines: list[str]
) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(form="vestige", memories=20, edges=5))
    edit(path, ("UPDATE memory_connections SET last_activated = '2026-05-27', activation_count = 1", ()))
    copy(path)
    assert [line for line in lines if "no place in the destination" in line] == [
        "INFO edges: columns of memory_connections with no place in the destination: last_activated (5 rows), "
        "activation_count (5 rows)"
    ]
