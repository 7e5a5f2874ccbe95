"""Destinations that somebody else made, altered or guards: copied into, or refused with the exact reason."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.conftest import Copier
from tests.support.compare import assert_same
from tests.support.databases import LOST
from tests.support.guest import Guest
from tests.support.sources import edit
from tests.support.verifying import Verifier
from vestige_migrate import DestinationUnusable, ModelMismatch, ModelSignature
from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.schema import registry
from vestige_migrate.destination.schema.schema import read_sql

pytestmark = pytest.mark.bare_database

EARLIER = Path(__file__).parents[1] / "support" / "schemas" / "destination_1a760f2.sql"
"""The destination's tables as the first version of this program made them."""

ALTERED = {
    "ALTER TABLE edges DROP COLUMN weight": "edges.weight is missing",
    "ALTER TABLE edges DROP CONSTRAINT edges_pkey": (
        "edges has no primary key or unique constraint on (source_id, target_id)"
    ),
    "ALTER TABLE edges DROP CONSTRAINT edges_target_id_fkey": (
        "edges.target_id has no foreign key to knowledge_nodes (id)"
    ),
    "ALTER TABLE users DROP CONSTRAINT users_handle_key": "users has no primary key or unique constraint on (handle)",
    "ALTER TABLE group_memberships ADD COLUMN tenant int NOT NULL, ADD COLUMN fine int NOT NULL DEFAULT 1": (
        "group_memberships.tenant is none of ours, NOT NULL and without a default"
    ),
    "ALTER TABLE groups ALTER COLUMN metadata TYPE json USING metadata::json": (
        "groups.metadata is json instead of jsonb"
    ),
    "ALTER TABLE domains ALTER COLUMN top_terms TYPE varchar(9)[]": (
        "domains.top_terms is varchar[](9) instead of text[]"
    ),
    "ALTER TABLE domains ALTER COLUMN centroid TYPE vector(3)": "domains.centroid is vector(3) instead of vector",
    "ALTER TABLE scheduling ALTER COLUMN last_review TYPE timestamptz(0)": (
        "scheduling.last_review is timestamptz(0) instead of timestamptz"
    ),
    "ALTER TABLE scheduling ALTER COLUMN next_review SET NOT NULL": "scheduling.next_review is NOT NULL",
    "ALTER TABLE knowledge_nodes DROP CONSTRAINT knowledge_nodes_visibility_check": (
        "knowledge_nodes.visibility has no CHECK"
    ),
    "ALTER TABLE knowledge_nodes ALTER COLUMN search_vec DROP EXPRESSION": (
        "knowledge_nodes.search_vec is no generated tsvector"
    ),
    "ALTER TABLE group_memberships SET UNLOGGED": (
        "group_memberships is UNLOGGED: a crash of the server empties it (ALTER TABLE ... SET LOGGED)"
    ),
    "ALTER TABLE embedding_model DROP COLUMN hash": "embedding_model.hash is missing",
    "DROP TABLE review_events; CREATE VIEW review_events AS SELECT 1 AS id": "review_events is not a table",
}


@pytest.fixture
def made_by_owner(database: str) -> str:
    """The database with the tables of the first version of this program, empty and without indexes."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute(EARLIER.read_text(encoding="utf-8").encode())
    return database


@pytest.mark.old_server
def test_tables_that_the_first_version_made_are_filled(source: Path, made_by_owner: str, copy: Copier) -> None:
    report = copy(source, archive=True, verify=True)
    assert (report.memories_copied, report.exit_code) == (40, 0)
    assert_same(source, made_by_owner)


@pytest.mark.old_server
def test_a_destination_that_was_altered_is_refused_with_every_difference(
    source: Path, made_by_owner: str, copy: Copier
) -> None:
    with psycopg.connect(made_by_owner, autocommit=True) as connection:
        for statement in ALTERED:
            connection.execute(statement.encode())
        before = _tables(connection)
        with pytest.raises(DestinationUnusable) as refused:
            copy(source)
        assert _tables(connection) == before
    listed = str(refused.value).partition(": ")[2].partition(". Change them back")[0]
    assert sorted(listed.split("; ")) == sorted(ALTERED.values())
    with pytest.raises(DestinationUnusable, match=r"edges\.weight is missing"):
        Verifier(made_by_owner)(source)


def test_a_key_in_which_different_texts_are_equal_is_refused(source: Path, copy: Copier) -> None:
    """A domain `work` would be taken for `Work`, which is there, and stay out without a word."""
    copy(source)
    with psycopg.connect(copy.database, autocommit=True) as connection:
        made = "CREATE COLLATION soft (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
        try:
            connection.execute(made.encode())
        except psycopg.errors.FeatureNotSupported:  # the bundled server has none of this kind: one that says it is
            connection.execute("CREATE COLLATION soft (provider = libc, locale = 'C')")
            connection.execute("UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'soft'")
        connection.execute("ALTER TABLE users ALTER COLUMN display_name TYPE text COLLATE soft")  # theirs to choose
        assert copy(source).exit_code == 0
        connection.execute("ALTER TABLE domains ALTER COLUMN id TYPE text COLLATE soft")
    with pytest.raises(DestinationUnusable, match=r"domains\.id has the collation soft"):
        copy(source)


@pytest.mark.parametrize(
    ("setting", "value"), [("session_replication_role", "replica"), ("standard_conforming_strings", "off")]
)
def test_settings_of_the_database_change_nothing(source: Path, copy: Copier, setting: str, value: str) -> None:
    edit(source, ("UPDATE edges SET target_id = '11111111-2222-3333-4444-555555555555' WHERE rowid = 3", ()))
    name = str(conninfo_to_dict(copy.database)["dbname"])
    with psycopg.connect(copy.database, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" SET {setting} = {value}'.encode())
    for report in (copy(source), copy(source)):
        assert [(error.table, error.column, error.sqlstate) for error in report.errors] == [
            ("edges", "target_id", "23503")
        ]
    assert Verifier(copy.database)(source).not_copied_rows == 1


def test_a_role_whose_sessions_enforce_no_foreign_key_is_refused(source: Path, copy: Copier, guest: Guest) -> None:
    copy(source)
    guest.owner("ALTER ROLE {role} SET session_replication_role = replica")
    with pytest.raises(DestinationUnusable, match="enforces no foreign key"):
        Copier(guest.url)(source)


def _tables(connection: psycopg.Connection[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT oid, relname, pg_relation_size(oid) FROM pg_class WHERE relkind IN ('r', 'i', 'v') ORDER BY oid"
    ).fetchall()


def test_another_vector_dimension_is_refused(source: Path, made_by_owner: str, copy: Copier) -> None:
    with psycopg.connect(made_by_owner, autocommit=True) as connection:
        connection.execute("ALTER TABLE knowledge_nodes ALTER COLUMN embedding TYPE vector(3)")
        with pytest.raises(DestinationUnusable, match=r"embedding in the destination is vector\(3\).* 256 dimensions"):
            copy(source)
        connection.execute("INSERT INTO embedding_model (name, dimension) VALUES ('m', 3)")
        with pytest.raises(ModelMismatch):
            copy(source)


@pytest.mark.indexed
def test_a_role_that_may_only_write_rows_copies_into_ready_tables(
    source: Path, made_by_owner: str, guest: Guest
) -> None:
    """Each right it lacks is asked for in the words that give it, before anything is written."""
    copy = Copier(guest.url)
    own = source.parent / "own.db"
    own.write_bytes(source.read_bytes())
    guest.owner(
        "REVOKE TEMPORARY ON DATABASE {db} FROM PUBLIC", "REVOKE EXECUTE ON FUNCTION vestige_tags_text FROM PUBLIC"
    )
    with pytest.raises(
        DestinationUnusable, match=r"lacks rights.*GRANT SELECT, INSERT ON public\.edges TO guest_"
    ) as refused:
        copy(source)
    for grant in str(refused.value).partition("run: ")[2].split("; "):
        guest.owner(grant)
    with pytest.raises(DestinationUnusable, match=r"GRANT INSERT ON public\.embedding_model TO guest_\w+$") as refused:
        copy(source)
    guest.owner(str(refused.value).partition("run: ")[2])
    with pytest.raises(DestinationUnusable, match="let postgres run: ALTER TABLE") as refused:
        copy(source)
    guest.owner(str(refused.value).partition("run: ")[2])
    with pytest.raises(DestinationUnusable, match=r"may not build the indexes .*idx_edges_target_id.*--indexes none"):
        copy(source)
    with psycopg.connect(guest.owner_url) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (1,)  # what the tables came with
    indexes = read_sql("indexes.sql").replace("{", "{{").replace("}", "}}")
    guest.owner("DELETE FROM users", *[line for line in indexes.split(";") if "CREATE" in line])
    assert copy(source, indexes="none").exit_code == 0
    assert_same(source, guest.owner_url)
    guest.owner(read_sql("hnsw.sql"))
    # Newer rows are another right.
    edit(
        own, ("UPDATE knowledge_nodes SET content = 'changed', updated_at = '2031-01-01T00:00:00Z' WHERE rowid = 1", ())
    )
    with pytest.raises(
        DestinationUnusable, match=r"GRANT UPDATE ON public\.knowledge_nodes TO .*public\.scheduling"
    ) as refused:
        copy(own, on_conflict="newer")
    for grant in str(refused.value).partition("run: ")[2].split("; "):
        guest.owner(grant)
    report = copy(own, on_conflict="newer", verify=True)
    assert (report.tables["knowledge_nodes"].updated, report.exit_code) == (1, 0)


def test_a_role_that_may_make_no_table_or_see_no_row_is_refused(source: Path, database: str, guest: Guest) -> None:
    copy = Copier(guest.url)
    guest.owner("CREATE EXTENSION vector")
    with pytest.raises(DestinationUnusable, match="GRANT CREATE ON SCHEMA public TO guest_"):
        copy(source)
    guest.owner(EARLIER.read_text(encoding="utf-8").replace("{}", "{{}}"))
    with pytest.raises(DestinationUnusable, match=r"GRANT SELECT ON public\.users TO"):
        Verifier(guest.url)(source)
    guest.owner(
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        "ALTER TABLE edges ENABLE ROW LEVEL SECURITY",
    )
    for refuse in (copy, Verifier(guest.url)):
        with pytest.raises(DestinationUnusable, match="row-level security hides rows of edges"):
            refuse(source)
    guest.owner("ALTER ROLE {role} SET default_transaction_read_only = on")
    with pytest.raises(DestinationUnusable, match=r"read-only .*give the primary's URL") as refused:
        copy(source)
    assert refused.value.exit_code == 3


def test_row_security_of_any_table_that_is_used_is_refused_before_anything_is_written(
    source: Path, made_by_owner: str, guest: Guest
) -> None:
    """Whatever the policies say: hidden rows, refused inserts, none at all; for guests and, where forced, the owner."""
    Copier(made_by_owner)(source, indexes="now")
    guest.owner("GRANT CREATE ON SCHEMA public TO {role}", LOST, "DELETE FROM knowledge_nodes")
    with psycopg.connect(guest.url) as connection:
        connection.execute(read_sql("archive.sql"))
    guest.owner(
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        "ALTER TABLE embedding_model ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY reads ON embedding_model FOR SELECT USING (true)",
    )
    for dry_run in (True, False):
        with pytest.raises(DestinationUnusable, match=r"row-level security .* embedding_model .*owner") as refused:
            Copier(guest.url)(source, dry_run=dry_run)
        assert refused.value.exit_code == 3
    with pytest.raises(DestinationUnusable, match="embedding_model"):
        Verifier(guest.url)(source)
    guest.owner(
        "ALTER TABLE embedding_model DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE vestige_archive FORCE ROW LEVEL SECURITY, ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY inserts ON vestige_archive FOR INSERT WITH CHECK (false)",
    )
    for refuse, options in ((Copier(guest.url), {"archive": True}), (Verifier(guest.url), {})):
        with pytest.raises(
            DestinationUnusable, match=r"ALTER TABLE public\.vestige_archive NO FORCE ROW LEVEL SECURITY"
        ) as refused:
            refuse(source, **options)
    with psycopg.connect(made_by_owner) as connection:
        assert connection.execute("SELECT count(*) FROM knowledge_nodes").fetchone() == (0,)
    guest.owner(str(refused.value).rpartition("run: ")[2])
    guest.owner("DROP POLICY inserts ON vestige_archive")
    assert Copier(guest.url)(source, archive=True).exit_code == 0
    assert_same(source, made_by_owner)


def test_a_session_that_ends_while_the_destination_is_looked_at_is_a_refusal(
    source: Path, copy: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = registry.read_registry

    def end_first(connection: Connection) -> ModelSignature | None:
        with psycopg.connect(copy.database) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
        return ask(connection)

    monkeypatch.setattr(registry, "read_registry", end_first)
    for refuse in (copy, Verifier(copy.database)):
        with pytest.raises(DestinationUnusable, match=r"admin shutdown .* Nothing was written; run again"):
            refuse(source)
        monkeypatch.undo()
        assert copy(source).memories_copied == 40
        monkeypatch.setattr(registry, "read_registry", end_first)
