"""The database that Vestige's own plan makes: taken as it is, and filled."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.conftest import CommandLine, Copier
from tests.integration.test_on_conflict import change_memories, counts
from tests.support.compare import moment
from tests.support.guest import Guest
from tests.support.own_schema import on_path
from tests.support.plan_schema import make_plan_database
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.triggers import ask, run_sql
from tests.support.verifying import Verifier, balanced, named
from vestige_migrate import DestinationUnusable

pytestmark = pytest.mark.in_process

_SPEC = SourceSpec(memories=60, schedules=60, edges=20, events=30)
_OF_VESTIGE = (
    "INSERT INTO review_events (memory_id, rating, prior_state, new_state) SELECT memory_id, 3, '{\"reps\": 1}',"
    " '{\"reps\": 2}' FROM scheduling ORDER BY memory_id LIMIT 1"
)
"""A review in the destination, as Vestige's program writes it."""


def edge_of_a_second_type(path: Path, *types: str | None) -> None:
    """The first edge once more with each of these types: a source whose key has the type in it, as the plan's has."""
    edit(path, ("ALTER TABLE edges RENAME TO old_edges", ()))
    edit(path, ("CREATE TABLE edges (source_id, target_id, edge_type TEXT, weight REAL, created_at TEXT)", ()))
    edit(path, ("INSERT INTO edges SELECT source_id, target_id, edge_type, weight, created_at FROM old_edges", ()))
    for at, kind in enumerate(types):
        edit(
            path,
            (
                "INSERT INTO edges SELECT source_id, target_id, ?, ?, created_at FROM old_edges WHERE rowid = 1",
                (kind, 0.25 + at / 8),
            ),
        )
    edit(path, ("DROP TABLE old_edges", ()))


def read(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def events_there(url: str) -> set[tuple[object, ...]]:
    """The destination's events in the columns that the source has them in."""
    rows = ask(url, "SELECT memory_id, timestamp, rating, prior_state, new_state FROM review_events")
    found = set[tuple[object, ...]]()
    for memory, at, rating, prior, new in rows:
        assert isinstance(prior, dict)
        assert isinstance(new, dict)
        assert set(prior) == {"retrievability", "kind", "id"}
        assert set(new) == {"retrievability", "metadata"}
        metadata = json.dumps(new["metadata"], sort_keys=True)
        numbers = prior["retrievability"], new["retrievability"]
        found.add((prior["id"], str(memory), at, *numbers, rating, prior["kind"], metadata))
    assert len(found) == len(rows)
    return found


def events_of(path: Path) -> set[tuple[object, ...]]:
    rows = read(
        path,
        "SELECT id, memory_id, occurred_at, retrievability_before, retrievability_after, rating, kind, metadata"
        " FROM review_events",
    )
    return {
        (id_, memory, moment(at), *middle, json.dumps(json.loads(metadata), sort_keys=True))
        for id_, memory, at, *middle, metadata in rows
    }


def indexes(url: str) -> set[str]:
    return {str(name) for (name,) in ask(url, "SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")}


@pytest.mark.indexed
def test_the_plans_database_is_filled_row_by_row_and_found_again(tmp_path: Path, copy: Copier) -> None:
    source = build_source(tmp_path / "vestige.db", _SPEC)
    edge_of_a_second_type(source, "causal of its own", None)
    edit(source, ("UPDATE review_events SET retrievability_before = 0.1 + 0.2, kind = ? WHERE rowid = 2", ("a\nb",)))
    make_plan_database(copy.database)
    before = indexes(copy.database)
    verify = Verifier(copy.database)

    looked = copy(source, dry_run=True)
    assert counts(looked, "review_events") == (30, 0, 0, 0)
    report = copy(source, archive=True)
    assert report.errors == []
    assert counts(report, "edges") == (22, 0, 0, 0)
    assert counts(report, "review_events") == (30, 0, 0, 0)
    assert events_there(copy.database) == events_of(source)
    there = ask(copy.database, "SELECT source_id::text, target_id::text, edge_type, weight FROM edges")
    wanted = "SELECT source_id, target_id, ifnull(edge_type, 'semantic'), weight FROM edges"
    assert sorted(there) == sorted(read(source, wanted))
    # One index for each that the plan lacks: the scope's, and the graph of the vectors that its second step makes.
    added = {"idx_knowledge_nodes_scope", "idx_knowledge_nodes_embedding_hnsw", "vestige_archive_pkey"}
    added.add("deletion_tombstones_pkey")
    of_record = {"vestige_run_pkey", "vestige_run_batch_row_xmin", "vestige_run_error_key"}
    assert indexes(copy.database) - before == added | of_record

    again = copy(source)
    assert [counts(again, name)[0] for name in again.tables] == [0] * len(again.tables)
    assert again.errors == []
    assert len(events_there(copy.database)) == 30
    run_sql(copy.database, _OF_VESTIGE, "UPDATE edges SET weight = 0.75 WHERE edge_type = 'causal of its own'")
    newer = copy(source, on_conflict="newer")  # it was changed here
    assert counts(newer, "edges") == (0, 0, 22, 0)
    assert [(row.table, row.column) for row in newer.kept] == [("edges", "weight")]
    assert counts(newer, "review_events") == (0, 0, 30, 0)
    assert counts(copy(source, on_conflict="source", yes=True), "edges") == (0, 1, 21, 0)

    found = verify(source)
    assert balanced(found)
    assert [(table, kind) for table, _, kind, _ in named(found)] == [("review_events", "extra")]
    (row,) = ask(copy.database, "SELECT max(id) FROM review_events")
    assert found.differences[0].id == f"ffffffff-ffff-ffff-0000-{row[0]:012d}"
    verify.tamper(
        "DELETE FROM review_events WHERE NOT prior_state ? 'id'",
        "DELETE FROM review_events WHERE id = (SELECT min(id) FROM review_events)",
        'UPDATE review_events SET new_state = new_state || \'{"metadata": {"other": 1}}\''
        " WHERE id = (SELECT max(id) FROM review_events)",
    )
    assert [(kind, columns) for _, _, kind, columns in named(verify(source))] in (
        [("missing", ()), ("different", ("metadata",))],
        [("different", ("metadata",)), ("missing", ())],
    )
    assert counts(copy(source), "review_events") == (1, 0, 29, 0)


def test_bad_rows_and_one_event_in_two_spellings_fare_as_they_do_in_tables_of_ours(
    tmp_path: Path, copy: Copier
) -> None:
    source = build_source(tmp_path / "vestige.db", _SPEC)
    edit(
        source,
        ("UPDATE review_events SET metadata = '{\"a\": NaN}', rating = 'good' WHERE rowid = 1", ()),
        ("UPDATE review_events SET memory_id = '11111111-2222-4333-8444-555555555555' WHERE rowid = 2", ()),
        ("UPDATE review_events SET id = 'no uuid' WHERE rowid = 3", ()),
        ("UPDATE review_events SET retrievability_after = -0.0 WHERE rowid = 5", ()),
        # As another program may have written it: once more, in upper case.
        ("INSERT INTO review_events SELECT upper(id), memory_id, occurred_at, retrievability_before,"
         " retrievability_after, rating, kind, metadata FROM review_events WHERE rowid = 4", ()),
    )  # fmt: skip
    orphan = read(source, "SELECT id FROM review_events WHERE rowid = 2")[0][0]
    make_plan_database(copy.database, "Théa's plan")
    digits = "ALTER ROLE CURRENT_USER IN DATABASE {} SET extra_float_digits = 0"
    run_sql(copy.database, digits.format(conninfo_to_dict(copy.database)["dbname"]))
    url = on_path(copy.database, "Théa's plan")
    report = copy(source, schema="Théa's plan")
    assert counts(report, "review_events") == (28, 0, 1, 2)
    refused = {error.id for error in report.errors if error.table == "review_events" and error.column == "memory_id"}
    assert refused == {orphan}
    assert ask(url, "SELECT count(*), count(DISTINCT prior_state ->> 'id') FROM review_events") == [(28, 28)]
    again = copy(source, schema="Théa's plan")
    assert counts(again, "review_events") == (0, 0, 29, 2)
    found = Verifier(copy.database)(source, schema="Théa's plan")
    assert found.differences == []
    assert found.tables["review_events"].not_copied == 2
    assert not found.same


def test_several_files_go_into_the_plans_database(tmp_path: Path, copy: Copier, command: CommandLine) -> None:
    first = build_source(tmp_path / "a.db", SourceSpec(memories=30, schedules=30, edges=8, events=8))
    second = tmp_path / "b.db"
    second.write_bytes(first.read_bytes())
    edit(second, ("UPDATE edges SET edge_type = 'seen elsewhere' WHERE rowid = 1", ()))
    edit(first, ("DELETE FROM review_events WHERE rowid < 4", ()), ("DELETE FROM edges WHERE rowid = 2", ()))
    make_plan_database(copy.database)
    # The number of an event is the database's own business, whatever it is.
    run_sql(
        copy.database,
        "ALTER TABLE review_events DROP COLUMN id",
        "ALTER TABLE review_events ADD id uuid PRIMARY KEY DEFAULT gen_random_uuid()",
    )
    files: list[str | Path] = [
        "--sqlite-path",
        first,
        "--sqlite-path",
        second,
        "--postgres-url",
        copy.database,
        "--workers",
        "2",
    ]
    done = command("copy", *files)
    assert done.returncode == 0, done.stderr
    assert ask(copy.database, "SELECT count(*) FROM edges") == [(9,)]
    assert ask(copy.database, "SELECT count(*) FROM review_events") == [(8,)]
    done = command("verify", *files)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "trigger",
    [
        "ALTER TABLE knowledge_nodes ENABLE ALWAYS TRIGGER trg_knowledge_nodes_updated_at",
        # Some programs have it for new rows as well.
        "CREATE TRIGGER on_both BEFORE INSERT OR UPDATE ON knowledge_nodes"
        " FOR EACH ROW EXECUTE FUNCTION knowledge_nodes_set_updated_at()",
    ],
)
def test_a_trigger_that_sets_updated_at_is_off_for_the_copy_alone(source: Path, copy: Copier, trigger: str) -> None:
    make_plan_database(copy.database)
    run_sql(copy.database, trigger)
    enabled = (
        "SELECT tgname::text, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal AND tgtype & 16 <> 0 ORDER BY 1"
    )
    before = ask(copy.database, enabled)
    copy(source)
    change_memories(source)
    report = copy(source, on_conflict="newer")
    assert counts(report, "knowledge_nodes") == (0, 5, 35, 0)
    assert report.errors == []
    assert ask(
        copy.database, "SELECT count(*) FROM knowledge_nodes WHERE updated_at = '2030-01-01 00:00:00.123456Z'"
    ) == [(5,)]
    assert ask(copy.database, enabled) == before
    assert Verifier(copy.database)(source).same


@pytest.mark.indexed
def test_a_role_that_could_not_keep_the_times_or_fill_the_ids_is_told_before_anything_is_written(
    source: Path, copy: Copier, guest: Guest
) -> None:
    make_plan_database(copy.database)
    copy(source)
    run_sql(copy.database, "DELETE FROM review_events WHERE id < 4")
    guest.owner("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {role}")
    mine = Copier(guest.url)
    for dry_run in (True, False):
        with pytest.raises(
            DestinationUnusable, match=r"GRANT USAGE ON SEQUENCE public\.review_events_id_seq"
        ) as caught:
            mine(source, dry_run=dry_run)
    guest.follow(str(caught.value))
    assert counts(mine(source), "review_events") == (3, 0, 7, 0)
    change_memories(source)
    for dry_run in (True, False):
        with pytest.raises(DestinationUnusable, match=r"trg_knowledge_nodes_updated_at.*only the table's owner"):
            mine(source, on_conflict="newer", dry_run=dry_run)
    assert Verifier(guest.url)(source).tables["knowledge_nodes"].different == 5
    run_sql(copy.database, "ALTER TABLE knowledge_nodes DISABLE TRIGGER trg_knowledge_nodes_updated_at")
    assert counts(mine(source, on_conflict="newer"), "knowledge_nodes") == (0, 5, 35, 0)
    assert Verifier(guest.url)(source).same


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("ALTER TABLE review_events ADD session uuid NOT NULL", "review_events.session"),
        ("ALTER TABLE review_events ALTER id DROP DEFAULT", "review_events.id"),
        ("ALTER TABLE edges ADD confidence float8 NOT NULL", "edges.confidence"),
        ("ALTER TABLE review_events ALTER rating TYPE text", "review_events.rating"),
        ("ALTER TABLE edges DROP CONSTRAINT edges_pkey", r"edges has no primary key"),
    ],
)
def test_what_the_copy_could_not_fill_is_refused_by_name(
    plain_source: Path, copy: Copier, statement: str, name: str
) -> None:
    make_plan_database(copy.database)
    run_sql(copy.database, statement)
    for dry_run in (True, False):
        with pytest.raises(DestinationUnusable, match=name):
            copy(plain_source, dry_run=dry_run)
    assert ask(copy.database, "SELECT count(*) FROM knowledge_nodes") == [(0,)]


def test_a_trigger_whose_source_does_not_show_it_is_named_row_by_row(source: Path, copy: Copier) -> None:
    make_plan_database(copy.database)
    run_sql(
        copy.database,
        "CREATE OR REPLACE FUNCTION knowledge_nodes_set_updated_at() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN jsonb_populate_record(NEW, jsonb_build_object('updated_at', now())); END $$",
    )
    copy(source)
    change_memories(source)
    report = copy(source, on_conflict="newer")
    assert counts(report, "knowledge_nodes") == (0, 5, 35, 0)
    assert [(error.column, str(error.outcome)) for error in report.errors] == [
        ("updated_at", "copied_without_value")
    ] * 5


def test_events_that_are_refused_by_what_was_added_are_compared_as_not_copied(tmp_path: Path, copy: Copier) -> None:
    """Of several batches, each with some: verify asks the destination more than once what it says against them."""
    source = build_source(tmp_path / "vestige.db", _SPEC)
    edit(source, ("UPDATE review_events SET kind = CASE WHEN rowid % 3 = 0 THEN 'odd' ELSE 'even' END", ()))
    make_plan_database(copy.database)
    run_sql(copy.database, "ALTER TABLE review_events ADD CHECK (prior_state ->> 'kind' <> 'odd')")
    report = copy(source, batch_size=4)
    assert counts(report, "review_events") == (20, 0, 0, 10)
    # Somebody else's, with numbers that no float8 holds.
    run_sql(
        copy.database,
        "INSERT INTO review_events (memory_id, rating, prior_state, new_state)"
        " SELECT memory_id, 3, '{\"retrievability\": 1e-999}', '{\"retrievability\": -1e999}' FROM scheduling LIMIT 1",
    )
    found = Verifier(copy.database)(source, batch_size=4)
    events = found.tables["review_events"]
    assert (events.same, events.missing, events.extra) == (20, 0, 1)
    assert {str(error.outcome) for error in found.not_copied} == {"not_copied"}
    assert len(found.not_copied) == 10


def test_functions_that_only_states_ask_for_are_named_before_anything_is_written(
    plain_source: Path, copy: Copier, guest: Guest
) -> None:
    make_plan_database(copy.database)
    run_sql(copy.database, "ALTER TABLE knowledge_nodes ALTER embedding TYPE vector(256)")
    guest.owner(
        "GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {role}",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
        'REVOKE EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint), jsonb_build_object(VARIADIC "any") FROM PUBLIC',
    )
    for dry_run in (True, False):
        with pytest.raises(DestinationUnusable, match="may not call what") as caught:
            Copier(guest.url)(plain_source, indexes="none", dry_run=dry_run)
    assert ask(copy.database, "SELECT count(*) FROM knowledge_nodes") == [(0,)]
    guest.follow(str(caught.value), "in this database: ")
    assert Copier(guest.url)(plain_source, indexes="none", verify=True).exit_code == 0
