"""Rows that have no place in the destination: looked for in the archive, or said to be only in the file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.sources import OtherVectors, SourceSpec, build_source, edit
from tests.support.verifying import Verifier, named
from vestige_migrate import DestinationUnusable

pytestmark = pytest.mark.in_process

SPEC = SourceSpec(memories=20, schedules=20, edges=5, events=5)


@pytest.fixture
def verify(database: str) -> Verifier:
    return Verifier(database)


def add_tables(path: Path, prefix: str = "") -> Path:
    """Tables of the shapes that keys come in: a text, a number, several columns, none; one larger than a batch."""
    edit(
        path,
        ("CREATE TABLE intentions (id TEXT PRIMARY KEY, content TEXT)", ()),
        ("INSERT INTO intentions VALUES (?, 'x'), (?, 'y'), ('7', 'digits')", (f"{prefix}a", f"{prefix}b")),
        ("CREATE TABLE sessions (id INTEGER PRIMARY KEY, started REAL, note BLOB)", ()),
        ("WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 2500)"
         " INSERT INTO sessions SELECT i, i / 4.0, x'00ff' FROM n", ()),
        ("CREATE TABLE pairs (a TEXT, b INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID", ()),
        ("INSERT INTO pairs VALUES ('x', 1), ('x', 2), ('1', 1)", ()),
        ("CREATE TABLE notes (text TEXT)", ()),
        ("INSERT INTO notes VALUES ('one'), (CAST(x'FF' AS TEXT)), (NULL)", ()),
    )  # fmt: skip
    return path


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    return add_tables(build_source(tmp_path / "vestige.db", SPEC))


ROWS = {"intentions": 3, "notes": 3, "pairs": 3, "sessions": 2500}


def states(report: Any) -> list[str]:
    return [str(state) for state in report.archive.states]


def test_a_whole_archive_is_the_same_and_every_row_that_is_gone_or_changed_is_named(
    rich: Path, copy: Copier, verify: Verifier
) -> None:
    copy(rich, archive=True)
    for demanded in (False, True):
        report = verify(rich, archive=demanded)
        assert (named(report), report.exit_code, states(report)) == ([], 0, ["compared"])
        assert (report.archive.rows, report.archive.archived, report.archive.left_behind) == (ROWS, ROWS, {})
    verify.tamper(
        "DELETE FROM vestige_archive WHERE table_name = 'intentions' AND row_key = 'a'",
        "DELETE FROM vestige_archive WHERE table_name = 'sessions' AND row_key = '2345'",
        # jsonb calls these two equal.
        "UPDATE vestige_archive SET row = jsonb_set(row, '{started}', '2.50') WHERE table_name = 'sessions'"
        " AND row_key = '10'",
        "UPDATE vestige_archive SET row = row || '{\"b\": \"2\"}' WHERE table_name = 'pairs' AND row_key = '[\"x\",2]'",
        "UPDATE vestige_archive SET table_name = 'other' WHERE table_name = 'notes'",
    )
    report = verify(rich)
    assert named(report) == sorted(
        (table, key, "not_archived", ())
        for table, keys in {
            "intentions": ["a"], "sessions": ["10", "2345"], "pairs": ['["x",2]'], "notes": ["1", "2", "3"],
        }.items()
        for key in keys
    )  # fmt: skip
    assert report.exit_code == 1
    assert report.archive.left_behind == {"intentions": 1, "notes": 3, "pairs": 1, "sessions": 2}
    copy(rich, archive=True)
    assert named(verify(rich)) == []  # what was overwritten is beside it now, under its key and digest


def test_an_emptied_archive_is_different_and_one_that_is_not_there_is_said(
    rich: Path, copy: Copier, verify: Verifier, command: CommandLine, tmp_path: Path
) -> None:
    copy(rich, archive=True)
    verify.tamper("DELETE FROM vestige_archive")
    report = verify(rich)
    assert (len(report.differences), report.exit_code, states(report)) == (2509, 1, ["compared"])
    verify.tamper("DROP TABLE vestige_archive")
    arguments = ("verify", "--sqlite-path", rich, "--postgres-url", copy.database, "--report", tmp_path / "r.json")
    said = command(*arguments)
    assert said.returncode == 0, said.stderr
    assert (
        "only in the source, keep the file or copy with --archive: intentions 3, notes 3, pairs 3, sessions 2500"
    ) in said.stdout
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["left_behind"], report["archive"]["states"]) == (ROWS, ["no_archive"])
    demanded = command(*arguments, "--archive")
    assert demanded.returncode == 1
    assert "  sessions 2500 rows: not archived, vestige_archive is not in the destination" in demanded.stdout
    verify.tamper("CREATE TABLE vestige_archive (anything text)")
    assert states(verify(rich)) == ["no_archive"]


def test_an_archive_that_only_another_file_was_copied_into(tmp_path: Path, copy: Copier, verify: Verifier) -> None:
    """Their numbered rows have the same keys, and some of their settings are the same to the last value."""
    spec = replace(SPEC, form="vestige", schedules=0, domains=0, extra_users=0, groups=0, memberships=0)
    first, second = (build_source(tmp_path / f"{seed}.db", replace(spec, seed=seed)) for seed in (1, 2))
    copy(first, archive=True)
    copy(second)
    report = verify(first, second)
    assert (named(report), report.exit_code) == ([], 0)
    assert states(report) == ["compared", "none_of_this_source"]
    assert report.archive.left_behind["intentions"] == 3
    demanded = verify(first, second, archive=True)
    assert len(demanded.differences) == sum(report.archive.left_behind.values())
    copy(second, archive=True)
    assert (named(report := verify(first, second)), states(report)) == ([], ["compared", "compared"])
    # All that tells the files apart is gone; what is left of it is more than another file has.
    uuids = "row_key ~ '[0-9a-f]{8}-[0-9a-f]{4}-'"
    with psycopg.connect(verify.database) as connection:
        row = connection.execute(f"SELECT count(*) FROM vestige_archive WHERE {uuids}".encode()).fetchone()
    verify.tamper(f"DELETE FROM vestige_archive WHERE {uuids}")
    assert row == (len(verify(first, second).differences),)


def test_copy_verify_demands_the_archive_only_where_it_was_asked_for(rich: Path, copy: Copier, database: str) -> None:
    copied = copy(rich, archive=True, verify=True)
    assert copied.exit_code == 0
    edit(rich, ("INSERT INTO intentions VALUES ('new', 'x')", ()))
    without = copy(rich, verify=True)
    assert without.verification is not None
    assert (without.exit_code, without.verification.archive.left_behind) == (0, {"intentions": 1})
    with psycopg.connect(database) as connection:
        connection.execute("ALTER TABLE vestige_archive ADD CHECK (row_key <> 'new')")
    refused = copy(rich, archive=True, verify=True)
    assert refused.exit_code == 1
    assert refused.verification is not None
    assert named(refused.verification) == [("intentions", "new", "not_archived", ())]


def test_vectors_that_stayed_in_the_source_are_counted_and_looked_for(
    tmp_path: Path, copy: Copier, verify: Verifier, command: CommandLine
) -> None:
    path = build_source(
        tmp_path / "vestige.db",
        SourceSpec(form="vestige", memories=20, edges=3, events=3, other_vectors=(OtherVectors("bge", 384, 4),)),
    )
    copy(path)
    report = verify(path)
    assert (named(report), report.exit_code, report.awaiting_reembed) == ([], 0, 4)
    assert report.archive.left_behind["node_embeddings"] == 4
    told = command("verify", "--sqlite-path", path, "--postgres-url", copy.database)
    assert "4 memories await a re-embed: the vectors in the source are not of" in told.stdout
    copy(path, archive=True)
    of_vectors = "FROM vestige_archive WHERE table_name = 'node_embeddings'"
    verify.tamper(f"DELETE {of_vectors} AND row_key = (SELECT max(row_key) {of_vectors})")
    [difference] = verify(path).differences
    assert (difference.table, str(difference.kind)) == ("node_embeddings", "not_archived")


def test_an_archive_that_the_role_may_not_read_is_not_taken_for_compared(
    rich: Path, copy: Copier, verify: Verifier, database: str
) -> None:
    copy(rich, archive=True)
    role = f"reader_{verify.one('SELECT md5(current_database())')}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN")
        try:
            connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
            reader = Verifier(psycopg.conninfo.make_conninfo(database, user=role))
            assert reader(rich).exit_code == 0
            connection.execute("ALTER TABLE vestige_archive ENABLE ROW LEVEL SECURITY")
            with pytest.raises(DestinationUnusable, match="hides rows of vestige_archive"):
                reader(rich)
            connection.execute("ALTER TABLE vestige_archive DISABLE ROW LEVEL SECURITY")
            connection.execute(f"REVOKE SELECT ON vestige_archive FROM {role}")
            report = reader(rich)
            assert (states(report), report.exit_code) == (["unreadable"], 1)
            assert "GRANT SELECT ON vestige_archive" in str(report.differences[0])
        finally:
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")
