"""`--archive`: rows without a place in the destination, all of them, exactly, once."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64decode
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same
from tests.support.sources import SourceSpec, build_source, edit
from vestige_migrate import DestinationUnusable
from vestige_migrate.source.read.counts import CACHES

pytestmark = pytest.mark.in_process

DOCS = Path(__file__).parents[2] / "docs" / "archive.md"

Archive = dict[tuple[str, str], Any]


def archive(url: str) -> Archive:
    """What is in the archive, by table and key; numbers as `json` reads the server's text."""
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT table_name, row_key, row::text FROM vestige_archive").fetchall()
    return {(table, key): json.loads(row) for table, key, row in found}


def read_back(value: Any) -> Any:
    """A value as the file has it: `(storage class, bytes or number)`."""
    if isinstance(value, dict):
        ((form, text),) = value.items()
        if form == "real":
            return "real", float(text)
        return ("blob" if form == "base64" else "text"), b64decode(text)
    if isinstance(value, str):
        return "text", value.encode()
    return {type(None): "null", int: "integer", float: "real"}[type(value)], value


def rows_of(path: Path, table: str, where: str = "1") -> list[Any]:
    """Every row as {column: (storage class, bytes or number)}, read with nothing of the program."""
    with closing(sqlite3.connect(path)) as connection:
        names = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
        columns = ", ".join(
            f'typeof("{name}"), CASE typeof("{name}") WHEN \'text\' THEN CAST("{name}" AS BLOB) ELSE "{name}" END'
            for name in names
        )
        return [
            dict(zip(names, zip(row[::2], row[1::2], strict=True), strict=True))
            for row in connection.execute(f'SELECT {columns} FROM "{table}" WHERE {where}')
        ]


def assert_archived(path: Path, url: str, table: str, where: str = "1") -> None:
    wanted = sorted(map(repr, rows_of(path, table, where)))
    columns = list(rows_of(path, table, where)[0])
    found = [
        {name: read_back(row[name]) for name in columns} for (name_, _), row in archive(url).items() if name_ == table
    ]
    assert sorted(map(repr, found)) == wanted, table


@pytest.mark.parametrize(
    "spec",
    [
        SourceSpec(form="vestige", memories=30, edges=5, events=5),
        SourceSpec(line="released", version=14, memories=30, edges=5),
        SourceSpec(line="released", version=39, memories=30, edges=5),
    ],
    ids=["plan 15", "released 14", "released 39"],
)
def test_every_row_that_was_left_behind_is_kept_exactly(tmp_path: Path, copy: Copier, spec: SourceSpec) -> None:
    path = build_source(tmp_path / "vestige.db", spec)
    before = copy(path).left_behind
    assert len(before) > 8
    report = copy(path, archive=True)
    assert report.errors == []
    assert report.left_behind == {name: rows for name, rows in before.items() if name in CACHES}
    assert report.archived == {name: rows for name, rows in before.items() if name not in CACHES}
    for table in report.archived:
        where = "profile_id <> 'fixture-active'" if table == "embedding_profile_vectors" else "1"
        assert_archived(path, copy.database, table, where)
    assert len(archive(copy.database)) == sum(report.archived.values())
    assert {table for table, _ in archive(copy.database)} == set(report.archived)
    assert_same(path, copy.database)


def test_a_table_of_ones_own_that_is_called_like_the_full_text_index_is_none_of_it(source: Path, copy: Copier) -> None:
    """Named, and kept; also where the file is read from a private copy, here because it has a column called rowid."""
    notes, rest = "knowledge_fts_notes", "Knowledge_FTSold"
    edit(
        source,
        (f"CREATE TABLE {notes} (note TEXT)", ()),
        (f"INSERT INTO {notes} VALUES ('first'), ('second')", ()),
        (f"CREATE TABLE {rest} (note TEXT)", ()),
        (f"INSERT INTO {rest} VALUES ('third')", ()),
    )
    before = copy(source).left_behind
    assert (before[notes], before[rest]) == (2, 1)
    edit(source, ("ALTER TABLE edges ADD COLUMN rowid TEXT", ()))
    report = copy(source, archive=True)
    assert report.archived is not None
    assert (report.archived[notes], report.archived[rest]) == (2, 1)
    for table in (notes, rest):
        assert_archived(source, copy.database, table)


def test_a_second_run_archives_nothing_new_and_reports_the_same(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(form="vestige", memories=20, edges=5, events=5))
    first = copy(path, archive=True)
    before = archive(copy.database)
    second = copy(path, archive=True, on_conflict="newer")
    assert second.archived == first.archived
    assert archive(copy.database) == before


def test_the_json_has_the_key_only_with_the_option(plain_source: Path, copy: Copier) -> None:
    assert "archived" not in copy(plain_source).as_json()
    report = copy(plain_source, archive=True).as_json()
    assert (report["archived"], report["left_behind"]) == ({}, {})


ODD_VALUES: tuple[object, ...] = (
    0, 1, -(2**63), 2**63 - 1, 1.0, 0.1, 1e16, 1e300, 5e-324, float("inf"), float("-inf"), "1", "1.0", "", "naïve 🎉",
    b"", b"1", b"\x00\xff", None, '{"base64":"AA=="}', "with\0NUL", "\u2028\x1f\x7f",
)  # fmt: skip


def odd_table(path: Path, columns: str = "id INTEGER PRIMARY KEY, v", name: str = "odd") -> None:
    edit(
        path,
        (f"CREATE TABLE {name} ({columns})", ()),
        *[(f"INSERT INTO {name} (v) VALUES (?)", (value,)) for value in ODD_VALUES],
        (f"INSERT INTO {name} (v) VALUES (CAST(x'41ff42' AS TEXT))", ()),
    )


@pytest.mark.parametrize("batch_size", [2, 500])
def test_values_of_every_storage_class_come_exactly(source: Path, copy: Copier, batch_size: int) -> None:
    tables = {"odd": "id INTEGER PRIMARY KEY, v", "alone": "v", "beside": "v, other TEXT DEFAULT 'x'"}
    for name, columns in tables.items():
        odd_table(source, columns, name)
    report = copy(source, archive=True, batch_size=batch_size)
    assert report.archived == dict.fromkeys(tables, len(ODD_VALUES) + 1)
    for name in tables:
        assert_archived(source, copy.database, name)


def test_keys_of_every_kind_stay_apart(source: Path, copy: Copier) -> None:
    keys = [(value,) for value in ODD_VALUES if value is not None and value not in (1.0,)]
    edit(
        source,
        ("CREATE TABLE one (k PRIMARY KEY)", ()),
        *[("INSERT INTO one VALUES (?)", key) for key in [*keys, (None,), (None,)]],
        ("CREATE TABLE two (a, b, n, PRIMARY KEY (b, a)) WITHOUT ROWID", ()),
        ("INSERT INTO two VALUES ('x', 'a,b', 1), ('b,x', 'a', 2), (1, 'a', 3), ('1', 'a', 4)", ()),
        ("CREATE TABLE long (k TEXT PRIMARY KEY)", ()),
        ("INSERT INTO long VALUES (?), (?)", ("x" * 5000, "x" * 5001)),
    )
    report = copy(source, archive=True)
    assert report.errors == []
    assert report.archived == {"long": 2, "one": len(keys) + 2, "two": 4}
    for table in report.archived:
        assert_archived(source, copy.database, table)
    found = archive(copy.database)
    assert found["two", '["a","b,x"]']["n"] == 2
    assert found["two", '["a","1"]']["n"] == 4
    assert found["two", '["a",1]']["n"] == 3
    assert found["two", '["a,b","x"]']["n"] == 1


def test_a_row_whose_key_is_taken_by_other_content_is_kept_beside_it(
    tmp_path: Path, source: Path, copy: Copier
) -> None:
    """The same row at another time, or a row of another file that numbers its rows the same way."""
    other = build_source(tmp_path / "other.db", SourceSpec(seed=8, memories=10, schedules=10, edges=0, events=0))
    for path, note in ((source, "one"), (other, "two")):
        edit(
            path,
            ("CREATE TABLE notes (id INTEGER PRIMARY KEY, note)", ()),
            ("INSERT INTO notes VALUES (1, ?), (2, 'both')", (note,)),
        )
    for _ in range(2):
        for path in (source, other):
            assert copy(path, archive=True).archived == {"notes": 2}
    found = archive(copy.database)
    assert found["notes", "1"] == {"id": 1, "note": "one"}
    assert found["notes", "2"] == {"id": 2, "note": "both"}
    ((_, key),) = set(found) - {("notes", "1"), ("notes", "2")}
    assert found["notes", key] == {"id": 1, "note": "two"}
    assert key.startswith("1#")
    assert len(key) == 34


def test_an_integer_beside_the_equal_real_number_is_other_content(source: Path, copy: Copier) -> None:
    """jsonb takes 1 and 1.0 for equal; SQLite does not store them alike."""
    edit(source, ("CREATE TABLE notes (id INTEGER PRIMARY KEY, note)", ()), ("INSERT INTO notes VALUES (1, 1.0)", ()))
    copy(source, archive=True)
    edit(source, ("UPDATE notes SET note = 1", ()))
    for _ in range(2):
        copy(source, archive=True)
    with psycopg.connect(copy.database) as connection:
        found = connection.execute("SELECT row->>'note' FROM vestige_archive ORDER BY length(row_key)").fetchall()
    assert found == [("1.0",), ("1",)]


def test_vectors_of_another_model_are_kept_whatever_the_size_of_a_batch(tmp_path: Path, copy: Copier) -> None:
    path = build_source(
        tmp_path / "vestige.db", SourceSpec(line="released", version=14, memories=60, edges=0, events=0)
    )
    other = "rowid % 3 = 0"
    edit(path, (f"UPDATE node_embeddings SET model = 'other' WHERE {other}", ()))
    report = copy(path, archive=True, batch_size=4)
    assert report.archived is not None
    assert report.archived["node_embeddings"] == len(rows_of(path, "node_embeddings", other)) > 12
    assert_archived(path, copy.database, "node_embeddings", other)


def test_dry_run_says_what_would_be_archived_and_makes_no_table(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(form="vestige", memories=20, edges=5, events=5))
    dry = copy(path, archive=True, dry_run=True)
    with psycopg.connect(copy.database) as connection:
        assert connection.execute("SELECT to_regclass('vestige_archive')").fetchone() == (None,)
    real = copy(path, archive=True)
    assert dry.archived == real.archived
    assert dry.left_behind == real.left_behind


def test_an_older_copy_gets_its_archive_later(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(form="vestige", memories=20, edges=5, events=5))
    copy(path)
    report = copy(path, archive=True)
    assert report.tables["knowledge_nodes"].inserted == 0
    assert report.archived
    for table in report.archived:
        assert_archived(path, copy.database, table)


def test_a_row_that_is_refused_is_an_error_and_takes_no_other_with_it(source: Path, copy: Copier) -> None:
    odd_table(source)
    copy(source, archive=True)
    with psycopg.connect(copy.database) as connection:
        connection.execute("DELETE FROM vestige_archive")
        connection.execute("ALTER TABLE vestige_archive ADD CONSTRAINT not_three CHECK (row_key <> '3')")
    report = copy(source, archive=True)
    assert report.archived == {"odd": len(ODD_VALUES)}
    assert [(error.table, error.id, str(error.outcome), error.message) for error in report.errors] == [
        ("odd", "3", "not_copied", 'violates check constraint "not_three"')
    ]
    assert report.exit_code == 1


def test_another_table_of_that_name_is_refused_before_anything_is_written(source: Path, copy: Copier) -> None:
    with psycopg.connect(copy.database) as connection:
        connection.execute("CREATE TABLE vestige_archive (table_name text, row_key text, row jsonb)")
    with pytest.raises(DestinationUnusable, match="a table vestige_archive that is not the one this program makes"):
        copy(source, archive=True)
    with psycopg.connect(copy.database) as connection:
        assert connection.execute("SELECT to_regclass('knowledge_nodes')").fetchone() == (None,)
    assert copy(source).errors == []


def test_memory_stays_bounded_by_the_batch(source: Path, copy: Copier) -> None:
    """Rows of 3 MiB go in batches of three, whatever --batch-size says."""
    edit(
        source,
        ("CREATE TABLE wide (id INTEGER PRIMARY KEY, b BLOB)", ()),
        *[("INSERT INTO wide (b) VALUES (randomblob(?))", (3 * 1024 * 1024,))] * 7,
    )
    seen: list[int] = []
    from vestige_migrate import SqliteToPostgresPlan, run_sqlite_to_postgres

    plan = SqliteToPostgresPlan(source, copy.database, workers=1, archive=True)
    run_sqlite_to_postgres(
        plan, on_progress=lambda progress: seen.append(progress.done) if progress.table == "archive" else None
    )
    assert seen == [3, 6, 7]
    assert_archived(source, copy.database, "wide")


def test_the_command_line_says_what_was_archived_and_what_would_be(
    tmp_path: Path, copy: Copier, command: CommandLine
) -> None:
    path = build_source(
        tmp_path / "vestige.db", SourceSpec(line="released", version=39, memories=20, edges=5, events=5)
    )
    arguments = ("copy", "--sqlite-path", path, "--postgres-url", copy.database)
    without = command(*arguments)
    assert without.returncode == 0, without.stderr
    joined = " ".join(without.stdout.split())
    assert "left in the source, no place in the destination: " in joined
    assert "(--archive keeps these rows too, but for vector_journal)" in joined
    dry = " ".join(command(*arguments, "--archive", "--dry-run").stdout.split())
    assert "to archive in vestige_archive: actor_endorsement_events 3" in dry
    report_file = tmp_path / "report.json"
    done = command(*arguments, "--archive", "--report", report_file)
    assert done.returncode == 0, done.stderr
    joined = " ".join(done.stdout.split())
    assert "archived in vestige_archive: actor_endorsement_events 3" in joined
    assert "left in the source, no place in the destination: vector_journal" in joined
    assert "(--archive keeps" not in joined
    report = json.loads(report_file.read_text())
    assert report["archived"]["intentions"] == 3
    assert list(report["left_behind"]) == ["vector_journal"]
    assert "archive" in report["phases"]


def test_the_docs_name_every_table_that_is_left_out_with_its_reason() -> None:
    text = " ".join(DOCS.read_text(encoding="utf-8").split())
    for name, reason in CACHES.items():
        assert f"`{name}`" in text
        assert reason in text
    assert "`knowledge_fts" in text
