"""What a destination's own triggers and constraints refuse, drop or change: named, and nothing else is lost with it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from loguru import logger

from tests.conftest import Copier
from tests.integration.test_bad_rows import balanced
from tests.support.compare import stored
from tests.support.sources import SourceSpec, build_source, edit, node_id
from tests.support.triggers import MARKER, add_trigger, ask, run_sql
from vestige_migrate import MigrationReport, SqliteToPostgresPlan, run_several_to_postgres
from vestige_migrate.errors import DestinationUnusable, RangeFailed, WriteNotKept
from vestige_migrate.report.rows import Outcome, RowError
from vestige_migrate.tables import TABLES
from vestige_migrate.tables.base import BOOTSTRAP_USER
from vestige_migrate.tables.edges import KEY as EDGE_KEY

EMPTY = SourceSpec(memories=0, schedules=0, edges=0, events=0, extra_users=0, groups=0, memberships=0, domains=0)


@pytest.fixture
def made(database: str) -> str:
    """A destination with its tables and registry, and no row but the bootstrap user: of a test marked with `holds`."""
    return database


@pytest.fixture
def said() -> Iterator[list[Any]]:
    """The lines of the log."""
    lines: list[Any] = []
    sink = logger.add(lines.append, level="TRACE", backtrace=True, diagnose=False)
    yield lines
    logger.remove(sink)


def not_copied(report: MigrationReport, table: str) -> dict[str, RowError]:
    found = [error for error in report.errors if error.table == table and error.outcome is Outcome.NOT_COPIED]
    assert len({error.id for error in found}) == len(found), "an error is said twice"
    assert report.tables[table].failed == len(found)
    return {error.id: error for error in found}


def as_key(id_: str) -> str:
    """The id of an error, the parts of its key joined as the tests join them."""
    return id_.replace(" -> ", ":")


def assert_the_others_are_there(report: MigrationReport, path: Path, url: str, *tables: str) -> None:
    """Every row of the source is in the destination or named as not copied, and no other row is there."""
    there = stored(url)
    for table in tables:
        key = ", ".join(TABLES[table].key)
        with closing(sqlite3.connect(path)) as connection:
            ours = {":".join(row) for row in connection.execute(f"SELECT {key} FROM {table}")}
        theirs = {":".join(map(str, row)) for row in there[table]}
        refused = {as_key(id_) for id_ in not_copied(report, table)}
        assert theirs | refused == ours, table
        assert not theirs & refused, table
    assert balanced(report)


@contextmanager
def only_trigger(url: str, table: str, body: str, level: str) -> Iterator[None]:
    """A trigger of the table for as long as the context lasts."""
    add_trigger(url, body, table, level=level)
    yield
    of_others = "NOT tgisinternal AND tgname <> 'vestige_tombstones'"
    [(name,)] = ask(url, f"SELECT tgname FROM pg_trigger WHERE tgrelid = '{table}'::regclass AND {of_others}")
    run_sql(url, f"DROP FUNCTION {name} CASCADE")


RAISED = (
    "P0001", "P0002", "42501", "42P01", "28000", "U0001", "XX999", "ZZ000", "0A000", "23514", "23505", "22012",
    "2F005", "38001", "25006", "57014", "57P01", "08006", "40001", "40P01", "53100", "53200", "55P03",
)  # fmt: skip
NATURAL = {
    "divide": ("22012", "PERFORM 1 / (length(NEW.content) - length(NEW.content));"),
    "no table": ("42P01", "PERFORM * FROM a_table_that_is_not_there;"),
    "no right": ("42501", "SET LOCAL ROLE pg_monitor; PERFORM * FROM users; RESET ROLE;"),
    "no row": ("P0002", "SELECT id INTO STRICT found FROM users WHERE handle = NEW.content;"),
    "assert": ("P0004", "ASSERT NEW.content = 'x', NEW.content;"),
    "lock": ("55P03", "RAISE lock_not_available;"),
    "other unique": ("23505", "INSERT INTO users (id, handle) VALUES (gen_random_uuid(), 'local');"),
}


@pytest.mark.holds("our tables")
def test_a_row_for_which_a_trigger_fails_is_named_whatever_it_raises_and_the_others_come_over(
    source: Path, copy: Copier, made: str, said: list[Any]
) -> None:
    """With no try left, what might pass by itself is looked into as well."""
    add_trigger(
        made,
        f"""
        IF NEW.content LIKE 'raise%' THEN
            RAISE EXCEPTION '%', NEW.content
                USING ERRCODE = split_part(NEW.content, ' ', 2), DETAIL = NEW.content, HINT = NEW.content,
                      CONSTRAINT = NEW.content, COLUMN = NEW.content, TABLE = NEW.content;
        END IF;
        {" ".join(f"IF NEW.content = '{name} {MARKER}' THEN {body} END IF;" for name, (_, body) in NATURAL.items())}
        RETURN NEW;
        """,
        "knowledge_nodes",
        declare="found uuid;",
    )
    wanted = {f"raise {state} {MARKER}": state for state in RAISED}
    wanted |= {f"{name} {MARKER}": state for name, (state, _) in NATURAL.items()}
    edit(
        source,
        *(
            ("UPDATE knowledge_nodes SET content = ? WHERE rowid = ?", (content, rowid))
            for rowid, content in enumerate(wanted, 3)
        ),
        ("UPDATE knowledge_nodes SET tags = ? WHERE rowid = 1", (MARKER,)),
    )
    report = copy(source, retries=1)
    refused = not_copied(report, "knowledge_nodes")
    assert {id_: error.sqlstate for id_, error in refused.items()} == {
        node_id(source, rowid): state for rowid, state in enumerate(wanted.values(), 3)
    }
    assert all(error.column is None for error in refused.values())
    assert all("trigger" in refused[node_id(source, rowid)].message for rowid in range(3, 3 + len(RAISED)))
    assert_the_others_are_there(report, source, made, *TABLES)
    assert [error.column for error in report.errors if error.outcome is Outcome.COPIED_WITHOUT_VALUE] == ["tags"]
    assert report.exit_code == 1
    assert MARKER not in json.dumps(report.as_json()) + "".join(map(str, said))


@pytest.mark.holds("our tables")
def test_what_a_trigger_calls_transient_is_tried_again_before_its_row_is_blamed(
    source: Path, copy: Copier, made: str, said: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vestige_migrate.workers.backlog.FIRST_BACKOFF_SECONDS", 0.01)
    run_sql(made, "CREATE SEQUENCE tries")
    add_trigger(
        made,
        "IF NEW.kind = 'busy' THEN PERFORM nextval('tries'); RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END IF;"
        " IF NEW.kind = 'passes' AND nextval('tries') < 2 THEN RAISE lock_not_available; END IF; RETURN NEW;",
        "review_events",
    )
    edit(source, ("UPDATE review_events SET kind = 'passes' WHERE rowid = 4", ()))
    assert copy(source, workers=1).errors == []
    edit(
        source,
        ("INSERT INTO review_events SELECT ?, memory_id, occurred_at, retrievability_before, retrievability_after,"
         " rating, 'busy', metadata FROM review_events WHERE rowid = 1", (str(UUID(int=1)),)),
    )  # fmt: skip
    run_sql(made, "DELETE FROM review_events", "ALTER SEQUENCE tries RESTART")
    report = copy(source, workers=1, retries=2)
    assert [error.sqlstate for error in not_copied(report, "review_events").values()] == ["40001"]
    assert_the_others_are_there(report, source, made, "review_events")
    assert [sum(f"try 2 of {retries}" in str(line) for line in said) for retries in (5, 2)] == [1, 1]


@pytest.mark.parametrize("batch_size", [1, 500])
@pytest.mark.holds("our tables")
def test_a_refused_row_of_any_table_takes_no_other_along(
    source: Path, copy: Copier, made: str, batch_size: int
) -> None:
    """Also where the row is all that a batch, or the table, has."""
    edit(
        source,
        ("DELETE FROM domains WHERE rowid > 1", ()),
        ("DELETE FROM group_memberships WHERE rowid > 1", ()),
        ("UPDATE group_memberships SET user_id = ?, group_id = (SELECT id FROM groups WHERE rowid = 2)",
         (BOOTSTRAP_USER,)),
        ("UPDATE knowledge_nodes SET owner_user_id = NULL", ()),
    )  # fmt: skip
    kept = {node_id(source, 1, "scheduling", "memory_id"), *(node_id(source, 1, "edges", part) for part in EDGE_KEY)}
    kept.add(node_id(source, 1, "review_events", "memory_id"))
    rowids = dict.fromkeys(TABLES, 1)
    rowids["knowledge_nodes"] = next(rowid for rowid in range(1, 41) if node_id(source, rowid) not in kept)
    bad = {table: node_id(source, rowids[table], table, TABLES[table].key[-1]) for table in TABLES if table != "users"}
    rules = " ".join(
        f"WHEN '{table}' THEN IF to_jsonb(NEW) ->> '{TABLES[table].key[-1]}' = '{id_}' THEN"
        " RAISE EXCEPTION USING ERRCODE = '42501'; END IF;"
        for table, id_ in bad.items()
    )
    add_trigger(made, f"CASE TG_TABLE_NAME {rules} END CASE; RETURN NEW;", *bad)
    add_trigger(made, "IF NEW.handle <> 'local' THEN RAISE EXCEPTION ''; END IF; RETURN NEW;", "users")
    report = copy(source, batch_size=batch_size)
    for table, id_ in bad.items():
        refused = [error for error in not_copied(report, table).values() if error.sqlstate == "42501"]
        assert refused, table
        assert all(id_ in error.id for error in refused)
    assert {error.message for error in not_copied(report, "users").values()} == {
        "raise exception (SQLSTATE P0001): a trigger or function of the destination's own raised it"
    }
    assert len(not_copied(report, "users")) == 3
    assert_the_others_are_there(report, source, made, *TABLES)


@pytest.mark.holds("our tables")
def test_what_is_checked_only_at_commit_is_halved_like_anything_else(source: Path, copy: Copier, made: str) -> None:
    """Edges need their reverse, which comes later in the batch: fine as a whole, and fine beside one without."""
    run_sql(
        made,
        "ALTER TABLE scheduling ADD CONSTRAINT own_reps UNIQUE (reps, lapses, stability) DEFERRABLE INITIALLY DEFERRED",
        "ALTER TABLE knowledge_nodes ALTER CONSTRAINT knowledge_nodes_owner_user_id_fkey DEFERRABLE INITIALLY DEFERRED",
        "ALTER TABLE edges ADD CONSTRAINT own_reverse FOREIGN KEY (target_id, source_id)"
        " REFERENCES edges (source_id, target_id) DEFERRABLE INITIALLY DEFERRED",
        "ALTER TABLE domains ADD CONSTRAINT own_label EXCLUDE USING btree (label WITH =) DEFERRABLE INITIALLY DEFERRED",
    )
    late = "AFTER INSERT DEFERRABLE INITIALLY DEFERRED"
    add_trigger(made, f"IF NEW.kind = '{MARKER}' THEN RAISE EXCEPTION '%', NEW.kind; END IF; RETURN NULL;",
                "review_events", when=late, kind="CONSTRAINT")  # fmt: skip
    edit(
        source,
        ("UPDATE knowledge_nodes SET owner_user_id = '11111111-2222-3333-4444-555555555555' WHERE rowid = 7", ()),
        ("UPDATE knowledge_nodes SET tags = 'not JSON' WHERE rowid IN (7, 8)", ()),
        ("UPDATE scheduling SET reps = rowid", ()),
        ("UPDATE scheduling SET reps = 5, lapses = 1, stability = 2.5 WHERE rowid IN (5, 6)", ()),
        ("UPDATE domains SET label = 'same' WHERE rowid IN (1, 2)", ()),
        ("UPDATE review_events SET kind = ? WHERE rowid = 3", (MARKER,)),
        ("DELETE FROM edges WHERE rowid > 4", ()),
        ("INSERT OR IGNORE INTO edges SELECT target_id, source_id, edge_type, weight, created_at FROM edges"
         " WHERE rowid > 1", ()),
    )  # fmt: skip
    lonely = ":".join(node_id(source, 1, "edges", column) for column in TABLES["edges"].key)
    seventh = node_id(source, 7)
    edit(source, *((f"DELETE FROM {table} WHERE ? IN ({', '.join(TABLES[table].key)})", (seventh,))
                   for table in ("scheduling", "edges")),
         ("DELETE FROM review_events WHERE memory_id = ?", (seventh,)))  # fmt: skip
    report = copy(source)
    refused = {table: not_copied(report, table) for table in TABLES}
    assert {id_: error.sqlstate for id_, error in refused["knowledge_nodes"].items()} == {seventh: "23503"}
    assert [error.sqlstate for error in refused["scheduling"].values()] == ["23505"]
    assert [error.sqlstate for error in refused["domains"].values()] == ["23P01"]
    assert [error.sqlstate for error in refused["review_events"].values()] == ["P0001"]
    assert {as_key(id_): error.sqlstate for id_, error in refused["edges"].items()} == {lonely: "23503"}
    altered = [error.id for error in report.errors if error.outcome is Outcome.COPIED_WITHOUT_VALUE]
    assert altered == [node_id(source, 8)]
    assert_the_others_are_there(report, source, made, *TABLES)
    assert MARKER not in json.dumps(report.as_json())


@pytest.mark.holds("our tables")
def test_what_fails_without_any_row_or_for_every_row_stops_the_run_at_once(
    source: Path, copy: Copier, made: str
) -> None:
    run_sql(made, "CREATE SEQUENCE tries")
    for case in (
        ("STATEMENT", "RAISE EXCEPTION 'closed';"),
        ("STATEMENT", "RAISE EXCEPTION 'closed' USING ERRCODE = '42501';"),
        ("ROW", "PERFORM * FROM a_table_that_is_not_there; RETURN NEW;"),
    ):
        level, body = case
        with only_trigger(made, "knowledge_nodes", f"PERFORM nextval('tries'); {body}", level):
            with pytest.raises(RangeFailed, match="SQLSTATE"):
                copy(source, workers=1)
            [(tries,)] = ask(made, "SELECT last_value FROM tries")
            assert isinstance(tries, int)
            assert 1 <= tries < 40 * 6, case
            assert stored(made)["knowledge_nodes"] == {}, case
        run_sql(made, "ALTER SEQUENCE tries RESTART")


@pytest.mark.holds("our tables")
def test_the_first_rows_may_all_be_refused_where_later_ones_go_in(source: Path, copy: Copier, made: str) -> None:
    add_trigger(
        made,
        "IF NEW.reps >= 0 THEN PERFORM * FROM a_table_that_is_not_there; END IF; RETURN NEW;",
        "scheduling",
    )
    edit(source, ("UPDATE scheduling SET reps = CASE WHEN rowid <= 30 THEN 1 ELSE -1 END", ()))
    report = copy(source, batch_size=25, workers=1)
    assert len(not_copied(report, "scheduling")) == 30
    assert_the_others_are_there(report, source, made, *TABLES)
    # Once more: every row that is presented now is refused.
    assert len(not_copied(copy(source, batch_size=25), "scheduling")) == 30


@pytest.mark.holds("our tables")
def test_rows_that_a_trigger_stores_under_another_key_are_named_and_do_not_stay(
    source: Path, copy: Copier, made: str
) -> None:
    add_trigger(made, "IF NEW.tags = '{}' THEN NEW.id := gen_random_uuid(); END IF; RETURN NEW;", "knowledge_nodes")
    add_trigger(made, "IF NEW.rating < 3 THEN NEW.id := gen_random_uuid(); END IF; RETURN NEW;", "review_events")
    add_trigger(made, "DELETE FROM domains WHERE id = NEW.id; RETURN NULL;", "domains", when="AFTER INSERT")
    add_trigger(made, "NEW.handle := upper(NEW.handle); RETURN NEW;", "groups")
    edit(source, ("UPDATE knowledge_nodes SET tags = CASE WHEN rowid % 5 = 0 THEN '[]' ELSE '[\"a\"]' END", ()),
         ("UPDATE review_events SET rating = rowid % 4", ()))  # fmt: skip
    report = copy(source)
    assert set(not_copied(report, "knowledge_nodes")) == {node_id(source, rowid) for rowid in range(5, 41, 5)}
    assert all("trigger" in error.message for error in not_copied(report, "knowledge_nodes").values())
    events = not_copied(report, "review_events")
    assert {node_id(source, rowid, "review_events") for rowid in range(1, 11) if rowid % 4 < 3} <= set(events)
    assert len(not_copied(report, "domains")) == 5
    assert_the_others_are_there(report, source, made, *TABLES)
    copy(source)
    assert_the_others_are_there(report, source, made, *TABLES)


@pytest.mark.holds("our tables")
def test_values_that_a_trigger_changes_on_their_way_in_are_named(source: Path, copy: Copier, made: str) -> None:
    """Before the row is stored or after it, of one column or of two; what is only looked at is no error."""
    add_trigger(made, "IF NEW.reps > 5 THEN NEW.reps := 5; NEW.lapses := NEW.lapses + 1; END IF; RETURN NEW;",
                "scheduling")  # fmt: skip
    add_trigger(made, "UPDATE knowledge_nodes SET content = lower(content) WHERE id = NEW.id; RETURN NULL;",
                "knowledge_nodes", when="AFTER INSERT")  # fmt: skip
    add_trigger(made, "PERFORM length(NEW.edge_type); RETURN NEW;", "edges")
    edit(source, ("UPDATE scheduling SET reps = rowid", ()),
         ("UPDATE knowledge_nodes SET content = 'small ' || rowid WHERE rowid > 3", ()),
         ("UPDATE knowledge_nodes SET content = 'Capital ' || rowid WHERE rowid <= 3", ()))  # fmt: skip
    report = copy(source, batch_size=7)
    assert report.exit_code == 1
    assert {str(error.outcome) for error in report.errors} == {"copied_without_value"}
    named = {(error.table, error.column) for error in report.errors}
    assert named == {("scheduling", "reps"), ("scheduling", "lapses"), ("knowledge_nodes", "content")}
    assert {error.id for error in report.errors if error.table == "knowledge_nodes"} == {
        node_id(source, rowid) for rowid in (1, 2, 3)
    }
    assert len(report.errors) == 2 * 35 + 3
    assert all("a trigger of the destination's own changed it" in error.message for error in report.errors)
    assert not any("capital" in error.message.lower() for error in report.errors)
    assert balanced(report)


def test_an_update_that_a_trigger_refuses_or_drops_is_named(source: Path, copy: Copier) -> None:
    copy(source)
    url = copy.database
    refused, dropped, alone = (node_id(source, rowid) for rowid in (3, 4, 5))
    add_trigger(
        url,
        f"IF NEW.id = '{refused}' THEN RAISE EXCEPTION ''; END IF; IF NEW.id = '{dropped}' THEN RETURN NULL; END IF;"
        " RETURN NEW;",
        "knowledge_nodes",
        when="BEFORE UPDATE",
    )
    add_trigger(url, f"IF NEW.memory_id = '{alone}' THEN RETURN NULL; END IF; RETURN NEW;", "scheduling",
                when="BEFORE UPDATE")  # fmt: skip
    add_trigger(url, "IF NEW.weight = 0.25 THEN RAISE EXCEPTION ''; END IF; RETURN NULL;", "edges", kind="CONSTRAINT",
                when="AFTER UPDATE DEFERRABLE INITIALLY DEFERRED")  # fmt: skip
    edit(
        source,
        ("UPDATE knowledge_nodes SET content = 'new', updated_at = '2031-01-01T00:00:00Z' WHERE rowid < 10", ()),
        ("UPDATE edges SET weight = 0.25 WHERE rowid = 2", ()),
        ("UPDATE edges SET weight = 0.125 WHERE rowid <> 2", ()),
    )
    report = copy(source, on_conflict="newer")
    found = not_copied(report, "knowledge_nodes")
    assert {id_: error.sqlstate for id_, error in found.items()} == {refused: "P0001", dropped: None}
    assert [error.sqlstate for error in not_copied(report, "edges").values()] == ["P0001"]
    assert [error.id for error in report.errors if error.table == "scheduling"] == [alone]
    nodes, edges = report.tables["knowledge_nodes"], report.tables["edges"]
    assert (nodes.updated, nodes.failed, edges.updated) == (7, 2, 9)
    there = stored(url)["knowledge_nodes"]
    assert {row["content"] == "new" for key, row in there.items() if str(key[0]) in (refused, dropped)} == {False}
    assert sum(row["content"] == "new" for row in there.values()) == 7


INTENTIONS = "CREATE TABLE intentions (id TEXT PRIMARY KEY, content TEXT NOT NULL)"


def with_intentions(path: Path) -> Path:
    edit(path, (INTENTIONS, ()),
         *(("INSERT INTO intentions VALUES (?, ?)", (f"i{at}", f"text {at}")) for at in range(9)))  # fmt: skip
    return path


@pytest.mark.holds("our tables")
def test_the_archive_counts_what_is_there_and_names_what_is_not(
    source: Path, copy: Copier, made: str, said: list[Any]
) -> None:
    with_intentions(source)
    copy(build_source(source.parent / "other.db", EMPTY), archive=True)
    add_trigger(
        made,
        """CASE NEW.row_key
            WHEN 'i1' THEN RETURN NULL;
            WHEN 'i2' THEN NEW.row_key := gen_random_uuid();
            WHEN 'i3' THEN NEW.row := '{}';
            WHEN 'i4' THEN RAISE EXCEPTION 'says %', NEW.row USING ERRCODE = '57P01';
            WHEN 'i5' THEN PERFORM * FROM a_table_that_is_not_there;
            ELSE NULL;
        END CASE; RETURN NEW;""",
        "vestige_archive",
    )
    add_trigger(made, "IF NEW.row_key = 'i6' THEN RAISE EXCEPTION 'late'; END IF; RETURN NULL;", "vestige_archive",
                kind="CONSTRAINT", when="AFTER INSERT DEFERRABLE INITIALLY DEFERRED")  # fmt: skip
    for _ in range(2):  # nothing of what was refused stays, so it is the same again
        report = copy(source, archive=True)
        assert {error.id: error.sqlstate for error in report.errors} == {
            "i1": None, "i2": None, "i3": None, "i4": "57P01", "i5": "42P01", "i6": "P0001"
        }  # fmt: skip
        assert {error.outcome for error in report.errors} == {Outcome.NOT_COPIED}
        assert report.archived == {"intentions": 3}
        assert report.exit_code == 1
        assert ask(made, "SELECT row_key FROM vestige_archive ORDER BY 1") == [("i0",), ("i7",), ("i8",)]
    assert any("3 of 9 rows are there" in str(line) for line in said)


@pytest.mark.holds("our tables")
def test_rows_of_one_key_are_kept_beside_each_other_where_the_archive_has_triggers(
    source: Path, copy: Copier, made: str
) -> None:
    with_intentions(source)
    copy(source, archive=True)
    add_trigger(made, "RETURN NEW;", "vestige_archive")
    edit(source, ("UPDATE intentions SET content = 'changed' WHERE id = 'i1'", ()))
    for _ in range(2):
        report = copy(source, archive=True)
        assert (report.errors, report.archived) == ([], {"intentions": 9})
        assert ask(made, "SELECT count(*) FROM vestige_archive") == [(10,)]


@pytest.mark.holds("our tables")
@pytest.mark.parametrize(
    "body",
    ["RETURN NULL;", "NEW.name := 'another'; RETURN NEW;", "RAISE EXCEPTION '%', NEW.name USING ERRCODE = '57P03';"],
)
def test_a_model_that_the_destination_does_not_take_is_said_by_name(
    source: Path, copy: Copier, made: str, body: str
) -> None:
    run_sql(made, "DELETE FROM embedding_model")
    add_trigger(made, body, "embedding_model")
    with pytest.raises(WriteNotKept, match="the model in embedding_model"):
        copy(source)
    assert ask(made, "SELECT count(*) FROM embedding_model") == [(0,)]
    assert stored(made)["knowledge_nodes"] == {}


@pytest.mark.holds("our tables")
@pytest.mark.parametrize("body", ["RETURN NULL;", "RAISE EXCEPTION 'no';", "NEW.id := gen_random_uuid(); RETURN NEW;"])
def test_a_user_whom_the_run_needs_and_the_destination_does_not_take_is_said_by_name(
    source: Path, copy: Copier, made: str, body: str
) -> None:
    add_trigger(made, body, "users")
    with pytest.raises(WriteNotKept, match=r"the user zoë .*--owner"):
        copy(source, owner="zoë")
    handle = _handle(source)
    with pytest.raises(WriteNotKept, match="--owner"):
        copy(source, owner=handle)
    empty = build_source(source.parent / "other.db", EMPTY)
    with pytest.raises(WriteNotKept, match="--owner"):
        run_several_to_postgres([SqliteToPostgresPlan(path, made, workers=1, owner=handle) for path in (empty, source)])
    run_sql(made, "DELETE FROM users")
    with pytest.raises(DestinationUnusable, match=r"\(local\).* cannot be made"):
        copy(source)
    assert ask(made, "SELECT count(*) FROM users") == [(0,)]
    assert stored(made)["knowledge_nodes"] == {}


@pytest.mark.holds("our tables")
def test_a_local_user_with_another_id_is_said_by_name_and_does_for_a_copy_with_an_owner(
    source: Path, copy: Copier, made: str
) -> None:
    run_sql(made, f"UPDATE users SET id = '{UUID(int=5)}'")
    with pytest.raises(DestinationUnusable, match="another user has the handle local"):
        copy(source)
    edit(source, ("DELETE FROM users WHERE handle = 'local'", ()), ("DELETE FROM group_memberships", ()))
    assert copy(source, owner="me").errors == []


def _handle(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT handle FROM users WHERE handle <> 'local'").fetchone()[0])


@pytest.mark.holds("our tables")
def test_rules_that_would_swallow_rows_are_refused_before_anything_is_written(
    source: Path, copy: Copier, made: str
) -> None:
    with_intentions(source)
    copy(build_source(source.parent / "other.db", EMPTY), archive=True)
    for table, rule in (
        ("edges", "ON INSERT TO edges DO INSTEAD NOTHING"),
        ("users", "ON UPDATE TO users DO ALSO SELECT 1"),
        ("vestige_archive", "ON INSERT TO vestige_archive DO INSTEAD NOTHING"),
    ):
        run_sql(made, f"CREATE RULE own AS {rule}")
        with pytest.raises(DestinationUnusable, match=rf"{table} .*rule"):
            copy(source, archive=True)
        assert {name: len(rows) for name, rows in stored(made).items() if rows} == {"users": 1}, table
        run_sql(made, f"DROP RULE own ON {table}")


@pytest.mark.holds("our tables")
def test_an_archive_that_is_closed_is_said_by_name(source: Path, copy: Copier, made: str) -> None:
    with_intentions(source)
    copy(build_source(source.parent / "other.db", EMPTY), archive=True)
    add_trigger(made, "RAISE EXCEPTION 'closed';", "vestige_archive", level="STATEMENT")
    with pytest.raises(WriteNotKept, match="rows of intentions in vestige_archive"):
        copy(source, archive=True)


@pytest.mark.holds("our tables")
def test_a_value_that_a_trigger_refuses_is_left_out_where_the_memory_goes_in_without_it(
    source: Path, copy: Copier, made: str
) -> None:
    """One of the triggers speaks at once, the other when the transaction ends."""
    add_trigger(made, "IF NEW.tags @> '{now}' THEN RAISE EXCEPTION 'x'; END IF; RETURN NEW;", "knowledge_nodes")
    add_trigger(made, "IF NEW.domains @> '{late}' THEN RAISE EXCEPTION 'x'; END IF; RETURN NEW;", "knowledge_nodes",
                kind="CONSTRAINT", when="AFTER INSERT DEFERRABLE INITIALLY DEFERRED")  # fmt: skip
    edit(
        source,
        ("UPDATE knowledge_nodes SET tags = '[\"now\"]' WHERE rowid = 3", ()),
        ("UPDATE knowledge_nodes SET domains = '[\"late\"]' WHERE rowid = 4", ()),
    )
    report = copy(source)
    assert {(error.id, error.column, error.outcome) for error in report.errors} == {
        (node_id(source, 3), "tags", Outcome.COPIED_WITHOUT_VALUE),
        (node_id(source, 4), "domains", Outcome.COPIED_WITHOUT_VALUE),
    }
    assert_the_others_are_there(report, source, made, *TABLES)


@pytest.mark.holds("our tables")
def test_a_row_that_a_trigger_deletes_later_is_named_and_not_counted_as_copied(
    tmp_path: Path, made: str, copy: Copier
) -> None:
    """Of an earlier batch, and of another table: the batch that brought the row had found it there."""
    path = build_source(tmp_path / "vestige.db", SourceSpec(memories=60, schedules=60, edges=20, events=20))
    latest = "DELETE FROM review_events WHERE ctid IN (SELECT ctid FROM review_events ORDER BY ctid DESC OFFSET 5);"
    add_trigger(made, latest + " RETURN NULL;", "review_events", when="AFTER INSERT", level="STATEMENT")
    replaced = "DELETE FROM scheduling WHERE memory_id = NEW.source_id; RETURN NEW;"
    add_trigger(made, replaced, "edges")
    report = copy(path, batch_size=4, workers=1)
    assert report.exit_code == 1
    assert (report.tables["review_events"].inserted, report.tables["review_events"].failed) == (5, 15)
    assert 0 < report.tables["scheduling"].failed <= 20
    assert_the_others_are_there(report, path, made, "scheduling", "review_events", "edges", "knowledge_nodes")
    again = copy(path, batch_size=4, workers=1)
    assert again.tables["review_events"].failed == 15, "a second run names them too"
    assert_the_others_are_there(again, path, made, "scheduling", "review_events")
