"""Servers whose owners have rules of their own: what can be lived with works, the rest is named and nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Copier
from tests.support.compare import assert_same
from tests.support.databases import LOST
from tests.support.guest import Guest, made_guest
from tests.support.in_process import called, refusal
from tests.support.own_schema import tables_in
from tests.support.sources import SourceSpec, build_source
from tests.support.verifying import Verifier
from vestige_migrate import DestinationUnusable

pytestmark = pytest.mark.bare_database

_FORCE = """CREATE FUNCTION close() RETURNS event_trigger LANGUAGE plpgsql AS $$ DECLARE made record; BEGIN
FOR made IN SELECT objid FROM pg_event_trigger_ddl_commands() WHERE object_type = 'table' {condition} LOOP
EXECUTE format('alter table %s enable row level security, force row level security', made.objid::regclass);
END LOOP; END $$"""


@pytest.fixture
def guest(database: str) -> Iterator[Guest]:
    with made_guest(database) as made:
        made.owner("CREATE EXTENSION vector", "GRANT CREATE ON SCHEMA public TO {role}")
        yield made


def both(guest: Guest, source: Path) -> str:
    """What dry run and copy say alike; nothing is there afterwards."""
    said = set()
    for dry_run in (True, False):
        with pytest.raises(DestinationUnusable) as refused:
            Copier(guest.url)(source, dry_run=dry_run)
        assert refused.value.exit_code == 3
        said.add(str(refused.value))
    with psycopg.connect(guest.owner_url) as connection:
        assert connection.execute("SELECT to_regclass('users')").fetchone() == (None,)
    assert len(said) == 1
    return said.pop()


@pytest.mark.parametrize("tags", ["'CREATE TABLE'", "'CREATE TABLE', 'CREATE TABLE AS'"])
def test_row_security_that_an_event_trigger_forces_on_new_tables_is_named(
    tags: str, source: Path, guest: Guest
) -> None:
    guest.owner(
        _FORCE.format(condition=""),
        f"CREATE EVENT TRIGGER closer ON ddl_command_end WHEN TAG IN ({tags}) EXECUTE FUNCTION close()",
    )
    said = both(guest, source)
    assert "row-level security is forced by the event trigger closer" in said
    assert 'ALTER EVENT TRIGGER "closer" DISABLE' in said
    guest.owner(said.partition("let a superuser run ")[2].partition(",")[0])  # ALTER ROLE ... BYPASSRLS
    assert Copier(guest.url)(source, verify=True).exit_code == 0
    assert_same(source, guest.owner_url)


def test_row_security_that_is_forced_on_some_tables_is_found_by_making_them(source: Path, guest: Guest) -> None:
    """A dry run cannot know; the copy writes nothing where it is so, and works where it is not."""
    guest.owner(
        _FORCE.format(condition="AND object_identity ~ '[.](domains|vestige_trial_edges)$'"),
        "CREATE EVENT TRIGGER closer ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION close()",
    )
    assert Copier(guest.url)(source, dry_run=True).tables["knowledge_nodes"].inserted == 40
    with pytest.raises(
        DestinationUnusable, match="row-level security is forced by the event trigger closer"
    ) as refused:
        Copier(guest.url)(source)
    assert refused.value.exit_code == 3
    with psycopg.connect(guest.owner_url) as connection:
        assert connection.execute("SELECT to_regclass('users')").fetchone() == (None,)
    guest.owner("ALTER EVENT TRIGGER closer DISABLE")
    Copier(guest.url)(source, indexes="none")
    guest.owner("ALTER EVENT TRIGGER closer ENABLE")
    assert Copier(guest.url)(source, archive=True).nothing_new
    guest.owner("DELETE FROM edges WHERE ctid = '(0,1)'")
    report = Verifier(guest.url)(source)  # which cannot ask in a temporary table whether the row could be there
    assert (report.tables["edges"].missing, report.tables["edges"].not_copied) == (1, 0)


def test_a_rule_against_new_tables_is_named_in_its_own_words(source: Path, guest: Guest) -> None:
    guest.owner(
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE 'tables come from the team' USING ERRCODE = '42501'; END $$",
        "CREATE EVENT TRIGGER teams ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION refuse()",
    )
    with pytest.raises(DestinationUnusable, match="its event trigger teams refuses CREATE TABLE"):
        Copier(guest.url)(source, dry_run=True)
    with pytest.raises(DestinationUnusable, match=r"tables come from the team \(SQLSTATE 42501\)"):
        Copier(guest.url)(source)


_REFUSE = (
    "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not by you'; END $$",
    "CREATE EVENT TRIGGER {name} ON ddl_command_start WHEN tag IN ('{command}') EXECUTE FUNCTION refuse()",
)


@pytest.mark.indexed
def test_rules_against_what_comes_after_the_tables_are_named_before_any_is_made(source: Path, guest: Guest) -> None:
    """The vectors' length and the indexes come when the tables have been made, the schema before."""
    guest.owner(_REFUSE[0])
    for name, command in (("no_alter", "ALTER TABLE"), ("no_index", "CREATE INDEX")):
        guest.owner(_REFUSE[1].format(name=name, command=command))
        said = both(guest, source)
        assert f"event trigger {name} refuses {command}" in said
        assert tables_in(guest.owner_url, "public") == set()
        if name == "no_alter":
            guest.owner(said.partition("superuser run ")[2].partition(" until")[0])
    assert Copier(guest.url)(source, indexes="none").exit_code == 0
    guest.owner("DROP EVENT TRIGGER no_index", _REFUSE[1].format(name="no_schema", command="CREATE SCHEMA"))
    guest.owner("GRANT CREATE ON DATABASE {db} TO {role}")
    for dry_run, words in ((True, "refuses CREATE SCHEMA"), (False, "not by you")):
        with pytest.raises(DestinationUnusable, match=words):
            Copier(guest.url)(source, schema="other", dry_run=dry_run)


def test_an_archive_that_may_not_be_made_leaves_no_table_behind(source: Path, guest: Guest) -> None:
    guest.owner(
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN IF EXISTS ("
        " SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity LIKE '%archive')"
        " THEN RAISE 'no archives'; END IF; END $$",
        "CREATE EVENT TRIGGER no_archive ON ddl_command_end WHEN tag IN ('CREATE TABLE') EXECUTE FUNCTION refuse()",
    )
    with pytest.raises(DestinationUnusable, match="vestige_archive, and it could not be made: no archives"):
        Copier(guest.url)(source, archive=True)
    assert tables_in(guest.owner_url, "public") == set()
    assert Copier(guest.url)(source).exit_code == 0


@pytest.mark.parametrize(
    "revoked",
    [
        ("EXECUTE ON FUNCTION pg_try_advisory_lock(bigint)", "EXECUTE ON FUNCTION pg_stat_get_activity(integer)"),
        ("EXECUTE ON FUNCTION pg_postmaster_start_time()", "SELECT ON pg_stat_activity", "EXECUTE ON FUNCTION sha256"),
        ('EXECUTE ON FUNCTION setweight(tsvector, "char")', "EXECUTE ON FUNCTION pg_backend_pid"),
    ],
    ids=["locks", "the server", "the session"],
)
def test_functions_that_the_role_may_not_call_are_named_with_their_grants(
    revoked: tuple[str, ...], source: Path, guest: Guest
) -> None:
    guest.owner(*(f"REVOKE {right} FROM PUBLIC" for right in revoked))
    said = both(guest, source)
    assert said.count("GRANT ") == len(revoked)
    with pytest.raises(DestinationUnusable) as refused:
        Verifier(guest.url)(source)
    assert str(refused.value) == said
    guest.follow(said, "in this database: ")
    assert Copier(guest.url)(source, verify=True).exit_code == 0


def test_a_reader_who_may_not_try_a_row_is_told_that_it_is_missing(source: Path, database: str, guest: Guest) -> None:
    """What generates search_vec is called where a row is put in, and not where rows are read."""
    Copier(database)(source)
    guest.owner(
        LOST,
        "DELETE FROM scheduling",
        "DELETE FROM knowledge_nodes WHERE id = (SELECT memory_id FROM review_events LIMIT 1)",
        "GRANT USAGE ON SCHEMA public TO {role}",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
        "REVOKE EXECUTE ON FUNCTION vestige_tags_text(text[]) FROM PUBLIC",
    )
    found = Verifier(guest.url)(source)
    assert found.exit_code == 1
    assert found.tables["knowledge_nodes"].missing == 1


def test_a_function_that_rights_are_asked_with_is_named_too(source: Path, guest: Guest) -> None:
    guest.owner("REVOKE EXECUTE ON FUNCTION has_function_privilege(oid, text) FROM PUBLIC")
    assert "permission denied for function has_function_privilege" in both(guest, source)


def test_settings_of_the_database_change_nothing(source: Path, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        for setting in (
            "standard_conforming_strings = off", "quote_all_identifiers = on", "bytea_output = escape",
            "datestyle = 'german'", "intervalstyle = 'sql_standard'", "timezone = 'Asia/Kathmandu'",
            "array_nulls = off", "default_transaction_isolation = 'serializable'", "extra_float_digits = 0",
            "backslash_quote = off",
        ):  # fmt: skip
            connection.execute(f"ALTER DATABASE {connection.info.dbname} SET {setting}".encode())
    assert Copier(database)(source, dry_run=True).tables["knowledge_nodes"].inserted == 40
    assert Copier(database)(source, archive=True, verify=True).exit_code == 0
    assert Copier(database)(source, archive=True).nothing_new
    assert Verifier(database)(source).same


REGISTRY = """CREATE TABLE embedding_model (id smallint PRIMARY KEY DEFAULT 1, name text NOT NULL,
dimension integer NOT NULL, hash text {rule}, created_at timestamptz NOT NULL DEFAULT now())"""


@pytest.mark.old_server
@pytest.mark.parametrize("rule", ["NOT NULL", "CONSTRAINT known CHECK (hash IS NOT NULL AND length(hash) > 1)"])
def test_a_hash_is_asked_for_where_the_registry_demands_one(rule: str, tmp_path: Path, database: str) -> None:
    source = build_source(tmp_path / "v.db", SourceSpec(memories=20, form="vestige", registered_model=False))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(REGISTRY.format(rule=rule).encode())
        common = ("copy", "--sqlite-path", source, "--postgres-url", database, "--workers", "1")
        said = {str(refusal(*common, *more)) for more in (("--dry-run",), ())}
        assert len(said) == 1
        advice = said.pop()
        assert "embedding_model.hash in the destination must not be NULL" in advice
        options = advice.partition(", with ")[2].replace("HASH", "ab12").split()
        assert options[0] == "--embedding-model"
        assert called(*common, *options, "--verify") == 0
        assert connection.execute("SELECT hash FROM embedding_model").fetchone() == ("ab12",)
    assert called(*common) == 0
    assert Verifier(database)(source).same
