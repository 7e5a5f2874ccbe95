"""What was dropped or replaced in the destination after a copy is named, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.conftest import Copier
from tests.integration.test_destination_as_found import EARLIER
from tests.support.databases import pgvector_version
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.verifying import Verifier, named
from vestige_migrate import VerifyReport

HNSW = "idx_knowledge_nodes_embedding_hnsw"


@pytest.fixture
def verify(database: str) -> Verifier:
    return Verifier(database)


@pytest.fixture
def copied(source: Path) -> Path:
    """The file of which the database of a test marked with `holds` has a copy."""
    return source


def alter(database: str, *statements: str) -> None:
    with psycopg.connect(database) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def wrong(report: VerifyReport) -> dict[tuple[str, str], str]:
    """Parts of the schema that are named, with what is said of them."""
    assert all(str(item.kind) == "schema" for item in report.differences), report.differences
    assert report.exit_code == (1 if report.differences else 0)
    return {(item.table, item.id): item.detail for item in report.differences}


@pytest.mark.holds("a copy")
def test_every_constraint_that_is_gone_or_does_not_hold_is_named(copied: Path, verify: Verifier, database: str) -> None:
    alter(
        database,
        "ALTER TABLE edges DROP CONSTRAINT edges_source_id_fkey",
        "ALTER TABLE edges DROP CONSTRAINT edges_target_id_fkey",
        "ALTER TABLE edges ADD FOREIGN KEY (target_id) REFERENCES knowledge_nodes (id) NOT VALID",
        "ALTER TABLE edges DROP CONSTRAINT edges_pkey",
        "ALTER TABLE review_events DROP CONSTRAINT review_events_memory_id_fkey",
        "ALTER TABLE review_events ADD FOREIGN KEY (memory_id) REFERENCES scheduling (memory_id)",
        "ALTER TABLE knowledge_nodes DROP CONSTRAINT knowledge_nodes_owner_user_id_fkey",
        "ALTER TABLE knowledge_nodes DROP CONSTRAINT knowledge_nodes_visibility_check",
        "ALTER TABLE knowledge_nodes ALTER content DROP NOT NULL, ALTER owner_user_id DROP DEFAULT",
        "ALTER TABLE knowledge_nodes ALTER visibility SET DEFAULT 'public'",
        "ALTER TABLE group_memberships DROP CONSTRAINT group_memberships_role_check",
        "ALTER TABLE group_memberships ADD CHECK (role <> '')",
        "ALTER TABLE users DROP CONSTRAINT users_handle_key",
        "ALTER TABLE groups DROP CONSTRAINT groups_handle_key",
        "CREATE UNIQUE INDEX ON groups (handle) WHERE handle <> ''",
        "ALTER TABLE scheduling ALTER reps DROP NOT NULL, ALTER lapses DROP DEFAULT",
        "ALTER TABLE domains SET UNLOGGED",
    )
    assert wrong(verify(copied)) == {
        ("edges", "source_id"): "has no foreign key to knowledge_nodes any more",
        ("edges", "target_id"): "has a foreign key to knowledge_nodes that is not validated",
        ("edges", "source_id, target_id"): "has no primary key or unique constraint any more",
        ("review_events", "memory_id"): "has no foreign key to knowledge_nodes any more",
        ("knowledge_nodes", "owner_user_id"): "has no foreign key to users any more",
        ("knowledge_nodes", "visibility"): "has no CHECK any more",
        ("knowledge_nodes", "content"): "is not NOT NULL any more",
        ("group_memberships", "role"): "has a CHECK that takes any value",
        ("users", "handle"): "has no primary key or unique constraint any more",
        ("groups", "handle"): "has no primary key or unique constraint any more",
        ("scheduling", "reps"): "is not NOT NULL any more",
        ("scheduling", "lapses"): "has no default any more",
        ("domains", "domains"): "is UNLOGGED: a crash of the server empties it",
    }
    defaults = [item.detail for item in verify(copied).differences if item.id in ("owner_user_id", "visibility")]
    assert "has no default any more" in defaults
    assert "has another default than private" in defaults


VECTOR_INDEXES = {
    "USING hnsw (embedding vector_l2_ops)": "over another distance (vector_l2_ops",
    "USING hnsw (embedding vector_ip_ops)": "over another distance (vector_ip_ops",
    "USING hnsw (embedding vector_cosine_ops) WHERE owner_user_id IS NOT NULL": "a part of the vectors only",
    "USING hnsw ((embedding::halfvec(256)) halfvec_cosine_ops)": "over another distance (halfvec_cosine_ops",
    "USING hnsw (((embedding::real[])[1:9]::vector(9)) vector_cosine_ops)": "over another expression",
    "(id)": "is no HNSW index (btree)",
}


@pytest.mark.indexed
@pytest.mark.holds("a copy")
def test_an_hnsw_index_that_searches_by_cosine_cannot_use_is_named(
    copied: Path, verify: Verifier, database: str
) -> None:
    has_halves = pgvector_version(database) >= (0, 7)
    for definition, said in VECTOR_INDEXES.items():
        if "halfvec" in definition and not has_halves:
            continue
        alter(database, f"DROP INDEX {HNSW}", f"CREATE INDEX {HNSW} ON knowledge_nodes {definition}")
        [(place, detail)] = wrong(report := verify(copied)).items()
        assert place == ("knowledge_nodes", HNSW)
        assert said in detail
        assert report.search is not None
        assert report.search.no_recall == "the destination has no HNSW index"
    # Beside one of ours any other is somebody's own.
    alter(
        database,
        f"ALTER INDEX {HNSW} RENAME TO theirs",
        f"CREATE INDEX {HNSW} ON knowledge_nodes USING hnsw (embedding vector_cosine_ops)",
        "CREATE INDEX ON knowledge_nodes USING hnsw (embedding vector_l2_ops)",
    )
    assert wrong(verify(copied)) == {}


@pytest.mark.indexed
@pytest.mark.holds("a copy")
def test_indexes_under_our_names_that_are_others_or_invalid_are_named(
    copied: Path, verify: Verifier, database: str
) -> None:
    alter(
        database,
        "DROP INDEX idx_knowledge_nodes_search_vec, idx_edges_target_id, idx_knowledge_nodes_codebase,"
        " idx_knowledge_nodes_scope",
        "CREATE INDEX idx_knowledge_nodes_scope ON knowledge_nodes ((metadata #>> '{sqlite,source}'))"
        " WHERE metadata <> '{}'",
        "CREATE INDEX idx_knowledge_nodes_search_vec ON knowledge_nodes USING gin (tags)",
        "CREATE INDEX idx_edges_target_id ON edges (source_id)",
        "CREATE INDEX idx_knowledge_nodes_codebase ON knowledge_nodes (codebase)",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid IN ('idx_scheduling_last_review'::regclass,"
        f" '{HNSW}'::regclass)",
    )
    found = wrong(verify(copied))
    assert {part for _, part in found} == {
        "idx_knowledge_nodes_search_vec", "idx_edges_target_id", "idx_knowledge_nodes_codebase",
        "idx_knowledge_nodes_scope", "idx_scheduling_last_review", HNSW,
    }  # fmt: skip
    assert "is invalid" in found["knowledge_nodes", HNSW]


def test_indexes_that_are_not_there_are_said_and_no_difference(source: Path, copy: Copier, verify: Verifier) -> None:
    copy(source, indexes="none")
    report = verify(source)
    assert (named(report), report.exit_code) == ([], 0)
    assert HNSW in report.missing_indexes
    assert len(report.missing_indexes) == 17


@pytest.mark.bare_database
def test_tables_of_the_first_version_are_the_same(source: Path, copy: Copier, database: str, verify: Verifier) -> None:
    alter(database, "CREATE EXTENSION vector", EARLIER.read_text(encoding="utf-8"))
    copy(source)
    assert (named(report := verify(source)), report.exit_code) == ([], 0)


OTHER_EXPRESSIONS = {
    "to_tsvector('simple', content)": "search_vec is empty or not of its texts",
    "setweight(to_tsvector('english', left(content, 65536)), 'A')": "search_vec is empty or not of its texts",
    "''::tsvector": "search_vec is empty or not of its texts",
}


@pytest.mark.holds("a copy")
def test_a_search_column_that_is_generated_otherwise_is_named_with_its_rows(
    copied: Path, verify: Verifier, database: str
) -> None:
    for expression, said in OTHER_EXPRESSIONS.items():
        alter(
            database,
            "ALTER TABLE knowledge_nodes DROP COLUMN search_vec",
            f"ALTER TABLE knowledge_nodes ADD search_vec tsvector GENERATED ALWAYS AS ({expression}) STORED",
        )
        report = verify(copied)
        assert report.exit_code == 1
        [schema] = [item for item in report.differences if str(item.kind) == "schema"]
        assert (schema.id, schema.detail) == (
            "search_vec", "is generated otherwise: full text does not find what it should",
        )  # fmt: skip
        rows = [item for item in report.differences if str(item.kind) == "search"]
        assert len(rows) == 40
        assert {item.detail for item in rows} == {said}


@pytest.mark.holds("a copy")
def test_a_search_column_that_is_plain_stale_or_gone_is_named(copied: Path, verify: Verifier, database: str) -> None:
    memory = verify.one("SELECT min(id::text) FROM knowledge_nodes")
    alter(
        database,
        "ALTER TABLE knowledge_nodes ALTER search_vec DROP EXPRESSION",
        f"UPDATE knowledge_nodes SET search_vec = NULL WHERE id = '{memory}'",
    )
    assert named(report := verify(copied)) == [
        ("knowledge_nodes", memory, "search", ("search_vec",)),
        ("knowledge_nodes", "search_vec", "schema", ()),
    ]
    assert report.exit_code == 1
    alter(database, "ALTER TABLE knowledge_nodes DROP COLUMN search_vec")
    assert wrong(verify(copied)) == {("knowledge_nodes", "search_vec"): "is missing: full text finds nothing"}


@pytest.mark.holds("a copy")
def test_a_function_that_makes_other_words_of_tags_is_found_out(copied: Path, verify: Verifier, database: str) -> None:
    alter(
        database,
        "CREATE OR REPLACE FUNCTION vestige_tags_text(tags text[]) RETURNS text LANGUAGE sql IMMUTABLE STRICT"
        " AS $$ SELECT 'nothing' $$",
    )
    # The rows that were written before still have their words; what is written from now on has not.
    assert wrong(verify(copied)) == {
        ("knowledge_nodes", "search_vec"): "is generated otherwise: full text does not find what it should"
    }


@pytest.mark.indexed
@pytest.mark.holds("a copy")
def test_the_registry_and_the_column_are_compared_with_the_source(
    copied: Path, verify: Verifier, database: str, copy: Copier
) -> None:
    alter(database, "UPDATE embedding_model SET hash = NULL")
    assert named(report := verify(copied)) == [("embedding_model", "1", "different", ("hash",))]
    assert report.exit_code == 1
    copy(copied)  # which is what to do about it
    assert verify(copied).same
    alter(database, "UPDATE embedding_model SET name = 'other', hash = 'other'")
    assert named(verify(copied)) == [("embedding_model", "1", "different", ("name", "hash"))]
    alter(database, "DELETE FROM embedding_model")
    assert named(verify(copied)) == [("embedding_model", "1", "missing", ())]
    alter(database, "DROP TABLE embedding_model", f"DROP INDEX {HNSW}")
    alter(database, "ALTER TABLE knowledge_nodes ALTER embedding TYPE vector USING (embedding::real[])[1:3]::vector")
    found = named(report := verify(copied))
    assert ("embedding_model", "1", "missing", ()) in found
    assert ("knowledge_nodes", "embedding", "schema", ()) in found
    assert report.tables["knowledge_nodes"].different == 39
    alter(database, "ALTER TABLE knowledge_nodes ALTER embedding TYPE vector(3)")
    [column] = [item for item in verify(copied).differences if item.id == "embedding"]
    assert column.detail == "is vector(3), the source's vectors have 256"


@pytest.mark.holds("a copy")
def test_what_only_looks_like_a_table_is_named(copied: Path, verify: Verifier, database: str) -> None:
    alter(
        database,
        "ALTER TABLE review_events RENAME TO events_elsewhere",
        "CREATE VIEW review_events AS SELECT * FROM events_elsewhere",
        "CREATE TABLE more_domains () INHERITS (domains)",
    )
    found = wrong(verify(copied))
    assert found["review_events", "review_events"] == "is a view in place of a table"
    assert "inherit" in found["domains", "domains"]


@pytest.mark.holds("a copy")
def test_rows_that_are_there_twice_are_named_and_the_others_still_compared(
    copied: Path, verify: Verifier, database: str
) -> None:
    memory = verify.one("SELECT id FROM knowledge_nodes ORDER BY created_at, id LIMIT 1")
    changed = verify.one("SELECT id FROM knowledge_nodes ORDER BY created_at, id OFFSET 20 LIMIT 1")
    alter(
        database,
        "ALTER TABLE knowledge_nodes DROP CONSTRAINT knowledge_nodes_pkey CASCADE",
        "INSERT INTO knowledge_nodes (id, content, created_at) SELECT id, content, created_at FROM knowledge_nodes"
        f" WHERE id = '{memory}'",
        f"UPDATE knowledge_nodes SET metadata = '{{\"other\": 1}}' WHERE id = '{changed}'",
    )
    found = named(verify(copied))
    assert ("knowledge_nodes", memory, "repeated", ()) in found
    assert ("knowledge_nodes", changed, "different", ("metadata",)) in found
    assert [item for item in found if item[2] in ("different", "missing") and item[1] not in (memory, changed)] == []


@pytest.mark.indexed
@pytest.mark.holds("a copy")
def test_an_index_that_lacks_rows_is_no_witness(copied: Path, verify: Verifier, database: str) -> None:
    """Full text through a corrupt index: the row has the words and the index does not."""
    alter(database, "DROP INDEX idx_knowledge_nodes_search_vec")
    ready = "UPDATE pg_index SET indisready = {} WHERE indexrelid = 'idx_knowledge_nodes_search_vec'::regclass"
    alter(
        database,
        "CREATE INDEX idx_knowledge_nodes_search_vec ON knowledge_nodes USING gin (search_vec)",
        ready.format("false"),
    )
    alter(database, "UPDATE knowledge_nodes SET content = content || ' quetzalcoatl'")
    alter(database, ready.format("true"))
    edit(copied, ("UPDATE knowledge_nodes SET content = content || ' quetzalcoatl'", ()))
    report = verify(copied)
    assert {(item.table, str(item.kind)) for item in report.differences} == {("knowledge_nodes", "search")}
    assert "REINDEX" in report.differences[0].detail
    assert report.exit_code == 1


def test_nothing_of_a_whole_copy_is_named_whatever_the_file(tmp_path: Path, copy: Copier, verify: Verifier) -> None:
    path = build_source(
        tmp_path / "vestige.db", SourceSpec(memories=20, schedules=20, edges=5, events=5, dimension=2100)
    )
    edit(path, ("UPDATE knowledge_nodes SET content = CASE rowid % 3 WHEN 0 THEN 'the of and' WHEN 1 THEN '記憶は東京'"
                " ELSE '' END, tags = '[]'", ()))  # fmt: skip
    copy(path)
    assert (named(report := verify(path)), report.exit_code) == ([], 0)
