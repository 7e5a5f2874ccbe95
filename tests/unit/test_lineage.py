"""Lines of development, told from what is in a file; and what a copy does with each version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from loguru import logger

from tests.support.vestige_schemas import EVERY_VERSION, VERSIONS, Line, create_plain_v15, create_schema, make_fork
from vestige_migrate import SourceTooOld, SqliteToPostgresPlan
from vestige_migrate.prepare.source import found_source
from vestige_migrate.source.layout import lineage
from vestige_migrate.source.layout.inspect import inspect_source
from vestige_migrate.source.layout.layout import Layout, Lineage
from vestige_migrate.source.layout.lineage import Treatment, find_lineage, treatment

FILE = Path("vestige.db")
ANY_NUMBER = (0, 7, 13, 14, 15, 16, 28, 35, 40, 99)


@pytest.fixture
def conn() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


def renumber(conn: sqlite3.Connection, version: int) -> Layout:
    conn.execute("UPDATE schema_version SET version = ?", (version,))
    return inspect_source(conn, FILE)


@pytest.mark.parametrize(("line", "version"), EVERY_VERSION)
def test_every_version_of_every_line_is_recognised(conn: sqlite3.Connection, line: Line, version: int) -> None:
    create_schema(conn, line, version)
    layout = inspect_source(conn, FILE)
    assert (layout.lineage, layout.version) == (line, version)


@pytest.mark.parametrize("number", ANY_NUMBER)
@pytest.mark.parametrize(
    ("line", "version"),
    [("released", 14), ("released", 16), ("released", 28), ("released", 35), ("plan", 14), ("plan", 15)],
)
def test_the_number_never_decides_the_line(conn: sqlite3.Connection, line: Line, version: int, number: int) -> None:
    create_schema(conn, line, version)
    layout = renumber(conn, number)
    assert (layout.lineage, layout.version) == (line, number)


def test_the_plain_form_is_of_the_plan_line(conn: sqlite3.Connection) -> None:
    create_plain_v15(conn)
    assert inspect_source(conn, FILE).lineage == "plan"


@pytest.mark.parametrize("number", ANY_NUMBER)
def test_marks_of_both_lines_count_as_released_so_that_nothing_writes_there(
    conn: sqlite3.Connection, number: int
) -> None:
    create_schema(conn, "plan", 15)
    conn.execute("CREATE TABLE merge_plans (id TEXT PRIMARY KEY)")
    layout = renumber(conn, number)
    assert layout.lineage == "released"
    assert treatment(layout.lineage, layout.version) is Treatment.AS_IT_IS


@pytest.mark.parametrize("line", ["released", "plan"])
def test_each_mark_alone_tells_its_line(line: str) -> None:
    marks = lineage.RELEASED if line == "released" else lineage.PLAN
    nodes = ("id", "content", lineage.FORK_LACKS)
    for version_marks in marks.values():
        for table in version_marks.tables:
            assert find_lineage({"knowledge_nodes": nodes, table: ("id",)}, 13) == line
        for column in version_marks.columns:
            assert find_lineage({"knowledge_nodes": (*nodes, column)}, 13) == line


def test_the_marks_are_those_of_the_schemas() -> None:
    """A mark stands in every version from its own on, and in no version of another line."""
    found: dict[tuple[Line, int], tuple[set[str], set[str]]] = {}
    for line, version in EVERY_VERSION:
        with closing(sqlite3.connect(":memory:")) as connection:
            create_schema(connection, line, version)
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
            columns = {row[1] for row in connection.execute("PRAGMA table_info(knowledge_nodes)")}
        found[line, version] = tables, columns
    plain = {"scheduling", "edges"}  # only in the plain form of plan V15
    for own, marks in (("released", lineage.RELEASED), ("plan", lineage.PLAN)):
        for since, version_marks in marks.items():
            for (line, version), (tables, columns) in found.items():
                expected = line == own and version >= since
                assert (version_marks.tables - plain <= tables) == expected or not version_marks.tables, (line, version)
                assert not (version_marks.tables & tables) or expected, (line, version)
                assert (version_marks.columns <= columns) == expected or not version_marks.columns, (line, version)
                assert not (version_marks.columns & columns) or expected, (line, version)


def test_the_newest_known_versions_are_those_of_the_schemas() -> None:
    assert {line: versions.stop - 1 for line, versions in VERSIONS.items()} == lineage.NEWEST_KNOWN


@pytest.mark.parametrize(
    ("line", "version", "expected"),
    [
        ("shared", 0, Treatment.SNAPSHOT),
        ("shared", 1, Treatment.SNAPSHOT),
        ("shared", 10, Treatment.SNAPSHOT),
        ("shared", 11, Treatment.UPGRADE),
        ("shared", 13, Treatment.UPGRADE),
        ("plan", 12, Treatment.UPGRADE),
        ("plan", 14, Treatment.UPGRADE),
        ("plan", 15, Treatment.AS_IT_IS),
        ("plan", 16, Treatment.AS_IT_IS),
        *(("released", version, Treatment.AS_IT_IS) for version in (0, 10, 11, 13, 14, 15, 35, 39, 41)),
        *(("fork", version, Treatment.SNAPSHOT) for version in (10, 11, 14)),
        ("fork", 15, Treatment.AS_IT_IS),
    ],
)
def test_what_is_done_with_a_version(line: str, version: int, expected: Treatment) -> None:
    assert treatment(Lineage(line), version) is expected


def test_the_version_may_stand_in_user_version_only(conn: sqlite3.Connection) -> None:
    create_schema(conn, "plan", 15)
    conn.execute("DROP TABLE schema_version")
    conn.execute("PRAGMA user_version = 15")
    assert inspect_source(conn, FILE).version == 15


def test_a_file_that_names_no_version_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "vestige.db"
    with closing(sqlite3.connect(path)) as connection:
        create_schema(connection, "plan", 15)
        connection.execute("DELETE FROM schema_version")
        connection.commit()
    with (
        pytest.raises(SourceTooOld, match="names no version, so it counts as V0"),
        found_source(SqliteToPostgresPlan(path, "postgresql://")),
    ):
        pass


@pytest.mark.parametrize(("line", "version", "newer"), [("plan", 15, 16), ("released", 39, 41)])
def test_a_newer_file_than_known_is_taken_with_a_warning(tmp_path: Path, line: Line, version: int, newer: int) -> None:
    path = tmp_path / "vestige.db"
    with closing(sqlite3.connect(path)) as connection:
        create_schema(connection, line, version)
    assert _warnings(path) == []
    _run(path, f"UPDATE schema_version SET version = {newer}")
    [warning] = _warnings(path)
    assert f"is at V{newer} of the {line} line, newer than any this program knows (V{version})" in warning


def test_v39_and_v40_are_told_by_their_tables(tmp_path: Path) -> None:
    """Two branches number one step differently; what is in the other's V39 nobody here knows."""
    path = tmp_path / "vestige.db"
    with closing(sqlite3.connect(path)) as connection:
        create_schema(connection, "released", 39)
    _run(path, "UPDATE schema_version SET version = 40")
    assert _warnings(path) == []
    _run(path, "DROP TABLE walk_receipts")
    for version in (39, 40):
        _run(path, f"UPDATE schema_version SET version = {version}")
        [warning] = _warnings(path)
        assert f"is at V{version} and has no table walk_receipts: it is of a branch of Vestige" in warning


@pytest.mark.parametrize(("name", "version"), [("gemini", 10), ("typed", 10), ("typed", 11)])
def test_a_fork_is_told_by_what_its_number_does_not_mean(conn: sqlite3.Connection, name: str, version: int) -> None:
    create_schema(conn, "shared", 9)
    make_fork(conn, name, version)
    layout = inspect_source(conn, FILE)
    assert (layout.lineage, layout.version) == ("fork", version)
    assert renumber(conn, 9).lineage == "shared"
    assert renumber(conn, 13).lineage == "fork"


def _run(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def _warnings(path: Path) -> list[str]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="WARNING", format="{message}")
    try:
        with found_source(SqliteToPostgresPlan(path, "postgresql://")):
            pass
    finally:
        logger.remove(sink)
    return lines
