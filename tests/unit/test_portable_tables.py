"""The facts about portable archives against the schema of every version that could write one."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.support.portable_archives import TABLES
from tests.support.vestige_schemas import EVERY_VERSION, Line, create_schema
from vestige_migrate.source.layout.layout import Lineage
from vestige_migrate.source.portable.tables import KEYS, NUMBERED, expected_tables, lacking

FIRST_WITH_ARCHIVES = 12


@pytest.mark.parametrize(("line", "version"), [each for each in EVERY_VERSION if each[1] >= FIRST_WITH_ARCHIVES])
def test_what_an_archive_lacks_is_what_a_file_of_its_version_has_besides(line: Line, version: int) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        create_schema(connection, line, version)
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        tables = {name for (name,) in found if not name.startswith(("sqlite_", "knowledge_fts"))} - {"schema_version"}
        keys = {
            name: {row[5]: (row[1], row[2]) for row in connection.execute(f"PRAGMA table_info({name})") if row[5]}
            for name in tables & set(TABLES)
        }
    for name, key in keys.items():
        columns = [key[at] for at in sorted(key)]
        assert tuple(column for column, _ in columns) == KEYS[name]
        assert (columns[0][1] == "INTEGER") == (name in NUMBERED)
    # The plan line's V12 is younger than the shared one's V13 but for this table.
    assert expected_tables(Lineage(line), version) - tables == set()
    assert tables - expected_tables(Lineage(line), version) == set()
    lacks = lacking(Lineage(line), version, frozenset(tables & set(TABLES)))
    assert {*lacks.read, *lacks.unplaced} == tables - set(TABLES)
    assert lacks.missing == ()


def test_a_table_that_an_archive_should_hold_and_does_not_is_missing() -> None:
    tables = frozenset(set(TABLES) - {"node_embeddings", "sessions"})
    assert lacking(Lineage.RELEASED, 20, tables).missing == ("node_embeddings", "sessions")
    assert lacking(Lineage.FORK, 11, frozenset({"knowledge_nodes"})).read == ()
