"""The benchmark's source of the released line has what it says, and its own account of what a copy must bring."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from bench.check import expected
from bench.released import released_file
from bench.source import source_file


def test_it_has_what_makes_a_file_of_people_costly(tmp_path: Path) -> None:
    path = released_file(tmp_path, 2_000, 8)
    with closing(sqlite3.connect(path)) as connection:

        def count(statement: str) -> int:
            return int(connection.execute(f"SELECT count(*) FROM {statement}").fetchone()[0])

        assert count("knowledge_nodes") == count("knowledge_fts") == 2_000
        assert count("embedding_profile_vectors") == count("vector_journal") == 1_800
        assert count("knowledge_nodes WHERE has_embedding = 0") == 200
        lengths = connection.execute("SELECT DISTINCT length(updated_at) FROM knowledge_nodes ORDER BY 1").fetchall()
        assert lengths == [(25,), (29,), (32,), (35,)]
        odd = count("knowledge_nodes WHERE typeof(source) = 'blob' OR activation > 1e300 OR length(source) > 1000")
        assert odd == 2
        assert count("memory_connections") == 1_000
        assert count("deletion_tombstones") == 10
    assert {table: rows for table, (rows, _) in expected(path).items()} == {
        "knowledge_nodes": 2_000,
        "scheduling": 2_000,
        "edges": 1_000,
    }


def test_the_same_size_gives_the_same_rows(tmp_path: Path) -> None:
    assert expected(released_file(tmp_path / "a", 50, 4)) == expected(released_file(tmp_path / "b", 50, 4))


def test_a_narrow_source_is_told_from_it(tmp_path: Path) -> None:
    assert "review_events" in expected(source_file(tmp_path, 50, 4))
