"""pgvector where others put it: in a schema of its own, closed, old, or refused by the platform."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from loguru import logger
from psycopg.conninfo import make_conninfo

from tests.conftest import Copier
from tests.support.compare import assert_same
from tests.support.guest import Guest, made_guest
from tests.support.verifying import Verifier
from vestige_migrate import DestinationUnusable
from vestige_migrate.demo.queries import by_nearness
from vestige_migrate.destination.connection.connect import connect

pytestmark = pytest.mark.bare_database


@pytest.fixture
def guest(database: str) -> Iterator[Guest]:
    with made_guest(database) as made:
        yield made


def refusals(url: str, source: Path, comparing: bool = True) -> str:
    """What dry run, copy and comparison say alike."""
    refusing: list[Callable[[], object]] = [
        lambda: Copier(url)(source, dry_run=True),
        lambda: Copier(url)(source),
        *([lambda: Verifier(url)(source)] if comparing else []),
    ]
    said = []
    for refuse in refusing:
        with pytest.raises(DestinationUnusable) as refused:
            refuse()
        assert refused.value.exit_code == 3
        said.append(str(refused.value))
    assert len(set(said)) == 1
    return said[0]


def relations(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT c.oid, relnamespace::regnamespace::text, relname FROM pg_class AS c WHERE c.oid >= 16384"
            " AND relkind IN ('r', 'i') AND relnamespace <> 'pg_toast'::regnamespace ORDER BY c.oid"
        ).fetchall()


@pytest.mark.indexed
@pytest.mark.old_server
@pytest.mark.parametrize("path", ['"$user", public', "app, public"])
def test_an_extension_in_a_schema_off_the_path_is_used_and_the_tables_are_not_made_there(
    path: str, source: Path, guest: Guest
) -> None:
    guest.owner(
        'CREATE SCHEMA "The Ext"', 'CREATE EXTENSION vector WITH SCHEMA "The Ext"',
        'GRANT USAGE ON SCHEMA "The Ext" TO {role}', "GRANT CREATE ON SCHEMA public TO {role}",
        "CREATE SCHEMA app AUTHORIZATION {role}", f"ALTER ROLE {{role}} SET search_path = {path}",
    )  # fmt: skip
    copy, verify = Copier(guest.url), Verifier(guest.url)
    assert copy(source, dry_run=True).tables["knowledge_nodes"].inserted == 40
    assert copy(source, archive=True, verify=True).exit_code == 0
    schemas = {schema for _, schema, _ in relations(guest.url)}
    assert schemas == {"app" if path.startswith("app") else "public"}
    assert copy(source, on_conflict="newer").nothing_new
    report = verify(source)
    assert report.same
    assert report.search is not None
    assert report.search.recall is not None
    with connect(guest.url, "test") as connection:
        assert len(by_nearness(connection)[1]) == 3
        found = connection.execute("SHOW search_path").fetchone()
    assert found is not None
    assert str(found[0]).startswith(path)


@pytest.mark.old_server
def test_what_keeps_the_type_from_being_used_is_named_with_what_to_run(source: Path, guest: Guest) -> None:
    guest.owner(
        "CREATE SCHEMA closed", "CREATE EXTENSION vector WITH SCHEMA closed", "GRANT CREATE ON SCHEMA public TO {role}",
        "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA closed FROM PUBLIC",
        "REVOKE USAGE ON TYPE closed.vector FROM PUBLIC",
    )  # fmt: skip
    said = refusals(guest.url, source, comparing=False)
    assert f"GRANT USAGE ON SCHEMA closed TO {guest.role}; GRANT USAGE ON TYPE closed.vector TO" in said
    assert "GRANT EXECUTE ON FUNCTION closed.cosine_distance(closed.vector, closed.vector) TO" in said
    assert relations(guest.url) == []
    guest.follow(said)
    assert Copier(guest.url)(source, verify=True).exit_code == 0
    assert_same(source, make_conninfo(guest.owner_url, options="-c search_path=public,closed"))
    guest.owner("REVOKE USAGE ON SCHEMA closed FROM {role}")
    assert f"GRANT USAGE ON SCHEMA closed TO {guest.role}" in refusals(guest.url, source)


def test_another_type_of_that_name_that_comes_first_is_named(source: Path, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA ext")
        connection.execute("CREATE EXTENSION vector WITH SCHEMA ext")
        connection.execute("CREATE TABLE vector (x float8, y float8)")
        said = refusals(database, source, comparing=False)
        assert "in the schema ext" in said
        assert "another type called vector, in the schema public" in said
        connection.execute("ALTER TABLE vector RENAME TO vectors")
    assert Copier(database)(source, indexes="none").exit_code == 0


@pytest.mark.old_server
@pytest.mark.parametrize("version", ["0.3.2", "0.4.4-dev"])
def test_an_extension_whose_sql_is_older_than_the_servers_files_is_to_be_updated(
    version: str, source: Path, database: str
) -> None:
    Copier(database)(source, indexes="none")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE pg_extension SET extversion = %s WHERE extname = 'vector'", (version,))
    said = refusals(database, source)
    assert f"has pgvector {version}, and 0.5 or newer is needed: the server has the files of 0." in said
    assert "run ALTER EXTENSION vector UPDATE in the database test_" in said


_REFUSING = (
    "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
    " {condition} RAISE 'Only the team''s % are made here', 'things' USING ERRCODE = '{state}', HINT = 'Write to"
    " them.'; {end} END $$"
)


@pytest.mark.parametrize(
    ("trigger", "condition", "end", "state"),
    [
        ("ON ddl_command_start WHEN TAG IN ('CREATE EXTENSION')", "", "", "53400"),
        ("ON ddl_command_end", "IF tg_tag IN ('CREATE EXTENSION', 'DROP EXTENSION') THEN", "END IF;", "57014"),
    ],
)
def test_a_platform_that_refuses_the_extension_is_quoted(
    trigger: str, condition: str, end: str, state: str, source: Path, database: str
) -> None:
    """Whatever SQLSTATE it gives to that. A dry run, which tries nothing, sees who will refuse it."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(_REFUSING.format(condition=condition, end=end, state=state).encode())
        connection.execute(f'CREATE EVENT TRIGGER "No!" {trigger} EXECUTE FUNCTION refuse()'.encode())
        for dry_run, words in (
            (True, "the event trigger No! refuses CREATE EXTENSION"),
            (False, rf"Only the team's things are made here. Write to them \(SQLSTATE {state}\)"),
        ):
            with pytest.raises(DestinationUnusable, match=f"pgvector cannot be installed .*: {words}") as refused:
                Copier(database)(source, dry_run=dry_run)
            assert "let an administrator run CREATE EXTENSION vector in that database" in str(refused.value)
            assert refused.value.exit_code == 3
        assert relations(database) == []
        connection.execute('ALTER EVENT TRIGGER "No!" DISABLE')
        connection.execute("CREATE EXTENSION vector")
        connection.execute('ALTER EVENT TRIGGER "No!" ENABLE')
    assert Copier(database)(source, indexes="none").exit_code == 0


def test_a_rule_that_may_let_the_extension_pass_is_no_refusal(source: Path, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        condition = "IF current_query() !~ 'vector' THEN -- only the ones that we know"
        connection.execute(_REFUSING.format(condition=f"{condition}\n", end="END IF;", state="0A000").encode())
        tag = "WHEN TAG IN ('CREATE EXTENSION')"
        connection.execute(
            f"CREATE EVENT TRIGGER perhaps ON ddl_command_start {tag} EXECUTE FUNCTION refuse()".encode()
        )
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING")
    try:
        assert Copier(database)(source, dry_run=True).tables["knowledge_nodes"].inserted == 40
    finally:
        logger.remove(sink)
    assert any("the event trigger perhaps watches CREATE EXTENSION" in line for line in lines)
    assert Copier(database)(source, indexes="none").exit_code == 0


@pytest.mark.parametrize(
    ("setting", "value", "refused"),
    [("azure.extensions", "PG_TRGM, postgis", True), ("rds.allowed_extensions", "*", False)],
)
def test_a_platforms_list_of_extensions_is_read(
    setting: str, value: str, refused: bool, source: Path, database: str
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET {setting} = '{value}'".encode())
    if not refused:
        assert Copier(database)(source, dry_run=True).tables["knowledge_nodes"].inserted == 40
        return
    with pytest.raises(DestinationUnusable, match=rf"{setting} does not have vector in it\. Allow it"):
        Copier(database)(source, dry_run=True)
