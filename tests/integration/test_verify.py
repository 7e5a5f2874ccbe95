"""verify after a copy finds nothing, and after each kind of tampering exactly what was done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from loguru import logger
from psycopg.conninfo import make_conninfo

from tests.conftest import Copier
from tests.integration.test_every_version import SPEC
from tests.support.databases import LOST
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.untouched import database_objects
from tests.support.verifying import Verifier, balanced, named
from vestige_migrate import DestinationBusy, DestinationUnusable, Progress, SqliteToPostgresPlan
from vestige_migrate.destination.connection.connect import connect
from vestige_migrate.destination.schema import schema
from vestige_migrate.verify.coordinator import verify_sqlite_to_postgres

MARKER = "quetzalcoatl"
FIRST = "SELECT id FROM knowledge_nodes ORDER BY created_at, id LIMIT 1"
EDGE = "SELECT source_id || ' -> ' || target_id FROM edges ORDER BY source_id, target_id LIMIT 1"
STRANGER = "aaaaaaaa-0000-0000-0000-000000000001"


@pytest.fixture
def verify(database: str) -> Verifier:
    return Verifier(database)


@pytest.mark.old_server
def test_nothing_is_changed_in_the_destination(source: Path, copy: Copier, verify: Verifier) -> None:
    edit(source, ("UPDATE knowledge_nodes SET visibility = 'secret' WHERE rowid = 9", ()))
    copy(source)
    before = database_objects(copy.database)
    assert (named(report := verify(source)), report.not_copied_rows > 0) == ([], True)
    assert database_objects(copy.database) == before


def test_one_worker_or_four_and_every_row_is_told_as_progress(
    plain_source: Path, copy: Copier, verify: Verifier
) -> None:
    copy(plain_source)
    for workers in (1, 4):
        told: dict[str, Progress] = {}
        plan = SqliteToPostgresPlan(plain_source, copy.database, workers=workers)
        report = verify_sqlite_to_postgres(plan, lambda progress: told.__setitem__(progress.table, progress))  # noqa: B023
        assert report.same
        assert {name: progress.done for name, progress in told.items()} == {
            name: table.source_rows for name, table in report.tables.items()
        }
        assert all(progress.done == progress.total for progress in told.values())


COLUMN_CHANGES: list[tuple[str, str, str]] = [
    ("knowledge_nodes", "content", "content || ' '"),
    ("knowledge_nodes", "content", "''"),
    ("knowledge_nodes", "node_type", "'other'"),
    ("knowledge_nodes", "tags", "tags || 'more'::text"),
    ("knowledge_nodes", "tags", "'{}'"),
    ("knowledge_nodes", "metadata", "metadata || '{\"more\": null}'"),
    ("knowledge_nodes", "metadata", "'{}'"),
    ("knowledge_nodes", "domains", "domains || 'more'::text"),
    ("knowledge_nodes", "domain_scores", "domain_scores || '{\"more\": 1}'"),
    ("knowledge_nodes", "embedding", "NULL"),
    ("knowledge_nodes", "codebase", "coalesce(codebase, '') || 'x'"),
    ("knowledge_nodes", "owner_user_id", "'aaaaaaaa-0000-0000-0000-000000000001'"),
    ("knowledge_nodes", "visibility", "CASE visibility WHEN 'public' THEN 'group' ELSE 'public' END"),
    ("knowledge_nodes", "shared_with_groups", "shared_with_groups || 'aaaaaaaa-0000-0000-0000-000000000001'::uuid"),
    ("knowledge_nodes", "created_at", "created_at + interval '1 microsecond'"),
    ("knowledge_nodes", "updated_at", "updated_at - interval '1 microsecond'"),
    ("scheduling", "stability", "stability + 1e-12"),
    ("scheduling", "difficulty", "0"),
    ("scheduling", "retrievability", "-0.0"),
    ("scheduling", "last_review", "coalesce(last_review, now()) + interval '1 s'"),
    ("scheduling", "next_review", "'infinity'"),
    ("scheduling", "reps", "reps + 1"),
    ("scheduling", "lapses", "lapses - 1"),
    ("edges", "edge_type", "edge_type || ' '"),
    ("edges", "weight", "weight / 2"),
    ("edges", "created_at", "created_at + interval '1 day'"),
    ("review_events", "memory_id", "'aaaaaaaa-0000-0000-0000-000000000001'"),
    ("review_events", "occurred_at", "occurred_at + interval '1 day'"),
    ("review_events", "retrievability_before", "'NaN'"),
    ("review_events", "retrievability_after", "coalesce(retrievability_after, 0) + 1"),
    ("review_events", "rating", "rating + 1"),
    ("review_events", "kind", "''"),
    ("review_events", "metadata", "'{\"a\": [1, 2]}'"),
    ("domains", "label", "label || 'x'"),
    ("domains", "centroid", "NULL"),
    ("domains", "top_terms", "'{}'"),
    ("domains", "memory_count", "memory_count + 1"),
    ("domains", "created_at", "now()"),
    ("groups", "handle", "handle || 'x'"),
    ("groups", "display_name", "coalesce(display_name, '') || 'x'"),
    ("groups", "created_at", "now()"),
    ("groups", "metadata", "'{\"a\": 1}'"),
    ("group_memberships", "role", "CASE role WHEN 'admin' THEN 'member' ELSE 'admin' END"),
    ("group_memberships", "joined_at", "now()"),
    ("users", "handle", "handle || 'x'"),
    ("users", "display_name", "coalesce(display_name, '') || 'x'"),
    ("users", "created_at", "now()"),
    ("users", "metadata", "'{\"a\": 1}'"),
]


def change_one(verify: Verifier, table: str, column: str, value: str, changed: Sequence[str]) -> tuple[str, str]:
    """Changes the column in one row, and not in one of these; returns its key, and the statement that takes it back."""
    keys = {"group_memberships": "user_id, group_id", "edges": "source_id, target_id", "scheduling": "memory_id"}
    key = keys.get(table, "id")
    # A row that the change changes, and not the user `local`, whom each side has of its own.
    others = f"{column}::text IS DISTINCT FROM ({value})::text" + (" AND handle <> 'local'" if table == "users" else "")
    name = f"concat_ws(' -> ', {key})"
    others += "".join(f" AND {name} <> '{id_}'" for id_ in changed)
    chosen = f"({key}) = (SELECT {key} FROM {table} WHERE {others} ORDER BY {key} LIMIT 1)"
    id_ = verify.one(f"SELECT {name} FROM {table} WHERE {chosen}")
    kept = f"kept_{table}_{len(changed)}"
    verify.tamper(
        f"DROP TABLE IF EXISTS {kept}",
        f"CREATE TABLE {kept} AS SELECT {key}, {column} AS old FROM {table} WHERE {chosen}",
        f"UPDATE {table} SET {column} = {value} WHERE {chosen}",
    )
    same = " AND ".join(f"t.{part} = kept.{part}" for part in key.split(", "))
    return id_, f"UPDATE {table} AS t SET {column} = kept.old FROM {kept} AS kept WHERE {same}"


def test_every_changed_column_is_named_with_its_row(source: Path, copy: Copier, verify: Verifier) -> None:
    """Two rows of every table at a time: eight comparisons instead of fifty."""
    edit(source, ("UPDATE knowledge_nodes SET metadata = '{\"x\": 1}', domains = '[\"d\"]'", ()))
    copy(source)
    changes = {table: [change for change in COLUMN_CHANGES if change[0] == table] for table, *_ in COLUMN_CHANGES}
    for first in range(0, max(map(len, changes.values())), 2):
        found, back, changed = [], [], dict[str, list[str]]()
        for table, column, value in (change for of_table in changes.values() for change in of_table[first : first + 2]):
            rows = changed.setdefault(table, [])
            id_, statement = change_one(verify, table, column, value, rows)
            rows.append(id_)
            found.append((table, id_, "different", (column,)))
            back.append(statement)
        report = verify(source)
        assert named(report) == sorted(found)
        assert report.exit_code == 1
        counted = {name: table.different for name, table in report.tables.items() if table.different}
        assert counted == {table: len(rows) for table, rows in changed.items()}
        assert balanced(report)
        verify.tamper(*back)
    assert verify(source).same


@pytest.mark.old_server
@pytest.mark.holds("a copy")
def test_one_flipped_bit_of_a_vector(source: Path, copy: Copier, verify: Verifier) -> None:
    memory = verify.one("SELECT id FROM knowledge_nodes WHERE embedding IS NOT NULL ORDER BY id LIMIT 1")
    with psycopg.connect(copy.database) as connection:
        sent = connection.execute("SELECT vector_send(embedding) FROM knowledge_nodes WHERE id = %s", (memory,))
        (raw,) = sent.fetchone() or (b"",)
        flipped = bytearray(raw)
        flipped[-1] ^= 1
        number = len(raw) // 4 - 1
        import struct

        values = list(struct.unpack(f">{number}f", bytes(flipped[4:])))
        connection.execute("UPDATE knowledge_nodes SET embedding = %s::vector WHERE id = %s", (str(values), memory))
        (stored,) = connection.execute(
            "SELECT vector_send(embedding) FROM knowledge_nodes WHERE id = %s", (memory,)
        ).fetchone() or (b"",)
        assert stored == bytes(flipped)
    assert named(verify(source)) == [("knowledge_nodes", memory, "different", ("embedding",))]


@pytest.mark.holds("a copy")
def test_several_columns_of_several_rows(source: Path, copy: Copier, verify: Verifier) -> None:
    verify.tamper("UPDATE knowledge_nodes SET content = 'x', codebase = 'y', tags = '{z}'")
    report = verify(source)
    assert len(report.differences) == 40
    assert {item.columns for item in report.differences} == {("content", "tags", "codebase")}


def test_null_and_empty_are_told_apart_and_so_are_empty_and_null(source: Path, copy: Copier, verify: Verifier) -> None:
    edit(source, ("UPDATE knowledge_nodes SET codebase = CASE rowid % 2 WHEN 0 THEN '' END", ()))
    copy(source)
    assert verify(source).same
    verify.tamper("UPDATE knowledge_nodes SET codebase = CASE WHEN codebase IS NULL THEN '' END")
    report = verify(source)
    assert {item.columns for item in report.differences} == {("codebase",)}
    assert report.tables["knowledge_nodes"].different == 40


DELETED = {
    "scheduling": ("memory_id", FIRST),
    "review_events": ("id", "SELECT min(id::text) FROM review_events"),
    "domains": ("id", "SELECT min(id) FROM domains"),
    "groups": ("id", "SELECT min(id::text) FROM groups"),
    "edges": ("source_id || ' -> ' || target_id", EDGE),
    "users": ("id", "SELECT max(id::text) FROM users WHERE handle <> 'local'"),
    "group_memberships": (
        "user_id || ' -> ' || group_id", "SELECT min(user_id || ' -> ' || group_id) FROM group_memberships"
    ),
    "knowledge_nodes": ("id", "SELECT id FROM knowledge_nodes ORDER BY created_at DESC, id LIMIT 1"),
}  # fmt: skip
"""A row of each table: what it is found by, and which one."""


@pytest.mark.old_server
@pytest.mark.holds("a copy")
def test_a_deleted_row_of_any_table_is_missing(source: Path, copy: Copier, verify: Verifier) -> None:
    ids = {table: verify.one(query) for table, (_, query) in DELETED.items()}
    verify.tamper(*(f"DELETE FROM {table} WHERE {key}::text = '{ids[table]}'" for table, (key, _) in DELETED.items()))
    report = verify(source)
    assert named(report) == sorted((table, id_, "missing", ()) for table, id_ in ids.items())
    assert {table: report.tables[table].missing for table in DELETED} == dict.fromkeys(DELETED, 1)
    assert report.exit_code == 1
    assert balanced(report)


@pytest.mark.holds("a copy")
def test_a_deleted_memory_takes_its_schedule_edges_and_events_along(
    source: Path, copy: Copier, verify: Verifier
) -> None:
    with psycopg.connect(copy.database) as connection:
        (memory,) = connection.execute("SELECT source_id FROM edges ORDER BY 1 LIMIT 1").fetchone() or ("",)
        lost = connection.execute(
            "SELECT 'scheduling', memory_id::text FROM scheduling WHERE memory_id = %(id)s"
            " UNION ALL SELECT 'edges', source_id || ' -> ' || target_id FROM edges"
            " WHERE %(id)s IN (source_id, target_id)"
            " UNION ALL SELECT 'review_events', id::text FROM review_events WHERE memory_id = %(id)s",
            {"id": memory},
        ).fetchall()
        connection.execute(LOST)
        connection.execute("DELETE FROM knowledge_nodes WHERE id = %s", (memory,))
    assert len(lost) >= 2
    report = verify(source)
    assert named(report) == sorted(
        (table, id_, "missing", ()) for table, id_ in [*lost, ("knowledge_nodes", str(memory))]
    )
    assert report.altered == []


@pytest.mark.holds("a copy")
def test_everything_gone(source: Path, copy: Copier, verify: Verifier) -> None:
    verify.tamper("TRUNCATE knowledge_nodes, scheduling, edges, review_events")
    report = verify(source)
    assert [report.tables[name].missing for name in ("knowledge_nodes", "scheduling", "edges", "review_events")] == [
        40, 40, 10, 10,
    ]  # fmt: skip
    assert report.altered == []
    assert report.search is not None
    assert report.search.no_recall == "no sampled memory has a vector"


EXTRAS = [
    ("knowledge_nodes", STRANGER, f"INSERT INTO knowledge_nodes (id, content) VALUES ('{STRANGER}', '{MARKER}')"),
    ("scheduling", STRANGER, f"INSERT INTO scheduling (memory_id) VALUES ('{STRANGER}')"),
    ("edges", f"{STRANGER} -> {STRANGER}", f"INSERT INTO edges VALUES ('{STRANGER}', '{STRANGER}', 'x', 1, now())"),
    (
        "review_events",
        STRANGER,
        f"INSERT INTO review_events (id, memory_id, occurred_at) VALUES ('{STRANGER}', '{STRANGER}', now())",
    ),
    ("domains", "other domain", "INSERT INTO domains (id, label) VALUES ('other domain', 'x')"),
    ("users", STRANGER, f"INSERT INTO users (id, handle) VALUES ('{STRANGER}', 'other')"),
    ("groups", STRANGER, f"INSERT INTO groups (id, handle) VALUES ('{STRANGER}', 'other')"),
    (
        "group_memberships",
        f"{STRANGER} -> {STRANGER}",
        f"INSERT INTO group_memberships VALUES ('{STRANGER}', '{STRANGER}', 'member', now())",
    ),
]


@pytest.mark.holds("a copy")
def test_an_extra_row_of_any_table_is_named(source: Path, copy: Copier, verify: Verifier) -> None:
    verify.tamper(*(statement for _, _, statement in EXTRAS))
    report = verify(source)
    assert named(report) == sorted((table, id_, "extra", ()) for table, id_, _ in EXTRAS)
    assert {table: report.tables[table].extra for table, _, _ in EXTRAS} == {table: 1 for table, _, _ in EXTRAS}
    assert report.exit_code == 1


@pytest.mark.holds("a copy")
def test_one_row_lost_and_another_one_there_instead(source: Path, copy: Copier, verify: Verifier) -> None:
    memory = verify.one(FIRST)
    verify.tamper(f"UPDATE knowledge_nodes SET id = '{STRANGER}' WHERE id = '{memory}'")
    assert named(verify(source)) == sorted(
        [("knowledge_nodes", memory, "missing", ()), ("knowledge_nodes", STRANGER, "extra", ())]
    )


def test_an_extra_row_is_named_where_a_row_of_the_source_is_there_twice(
    source: Path, copy: Copier, verify: Verifier
) -> None:
    """The counts of both sides agree then, and so do the ends of the ids, which of some kinds of UUID are all alike."""
    memory, event = memory_id(source), "aaaaaaaa-0000-1000-8000-0242ac120002"
    alike = "bbbbbbbb" + memory[8:], "cccccccc" + event[8:]
    edit(
        source,
        ("UPDATE review_events SET id = ? WHERE rowid = 3", (event,)),
        *(
            (f"CREATE TEMP TABLE t AS SELECT * FROM {table} WHERE id = '{id_}'", ())
            if step == 0
            else (("UPDATE t SET id = upper(id)", f"INSERT INTO {table} SELECT * FROM t", "DROP TABLE t")[step - 1], ())
            for table, id_ in (("knowledge_nodes", memory), ("review_events", event))
            for step in range(4)
        ),
    )
    assert copy(source).errors == []
    assert verify(source).same
    verify.tamper(
        f"INSERT INTO knowledge_nodes (id, content) VALUES ('{alike[0]}', '{MARKER}')",
        f"INSERT INTO review_events (id, memory_id, occurred_at) VALUES ('{alike[1]}', '{memory}', now())",
    )
    assert named(verify(source)) == sorted(
        [("knowledge_nodes", alike[0], "extra", ()), ("review_events", alike[1], "extra", ())]
    )


def test_a_table_that_the_source_lacks_holds_extra_rows(tmp_path: Path, copy: Copier, verify: Verifier) -> None:
    path = build_source(tmp_path / "vestige.db", replace(SPEC, line="released", version=35))
    copy(path)
    verify.tamper(f"INSERT INTO users (id, handle) VALUES ('{STRANGER}', 'other')")
    assert named(verify(path)) == [("users", STRANGER, "extra", ())]


def test_json_is_compared_as_jsonb_compares_it(source: Path, copy: Copier, verify: Verifier) -> None:
    texts = [
        '{"b": 1, "a": [1.50, 1e2, -0, -0.0, 1E-7, 0e5], "b": 2}',
        '{"longer": {"z": null, "\\u00e9": "\\u0007\\/\\u007f", "ab": true}, "k":"\\ud83d\\ude00"}',
        ' { "x" : [ ] , "y" : { } , "" : "" } ',
        '{"n": 12345678901234567890123456789.123456789012345678901234567890, "m": 1e-300, "big": 1e300}',
        '{"x": ' + "9" * 5000 + "}",
    ]
    statements = [
        ("UPDATE knowledge_nodes SET metadata = ? WHERE rowid = ?", (text, at + 1)) for at, text in enumerate(texts)
    ]
    edit(source, *statements)
    # The first one has a key twice, of which jsonb keeps the last.
    assert [error.column for error in copy(source).errors] == ["metadata"]
    report = verify(source)
    assert named(report) == []
    # Another form of the same numbers and another order of the keys are the same value to jsonb.
    verify.tamper("UPDATE knowledge_nodes SET metadata = metadata || '{\"b\": 2.000}' WHERE metadata ? 'b'")
    assert verify(source).same
    verify.tamper("UPDATE knowledge_nodes SET metadata = metadata || '{\"b\": 2.001}' WHERE metadata ? 'b'")
    assert [item.columns for item in verify(source).differences] == [("metadata",)]


def test_ids_that_several_rows_share(source: Path, copy: Copier, verify: Verifier) -> None:
    memory = memory_id(source)
    more = "INSERT INTO knowledge_nodes (id, content, created_at, updated_at) VALUES (?, ?, ?, '2030-01-01')"
    edit(source, (more, (memory.upper(), "other", "2030-01-01")), (more, (f"{{{memory}}}", "third", "2031-01-01")))
    assert len(copy(source, workers=1).errors) == 2
    report = verify(source)
    assert named(report) == []
    assert (report.tables["knowledge_nodes"].not_copied, report.tables["knowledge_nodes"].same) == (2, 40)
    assert balanced(report)
    assert report.exit_code == 1
    # A row too many is found all the same, and so is a change of the one that is there.
    verify.tamper(EXTRAS[0][2], f"UPDATE knowledge_nodes SET content = 'x' WHERE id = '{memory}'")
    changed = ("knowledge_nodes", memory, "different", ("content",))
    found = named(verify(source))
    assert [item for item in found if item[2] == "extra"] == [("knowledge_nodes", STRANGER, "extra", ())]
    assert changed in found


def memory_id(path: Path) -> str:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute("SELECT id FROM knowledge_nodes WHERE rowid = 6").fetchone()
    return str(found)


def test_nothing_of_the_content_is_told(source: Path, copy: Copier, verify: Verifier) -> None:
    edit(source, ("UPDATE knowledge_nodes SET content = ? || rowid, node_type = ?, codebase = ?", (MARKER,) * 3))
    copy(source)
    verify.tamper(
        f"UPDATE knowledge_nodes SET content = '{MARKER}' || content, tags = '{{{MARKER}}}',"
        f' metadata = \'{{"{MARKER}": "{MARKER}"}}\', domain_scores = \'{{"{MARKER}": 1}}\'',
        f"UPDATE edges SET edge_type = '{MARKER}'",
        f"UPDATE users SET handle = '{MARKER}' || id, display_name = '{MARKER}'",
        EXTRAS[0][2],
    )
    lines: list[object] = []
    sink = logger.add(lines.append, level="TRACE", backtrace=True, diagnose=False)
    try:
        report = verify(source)
    finally:
        logger.remove(sink)
    assert len(report.differences) > 40
    assert len(lines) > 40
    assert MARKER not in json.dumps(report.as_json())
    assert MARKER not in "".join(map(str, lines))


def test_a_destination_without_tables_is_refused(source: Path, verify: Verifier) -> None:
    with pytest.raises(DestinationUnusable, match="nothing was copied there yet"):
        verify(source)


def test_no_copy_runs_meanwhile_and_comparisons_do_not_disturb_each_other(
    source: Path, copy: Copier, verify: Verifier
) -> None:
    copy(source)
    with connect(copy.database, "test") as other:
        schema.take_shared_lock(other)
        assert verify(source).same
        with pytest.raises(DestinationBusy):
            copy(source)
        schema.release_shared_lock(other)
        schema.take_lock(other)
        with pytest.raises(DestinationBusy, match="verify again"):
            verify(source)


def test_a_role_that_may_only_read_can_verify(source: Path, copy: Copier, verify: Verifier) -> None:
    edit(source, ("UPDATE knowledge_nodes SET visibility = 'secret', tags = 'x' WHERE rowid IN (3, 4)", ()))
    edit(source, ("UPDATE knowledge_nodes SET visibility = 'private' WHERE rowid = 4", ()))
    copy(source)
    role = f"reader_{verify.one('SELECT md5(current_database())')}"
    name = verify.one("SELECT current_database()")
    with psycopg.connect(copy.database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        try:
            reader = make_conninfo(copy.database, user=role)
            assert (named(report := Verifier(reader)(source)), report.tables["knowledge_nodes"].not_copied) == ([], 1)
            # Without the right to make temporary tables PostgreSQL cannot be asked: what is not there is then missing.
            connection.execute(f'REVOKE TEMPORARY ON DATABASE "{name}" FROM PUBLIC')
            report = Verifier(reader)(source)
            assert [(item.table, str(item.kind)) for item in report.differences if item.table == "knowledge_nodes"] == [
                ("knowledge_nodes", "missing")
            ]
        finally:
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")


@pytest.mark.holds("a copy")
def test_a_changing_source_is_said(source: Path, copy: Copier, verify: Verifier) -> None:
    changed = False

    def change(progress: Progress) -> None:
        nonlocal changed
        if not changed and progress.done:
            changed = True
            edit(source, ("UPDATE scheduling SET reps = reps + 1", ()))

    report = verify_sqlite_to_postgres(SqliteToPostgresPlan(source, copy.database, workers=1), change)
    assert report.source_changed
    assert report.complete


def test_several_files(tmp_path: Path, copy: Copier, verify: Verifier) -> None:
    spec = SourceSpec(memories=30, schedules=30, edges=10, events=10, extra_users=0, groups=0, memberships=0)
    paths = [
        build_source(tmp_path / f"{seed}.db", replace(spec, seed=seed, domains=2 if seed == 1 else 0))
        for seed in (1, 2)
    ]
    for path in paths:
        copy(path)
    report = verify(*paths)
    assert named(report) == []
    assert report.tables["knowledge_nodes"].same == 60
    assert [source["path"] for source in report.as_json()["sources"]] == [str(path) for path in paths]
    # Seen from one of them, the other's rows are extra.
    assert verify(paths[0]).tables["knowledge_nodes"].extra == 30
    verify.tamper(EXTRAS[0][2])
    assert named(verify(*paths)) == [("knowledge_nodes", STRANGER, "extra", ())]


def test_a_memory_that_two_files_share_with_two_contents(tmp_path: Path, copy: Copier, verify: Verifier) -> None:
    spec = SourceSpec(memories=10, schedules=10, edges=0, events=0, extra_users=0, groups=0, memberships=0)
    paths = [build_source(tmp_path / f"{name}.db", spec) for name in ("a", "b")]
    edit(paths[1], ("UPDATE knowledge_nodes SET content = 'newer' WHERE rowid < 4", ()))
    for path in paths:
        copy(path)
    report = verify(*paths)
    assert named(report) == []
    assert report.tables["knowledge_nodes"].not_copied == 3
    assert not report.same
    verify.tamper("UPDATE knowledge_nodes SET content = 'tampered'")
    assert {item.kind for item in verify(*paths).differences} == {"different"}


@pytest.mark.parametrize("options", [{"codebase": "alpha"}, {"owner": "somebody"}])
def test_what_the_copy_was_given_for_the_defaults(
    source: Path, copy: Copier, verify: Verifier, options: dict[str, str]
) -> None:
    copy(source, **options)
    assert named(verify(source, **options)) == []
    without = verify(source)
    assert {item.columns for item in without.differences if item.table == "knowledge_nodes"} == {
        ("codebase",) if "codebase" in options else ("owner_user_id",)
    }
