"""The schema that our tables lie in: where they would be made, or the one that was asked for, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from loguru import logger
from psycopg.conninfo import conninfo_to_dict

from tests.conftest import Copier
from tests.support.compare import KEYS, assert_same
from tests.support.own_schema import fingerprint, make_schemas, on_path, tables_in
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.triggers import add_trigger, run_sql
from tests.support.verifying import Verifier
from vestige_migrate import DestinationUnusable
from vestige_migrate.destination.schema import read_sql

OURS = {*KEYS, "embedding_model"}
STRANGE = 'Mémoire d\'agent. "2"'
"""Capitals, a letter beyond ASCII, a space, a dot and both quotes."""


@pytest.fixture
def said() -> Iterator[list[str]]:
    """The lines of the log."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="INFO", format="{level} {message}")
    yield lines
    logger.remove(sink)


@pytest.fixture
def spoilt(source: Path) -> Path:
    """Rows that are staged, halved and refused on their way, of every kind of statement."""
    edit(
        source,
        ("UPDATE knowledge_nodes SET visibility = 'nobody' WHERE rowid = 3", ()),
        ("UPDATE edges SET target_id = 'ffffffff-ffff-4fff-8fff-ffffffffffff' WHERE rowid = 2", ()),
        ("CREATE TABLE intentions (id TEXT PRIMARY KEY, content TEXT)", ()),
        ("INSERT INTO intentions VALUES ('a', 'b')", ()),
    )
    return source


def test_tables_of_others_later_on_the_path_are_neither_taken_for_ours_nor_touched(
    source: Path, database: str, said: list[str]
) -> None:
    """Tables, a view, an index and a type of our names, in two schemas behind an empty one."""
    make_schemas(database, STRANGE, "app")
    run_sql(
        database,
        "CREATE TABLE public.users (id int PRIMARY KEY, email text NOT NULL)",
        "CREATE VIEW public.domains AS SELECT 1 AS id",
        "CREATE TABLE public.vestige_archive (note text)",
        "CREATE TABLE app.edges (LIKE public.users)",
        "CREATE INDEX idx_edges_target_id ON app.edges (id)",
        "CREATE TABLE app.vector (id int)",
        "CREATE FUNCTION app.vestige_tags_text(text[]) RETURNS text LANGUAGE sql IMMUTABLE RETURN 'others'",
    )
    before = fingerprint(database, "public"), fingerprint(database, "app")
    url = on_path(database, STRANGE, "app", "public")
    counted = Copier(url)(source, dry_run=True, archive=True)
    assert (counted.destination.schema, counted.tables["users"].skipped) == (STRANGE, 1)
    assert tables_in(database, STRANGE) == set()
    report = Copier(url)(source, archive=True, verify=True)
    assert (report.exit_code, report.as_json()["destination"]["schema"]) == (0, STRANGE)
    assert tables_in(database, STRANGE) == OURS | {"vestige_archive"}
    assert_same(source, url)
    assert Copier(url)(source).nothing_new
    assert (fingerprint(database, "public"), fingerprint(database, "app")) == before
    assert not any("earlier copy" in line for line in said)


def test_an_earlier_copy_later_on_the_path_is_named_and_not_written_into(
    spoilt: Path, tmp_path: Path, database: str, said: list[str]
) -> None:
    earlier = build_source(tmp_path / "earlier.db", SourceSpec(memories=15, schedules=15, edges=5, events=5, seed=9))
    assert Copier(database)(earlier, archive=True).exit_code == 0
    make_schemas(database, "agent")
    before = fingerprint(database, "public")
    url = on_path(database, "agent", "public")
    for options in ({"dry_run": True}, {"archive": True}):
        said.clear()
        report = Copier(url)(spoilt, **options)
        assert report.tables["knowledge_nodes"].skipped == 0
        assert any("WARNING the schema public has an earlier copy" in line and "go to agent" in line for line in said)
    make_schemas(database, "nothing")
    with pytest.raises(DestinationUnusable, match=r"no table \w+ in the schema nothing.* public has a copy"):
        Verifier(on_path(database, "nothing", "public"))(spoilt)
    assert {"knowledge_nodes", "edges"} <= {error.table for error in report.errors}
    found = Verifier(url)(spoilt, archive=True)
    assert found.differences == []
    assert found.not_copied_rows == sum(table.failed for table in report.tables.values())
    edit(spoilt, ("UPDATE knowledge_nodes SET content = 'later', updated_at = '2031-01-01T00:00:00Z'", ()))
    said.clear()
    again = Copier(url)(spoilt, on_conflict="newer", archive=True, owner="somebody")
    assert again.tables["knowledge_nodes"].updated == 39
    assert not any("earlier copy" in line for line in said)
    assert fingerprint(database, "public") == before


def test_temporary_tables_of_our_names_shadow_none_of_ours(spoilt: Path, database: str) -> None:
    """A trigger of the destination's own makes them, in every session that writes a user or a memory."""
    make_schemas(database, "agent")
    url = on_path(database, "agent", "public")
    run_sql(url, "CREATE EXTENSION vector SCHEMA public", read_sql("schema.sql"))
    add_trigger(
        url,
        "CREATE TEMP TABLE IF NOT EXISTS edges (source_id uuid, target_id uuid, edge_type text, weight float8,"
        " created_at timestamptz, PRIMARY KEY (source_id, target_id));"
        " CREATE TEMP TABLE IF NOT EXISTS knowledge_nodes (id uuid, embedding vector(3));"
        " CREATE TEMP TABLE IF NOT EXISTS embedding_model (id int); CREATE TEMP TABLE IF NOT EXISTS users (id uuid);"
        " CREATE TEMP TABLE IF NOT EXISTS review_events (id uuid); CREATE TEMP TABLE IF NOT EXISTS vestige_archive ();"
        " RETURN NEW;",
        "users",
        "knowledge_nodes",
    )
    first = Copier(url)(spoilt, owner="somebody", archive=True, verify=True)
    edit(spoilt, ("UPDATE knowledge_nodes SET visibility = 'private' WHERE rowid = 3", ()))
    run_sql(url, "DELETE FROM agent.review_events", "DELETE FROM agent.knowledge_nodes WHERE codebase IS NULL")
    second = Copier(url)(spoilt, owner="somebody", archive=True, verify=True)
    assert second.tables["knowledge_nodes"].inserted > 1
    for report in (first, second):
        assert report.verification is not None
        assert report.verification.differences == []


UNUSABLE = {
    ("nosuch",): r"search_path names the schema nosuch, which is not in the database .*CREATE SCHEMA \"nosuch\"",
    ("No Such", "nor this"): r"search_path names the schemas No Such, nor this, which are not in the database",
    ("",): "search_path is empty",
    ("pg_catalog", "public"): "search_path leads to pg_catalog, which is PostgreSQL's own",
    ("pg_temp", "public"): "search_path leads to pg_temp, which is PostgreSQL's own",
}


def test_a_path_on_which_nothing_could_be_made_is_refused_by_name(source: Path, database: str, said: list[str]) -> None:
    for path, words in UNUSABLE.items():
        url = on_path(database, *path)
        for refuse in (Copier(url), partial(Copier(url), dry_run=True), Verifier(url)):
            with pytest.raises(DestinationUnusable, match=words) as refused:
                refuse(source)
            assert "GRANT" not in str(refused.value)
    # Set for the database rather than in the URL; followed, the advice works.
    name = conninfo_to_dict(database)["dbname"]
    run_sql(database, f"ALTER DATABASE {name} SET search_path = typo, later")
    with pytest.raises(DestinationUnusable, match="names the schemas typo, later, which are not") as refused:
        Copier(database)(source)
    run_sql(database, str(refused.value).partition("run: ")[2].partition(";")[0])
    assert Copier(database)(source).destination.schema == "typo"
    make_schemas(database, "later")
    url = on_path(database, "mistyped", "later", "typo")
    assert Copier(url)(source, dry_run=True).destination.schema == "later"
    assert any("search_path names mistyped before later, and there is no such schema" in line for line in said)
