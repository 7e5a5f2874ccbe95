"""The schema that our tables lie in: where they would be made, or the one that was asked for, and no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from loguru import logger
from psycopg.conninfo import conninfo_to_dict

from tests.conftest import Copier
from tests.support.compare import KEYS, assert_same
from tests.support.guest import Guest
from tests.support.in_process import called
from tests.support.own_schema import fingerprint, make_schemas, on_path, tables_in
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.triggers import add_trigger, run_sql
from tests.support.verifying import Verifier
from vestige_migrate import DestinationUnusable, PlanError
from vestige_migrate.destination.connection.target_schema import names_of
from vestige_migrate.destination.schema.schema import read_sql

pytestmark = pytest.mark.bare_database

OURS = {*KEYS, "deletion_tombstones", "embedding_model", "vestige_run", "vestige_run_batch", "vestige_run_error"}
STRANGE = 'Mémoire d\'agent. "2" 100%s\\{}'
"""Capitals, a letter beyond ASCII, a space, a dot, both quotes, and what placeholders and escapes are made of."""


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
        " CREATE TEMP TABLE IF NOT EXISTS deletion_tombstones (id int);"
        " RETURN NEW;",
        "users",
        "knowledge_nodes",
    )
    first = Copier(url)(spoilt, owner="somebody", archive=True, verify=True)
    edit(spoilt, ("UPDATE knowledge_nodes SET visibility = 'private' WHERE rowid = 3", ()))
    run_sql(url, "DELETE FROM agent.review_events", "DELETE FROM agent.knowledge_nodes WHERE codebase IS NULL")
    assert Copier(url)(spoilt, owner="somebody", archive=True).tables["knowledge_nodes"].forgotten > 1
    second = Copier(url)(spoilt, owner="somebody", archive=True, verify=True, restore_forgotten=True)
    assert second.tables["knowledge_nodes"].inserted > 1
    for report in (first, second):
        assert report.verification is not None
        assert report.verification.differences == []


SETTINGS = (
    '"$user", public',
    ' Alpha ,"Al pha",ALPHA , "al""pha" ,"a,b"',
    '"",public,nosuch,pg_temp, "pg_catalog"',
    'ÄLPHA,älpha, "$User"',
    "",
)


def test_a_search_path_is_read_as_postgresql_reads_it(database: str) -> None:
    make_schemas(database, "alpha", "Al pha", 'al"pha', "a,b", "ÄLPHA", "älpha", "postgres")
    with psycopg.connect(database, autocommit=True) as connection:
        for setting in SETTINGS:
            connection.execute("SELECT set_config('search_path', %s, false)", (setting,))
            row = connection.execute("SELECT current_schemas(false)::text[], current_user::text").fetchone()
            assert row is not None
            named = [row[1] if name == "$user" else name for name in names_of(setting)]
            there = {name for (name,) in connection.execute("SELECT nspname::text FROM pg_namespace")}
            assert [name for name in dict.fromkeys(named) if name in there] == row[0], setting


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


@pytest.mark.indexed
@pytest.mark.old_server
def test_schemas_that_are_asked_for_are_made_and_hold_a_whole_copy_each(
    source: Path, tmp_path: Path, database: str, said: list[str]
) -> None:
    """Two copies of two memories beside another application, each with its own registry, rows and indexes."""
    other = build_source(tmp_path / "other.db", SourceSpec(dimension=64, model="another", seed=3).sized(30))
    run_sql(database, "CREATE TABLE users (id int PRIMARY KEY)", "CREATE TABLE knowledge_nodes (id int)")
    before = fingerprint(database, "public")
    copy, verify = Copier(database), Verifier(database)
    for name, file in ((STRANGE, source), ("x" * 63, other)):
        said.clear()
        counted = copy(file, schema=name, dry_run=True)
        assert any(f"the schema {name} is not there yet: a copy would make it" in line for line in said)
        assert (counted.destination.schema, counted.tables["knowledge_nodes"].skipped) == (name, 0)
        assert tables_in(database, name) == set()
        with pytest.raises(DestinationUnusable, match=r"schema .* is not in the database .*: nothing was copied there"):
            verify(file, schema=name)
        report = copy(file, schema=name, archive=True, verify=True)
        assert (report.exit_code, report.as_json()["destination"]["schema"]) == (0, name)
    for name, file in ((STRANGE, source), ("x" * 63, other)):
        assert_same(file, on_path(database, name, "public"))
        assert copy(file, schema=name).nothing_new
        found = verify(file, schema=name, archive=True)
        assert (found.exit_code, found.destination.schema, found.missing_indexes) == (0, name, [])
        assert found.search is not None
        assert found.search.recall == 1
        # Somebody's session may have its search_path anywhere; what is asked for counts.
        counted = Copier(on_path(database, "public", "x" * 63))(file, schema=name, dry_run=True)
        assert counted.tables["knowledge_nodes"].inserted == 0
    assert Verifier(database)(other, schema=STRANGE).exit_code == 1
    assert [line for line in fingerprint(database, "public") if line not in before] == []
    assert not any("earlier copy" in line for line in said)


TAKEN = {
    r"groups \(a type\)": "CREATE TYPE groups AS ENUM ('a')",
    r"edges \(a type\)": "CREATE DOMAIN edges AS text[]",
    r"vestige_archive \(a type\)": "CREATE DOMAIN vestige_archive AS int",
    r"vestige_tags_text\(x text\[\]\) \(a function of .*\)": "CREATE FUNCTION vestige_tags_text(x text[]) RETURNS text"
    " LANGUAGE sql IMMUTABLE AS 'SELECT x[1]'",
    r"vestige_tags_text\(text\[\]\) \(a function of .*\)": "CREATE FUNCTION vestige_tags_text(text[]) RETURNS text"
    " LANGUAGE sql IMMUTABLE AS 'SELECT $1[1]'",
}
"""What is no relation, under names that a copy would make."""


def test_types_and_functions_under_our_names_are_refused_before_anything_is_made(
    source: Path, database: str, guest: Guest
) -> None:
    guest.owner("CREATE EXTENSION vector", "GRANT ALL ON SCHEMA public TO {role}")
    for words, statement in TAKEN.items():
        run_sql(database, statement)
        for dry_run in (True, False):
            with pytest.raises(DestinationUnusable, match=rf"something else under a name .*: {words}\. Rename"):
                Copier(guest.url)(source, archive=True, dry_run=dry_run)
        kind, name = statement.split()[1:3]
        assert tables_in(database, "public") == set()
        run_sql(database, f"DROP {kind} {name.partition('(')[0]}")
    assert Copier(guest.url)(source, archive=True, verify=True).exit_code == 0


def test_the_command_line_takes_the_schema_and_reports_it(source: Path, database: str, tmp_path: Path) -> None:
    report, ends = tmp_path / "report.json", ("--sqlite-path", source, "--postgres-url", database, "--workers", "1")
    for command in (("copy", "--dry-run"), ("copy",), ("verify",)):
        assert called(*command, *ends, "--schema", "Agent 7", "--report", report) == 0
        assert json.loads(report.read_text())["destination"]["schema"] == "Agent 7"
    assert_same(source, on_path(database, "Agent 7", "public"))
    with pytest.raises(PlanError, match="--schema pg_own is a name that PostgreSQL keeps for itself"):
        called("copy", *ends, "--schema", "pg_own", "--report", report)
    assert json.loads(report.read_text())["error"]["exit_code"] == 2
    with pytest.raises(DestinationUnusable, match="--schema"):
        called("verify", *ends, "--schema", "agent 7", "--report", report)
    assert json.loads(report.read_text())["destination"]["schema"] == "agent 7"


def test_a_role_without_rights_on_the_schema_is_told_what_to_grant(source: Path, database: str, guest: Guest) -> None:
    """Each advice is followed, and the next thing that is missing is named, by dry run and copy alike."""
    guest.owner("CREATE EXTENSION vector", 'CREATE SCHEMA "Own"', "CREATE SCHEMA seen", "CREATE SCHEMA later")
    guest.owner("GRANT USAGE ON SCHEMA seen TO {role}", "GRANT ALL ON SCHEMA later TO {role}")
    copy, verify = Copier(guest.url), Verifier(guest.url)

    def refused(words: str, **options: object) -> str:
        """What the owner is to run."""
        for dry_run in (True, False):
            with pytest.raises(DestinationUnusable, match=words) as caught:
                (Copier(str(options.get("url", guest.url))))(source, schema=options.get("schema"), dry_run=dry_run)
        return str(caught.value).partition("run: ")[2].partition("; or")[0]

    for name in ("missing", "Miss ing"):
        guest.owner(refused(f"schema {name} .* is not in the database .*may not make it: .*CREATE SCHEMA", schema=name))
        assert copy(source, schema=name, verify=True).exit_code == 0
    with pytest.raises(DestinationUnusable, match=r"schema Own \(--schema\) may not be used by this role"):
        verify(source, schema="Own")
    grant = refused(r'schema Own \(--schema\) may not be used .*GRANT USAGE, CREATE ON SCHEMA "Own"', schema="Own")
    path = on_path(guest.url, "Own", "later")
    assert refused("search_path leads to the schema Own, which this role may not use", url=path) == grant
    guest.owner(grant)
    assert copy(source, schema="Own").exit_code == 0
    assert Copier(path)(source).nothing_new
    grant = refused("lacks rights .*GRANT CREATE ON SCHEMA seen", schema="seen")
    assert refused("GRANT CREATE ON SCHEMA seen", url=on_path(guest.url, "seen", "later")) == grant
    create = refused(
        "names the schema Typo, which is not in .* no table in seen", url=on_path(guest.url, "Typo", "seen")
    )
    guest.owner(create)
    assert Copier(on_path(guest.url, "Typo", "seen"))(source).destination.schema == "Typo"
    guest.owner(grant)
    assert copy(source, schema="seen").exit_code == 0
    assert tables_in(database, "later") == set()


@pytest.mark.old_server
def test_pgvector_is_installed_where_no_schema_takes_it_along(source: Path, database: str) -> None:
    assert Copier(database)(source, schema="one").exit_code == 0
    assert Copier(on_path(database, "one"))(source, schema="two").exit_code == 0
    run_sql(database, "DROP SCHEMA one CASCADE")
    assert Verifier(database)(source, schema="two").exit_code == 0
