"""Which indexes of a source are compared with their tables before a copy: those by which its rows may be found."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.support.vestige_schemas import create_schema
from vestige_migrate.source.file import oddities
from vestige_migrate.source.layout.sqlite_schema import IndexInfo
from vestige_migrate.source.sqlite.connect import SourceFile


def checked(path: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The indexes of knowledge_nodes that are asked for every row of it."""
    asked: set[str] = set()

    def note(_connection: sqlite3.Connection, table: str, index: IndexInfo) -> bool:
        asked.update({index.name} if table == "knowledge_nodes" else ())
        return True

    monkeypatch.setattr(oddities, "_agrees", note)
    oddities.find_oddities(SourceFile(path))
    return asked


def test_of_a_released_file_only_those_of_ids_and_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "vestige.db"
    with sqlite3.connect(path) as connection:
        create_schema(connection, "released", 39)
    assert checked(path, monkeypatch) == {"sqlite_autoindex_knowledge_nodes_1", "idx_nodes_created"}


@pytest.mark.parametrize(
    "condition", ["created_at > '2026'", '"id" IS NOT NULL', "scope = 'x' AND CREATED_AT IS NOT NULL"]
)
def test_a_partial_index_whose_condition_names_one_is_among_them(
    condition: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "vestige.db"
    with sqlite3.connect(path) as connection:
        create_schema(connection, "released", 39)
        connection.execute(f"CREATE INDEX some ON knowledge_nodes (scope) WHERE {condition}")
    assert "some" in checked(path, monkeypatch)
