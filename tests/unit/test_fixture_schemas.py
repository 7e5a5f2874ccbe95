"""The fixtures themselves: every version's schema is whole, and a built file holds exactly what it was asked for."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.support.sources import (
    ACTIVE_PROFILE,
    DEFAULT_SPEC,
    LEGACY_PROFILE,
    OtherVectors,
    SourceSpec,
    build_anew,
    build_source,
    edit,
)
from tests.support.vestige_schemas import (
    BOOTSTRAP_USER_ID,
    EVERY_VERSION,
    Line,
    create_plain_v15,
    create_schema,
)

# What docs/versions.md names, as (from which version on, up to which, table, columns); an upper bound of None means
# that nothing takes it away again.
Named = tuple[int, int | None, str, str]
SHARED: tuple[Named, ...] = (
    (
        1,
        None,
        "knowledge_nodes",
        "id content node_type created_at updated_at last_accessed stability difficulty reps lapses learning_state "
        "storage_strength retrieval_strength retention_strength sentiment_score sentiment_magnitude next_review "
        "scheduled_days source tags has_embedding embedding_model",
    ),
    (1, None, "node_embeddings", "node_id embedding dimensions model created_at"),
    (1, None, "knowledge_fts", "id content tags"),
    (1, None, "schema_version", "version applied_at"),
    (2, None, "knowledge_nodes", "valid_from valid_until"),
    (3, None, "intentions", "id"),
    (3, None, "insights", "id"),
    (
        3,
        None,
        "memory_connections",
        "source_id target_id strength link_type created_at last_activated activation_count",
    ),
    (3, None, "memory_states", "memory_id"),
    (3, None, "fsrs_cards", "memory_id"),
    (3, None, "consolidation_history", "id"),
    (3, None, "state_transitions", "id"),
    (4, None, "knowledge_nodes", "scope memory_system"),
    (4, None, "node_embeddings", "version"),
    (4, 10, "knowledge_edges", "id"),
    (4, None, "sessions", "id"),
    (4, 10, "compressed_memories", "id"),
    (5, None, "knowledge_nodes", "activation"),
    (5, None, "memory_access_log", "id"),
    (5, None, "fsrs_config", "key"),
    (6, None, "dream_history", "id"),
    (8, None, "knowledge_nodes", "waking_tag waking_tag_at utility_score times_retrieved times_useful"),
    (8, None, "retention_snapshots", "id"),
    (9, None, "knowledge_nodes", "emotional_valence flashbulb temporal_level summary_parent_id"),
    (10, None, "knowledge_nodes", "suppression_count suppressed_at"),
    (12, None, "sync_tombstones", "table_name row_id"),
    (13, None, "deletion_tombstones", "memory_id"),
)
DOMAINS = "id label centroid top_terms memory_count created_at"
MODEL = "id name dimension hash created_at"
EVENTS = "id memory_id occurred_at retrievability_before retrievability_after rating kind metadata"
PLAN: tuple[Named, ...] = (
    (12, None, "review_events", EVENTS),
    (14, None, "embedding_model", MODEL),
    (14, None, "domains", DOMAINS),
    (14, None, "knowledge_nodes", "domains domain_scores"),
    (15, None, "users", "id handle display_name created_at metadata"),
    (15, None, "groups", "id handle display_name created_at metadata"),
    (15, None, "group_memberships", "user_id group_id role joined_at"),
    (15, None, "knowledge_nodes", "owner_user_id visibility shared_with_groups codebase"),
)
RELEASED: tuple[Named, ...] = (
    (14, None, "merge_plans", "id"),
    (14, None, "merge_operations", "id"),
    (14, None, "knowledge_nodes", "protected superseded_by"),
    (15, None, "composition_events", "id"),
    (15, None, "composition_members", "event_id memory_id role"),
    (15, None, "composition_outcomes", "id"),
    (16, None, "embedding_model", MODEL),
    (16, None, "domains", DOMAINS),
    (16, None, "knowledge_nodes", "domains domain_scores"),
    (
        17,
        None,
        "knowledge_nodes",
        "source_system source_id source_url source_updated_at content_hash synced_at source_project source_type "
        "source_author",
    ),
    (17, None, "connector_cursors", "source_system scope"),
    (18, None, "agent_traces", "id"),
    (18, None, "agent_runs", "run_id"),
    (18, None, "memory_receipts", "receipt_id"),
    (18, None, "memory_prs", "id"),
    (28, None, "embedding_profiles", "profile_id model_id embedding_dimension"),
    (28, None, "embedding_profile_state", "singleton active_profile_id"),
    (28, None, "embedding_profile_vectors", "profile_id node_id embedding dimensions model created_at"),
    (31, None, "code_memory_anchors", "id"),
    (32, None, "vector_journal", "seq"),
    (33, None, "failure_feedback", "id"),
    (34, None, "suppression_operations", "sequence"),
    (35, None, "suppression_cascade_effects", "operation_sequence neighbor_id"),
    (36, None, "intention_graph_state", "scope state_json updated_at"),
    (36, None, "intention_graph_journal", "scope seq command_json evaluated_at output_digest state_digest"),
    (37, None, "intentions", "scope"),
    (38, None, "actor_role_weights", "role weight_prior"),
    (38, None, "actor_role_membership", "actor_did role"),
    (38, None, "actor_policy_state", "id policy_version"),
    (38, None, "actor_endorsement_events", "event_id memory_id actor_did"),
    (38, None, "knowledge_nodes", "author_actor_did"),
    (39, None, "walk_receipts", "receipt_id digest canonical_json"),
)
OF_LINE: dict[Line, tuple[Named, ...]] = {"shared": SHARED, "plan": SHARED + PLAN, "released": SHARED + RELEASED}

every_version = pytest.mark.parametrize(("line", "version"), EVERY_VERSION)


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "vestige.db")) as connection:
        yield connection


def columns(conn: sqlite3.Connection, table: str) -> set[str]:
    return {name for (name,) in conn.execute("SELECT name FROM pragma_table_info(?)", (table,))}


def tables(conn: sqlite3.Connection) -> set[str]:
    return {name for (name,) in conn.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def count(conn: sqlite3.Connection, table: str) -> int:
    (rows,) = conn.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
    return int(rows)


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@every_version
def test_a_version_has_what_is_known_of_it_and_nothing_from_later(
    conn: sqlite3.Connection, line: Line, version: int
) -> None:
    create_schema(conn, line, version)
    for first, last, table, names in OF_LINE[line]:
        there = first <= version and (last is None or version <= last)
        if there:
            assert columns(conn, table) >= set(names.split()), f"{table} of V{first}"
        else:
            assert not columns(conn, table) & set(names.split()), f"{table} of V{first} in V{version}"


def test_the_two_lines_mean_different_things_by_v15(tmp_path: Path) -> None:
    found = {}
    for line in ("plan", "released"):
        with closing(sqlite3.connect(tmp_path / f"{line}.db")) as connection:
            create_schema(connection, line, 15)
            found[line] = tables(connection)
    assert {"users", "embedding_model", "review_events"} <= found["plan"] - found["released"]
    assert {"composition_events", "merge_plans"} <= found["released"] - found["plan"]


@every_version
def test_the_version_is_one_row_and_user_version_is_zero(conn: sqlite3.Connection, line: Line, version: int) -> None:
    create_schema(conn, line, version)
    assert conn.execute("SELECT version FROM schema_version").fetchall() == [(version,)]
    assert conn.execute("PRAGMA user_version").fetchone() == (0,)
    assert conn.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert conn.execute("PRAGMA page_size").fetchone() == (8192 if version >= 7 else 4096,)
    assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@every_version
def test_full_text_search_follows_insert_update_and_delete(conn: sqlite3.Connection, line: Line, version: int) -> None:
    create_schema(conn, line, version)
    find = "SELECT id FROM knowledge_fts WHERE knowledge_fts MATCH ?"
    conn.execute(
        "INSERT INTO knowledge_nodes (id, content, created_at, updated_at, last_accessed) "
        "VALUES ('m', 'the walrus sings', 't', 't', 't')"
    )
    assert conn.execute(find, ("walrus",)).fetchall() == [("m",)]
    conn.execute("UPDATE knowledge_nodes SET content = 'the otter swims'")
    assert conn.execute(find, ("walrus",)).fetchall() == []
    assert conn.execute(find, ("otter",)).fetchall() == [("m",)]
    conn.execute("DELETE FROM knowledge_nodes")
    assert conn.execute(find, ("otter",)).fetchall() == []


def test_a_version_that_a_line_lacks_is_refused(conn: sqlite3.Connection) -> None:
    with pytest.raises(ValueError, match=re.escape("the released line has V14 to V39, not V13")):
        create_schema(conn, "released", 13)


def test_plain_v15_takes_rows_that_no_destination_would(conn: sqlite3.Connection) -> None:
    create_plain_v15(conn)
    conn.execute("INSERT INTO knowledge_nodes (id, content, visibility, created_at) VALUES (NULL, 'x', 'nobody', 5)")
    conn.execute("INSERT INTO scheduling (memory_id, reps) VALUES ('nowhere', 'many')")
    conn.execute("INSERT INTO users (id, handle) VALUES ('a', 'local'), ('b', NULL)")
    assert conn.execute("SELECT typeof(reps) FROM scheduling").fetchone() == ("text",)
    assert conn.execute("PRAGMA foreign_key_list(scheduling)").fetchone()[2] == "knowledge_nodes"
    assert conn.execute("SELECT version FROM schema_version").fetchall() == [(15,)]


@pytest.mark.parametrize("form", ["plain", "vestige"])
def test_a_plan_file_has_exactly_the_counts_asked_for(tmp_path: Path, form: str) -> None:
    spec = SourceSpec(form="plain" if form == "plain" else "vestige", memories=120, schedules=120, memberships=5)
    with closing(sqlite3.connect(build_source(tmp_path / "vestige.db", spec))) as conn:
        wanted = {"knowledge_nodes": 120, "users": 4, "groups": 2, "group_memberships": 5, "domains": 5}
        wanted |= {"review_events": 50, "embedding_model": 1}
        wanted |= {"scheduling": 120, "edges": 50} if form == "plain" else {"memory_connections": 50}
        assert {table: count(conn, table) for table in wanted} == wanted
        assert conn.execute("SELECT handle FROM users WHERE id = ?", (BOOTSTRAP_USER_ID,)).fetchone() == ("local",)


@every_version
def test_a_built_file_is_sound_and_fills_every_table(tmp_path: Path, line: Line, version: int) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(line=line, version=version, form="vestige").sized(60))
    with closing(sqlite3.connect(path)) as conn:
        assert conn.execute("PRAGMA foreign_key_check").fetchall() == []
        assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert conn.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        empty = {table for table in tables(conn) if not count(conn, table)}
        assert empty <= {"knowledge_edges", "compressed_memories"}
        conn.execute("INSERT INTO knowledge_fts(knowledge_fts) VALUES ('integrity-check')")
        assert conn.execute("SELECT COUNT(*) FROM knowledge_fts WHERE knowledge_fts MATCH 'note'").fetchone() == (60,)


def test_the_same_seed_makes_the_same_file_and_another_seed_another(tmp_path: Path) -> None:
    spec = SourceSpec(line="released", version=35).sized(40)
    first = dump(build_source(tmp_path / "a.db", spec))
    assert dump(build_anew(tmp_path / "b.db", spec)) == first
    other = SourceSpec(line="released", version=35, seed=8).sized(40)
    assert dump(build_source(tmp_path / "c.db", other)) != first


def test_times_come_in_every_form_that_real_files_have(tmp_path: Path) -> None:
    with closing(sqlite3.connect(build_source(tmp_path / "vestige.db"))) as conn:
        times = [str(time) for (time,) in conn.execute("SELECT created_at FROM knowledge_nodes")]
    forms = {re.sub(r"\d", "9", time) for time in times}
    fractions = ("", ".999", ".999999", ".999999999")
    rfc_3339 = {f"9999-99-99T99:99:99{part}{zone}" for part in fractions for zone in ("Z", "+99:99")}
    assert forms == {"9999-99-99 99:99:99", *rfc_3339}
    assert len(set(times)) < len(times), "some memories share their time"


def test_contents_and_json_are_lifelike_and_valid(tmp_path: Path) -> None:
    with closing(sqlite3.connect(build_source(tmp_path / "vestige.db"))) as conn:
        rows = conn.execute("SELECT content, tags, metadata, domains, domain_scores FROM knowledge_nodes").fetchall()
        sizes = {size for (size,) in conn.execute("SELECT length(embedding) FROM knowledge_nodes")}
        (blob,) = conn.execute("SELECT embedding FROM knowledge_nodes WHERE embedding IS NOT NULL").fetchone()
    text = "".join(content for content, *_ in rows)
    assert all(part in text for part in ("🎉", "会議", "é", '"', "'", "\n", "\t", "\\"))
    assert len({content for content, *_ in rows}) == DEFAULT_SPEC.memories
    for _, tags, metadata, domains, scores in rows:
        assert isinstance(json.loads(tags), list)
        assert isinstance(json.loads(metadata), dict)
        assert json.loads(scores).keys() == set(json.loads(domains))
    assert sizes == {None, 4 * DEFAULT_SPEC.dimension}
    assert np.linalg.norm(np.frombuffer(blob, "<f4")) == pytest.approx(1.0, abs=1e-5)


def test_an_old_file_can_hold_vectors_of_several_models(tmp_path: Path) -> None:
    others = (OtherVectors("BAAI/bge-base-en-v1.5", 768, 7), OtherVectors("all-MiniLM-L6-v2", 384, 3))
    spec = SourceSpec(line="shared", version=12, memories=50, no_vector_every=0, other_vectors=others)
    with closing(sqlite3.connect(build_source(tmp_path / "vestige.db", spec))) as conn:
        found = conn.execute(
            "SELECT dimensions, COUNT(*), MIN(length(embedding)), MAX(length(embedding)) FROM node_embeddings "
            "GROUP BY model, dimensions ORDER BY dimensions"
        ).fetchall()
    assert found == [(256, 40, 1024, 1024), (384, 3, 1536, 1536), (768, 7, 3072, 3072)]


def test_from_v28_on_the_active_profile_has_vectors_of_its_own(tmp_path: Path) -> None:
    spec = SourceSpec(line="released", version=28, dimension=384, model="example/model").sized(50)
    with closing(sqlite3.connect(build_source(tmp_path / "vestige.db", spec))) as conn:
        profiles = conn.execute("SELECT profile_id, model_id, embedding_dimension FROM embedding_profiles ORDER BY 1")
        assert profiles.fetchall() == [
            (ACTIVE_PROFILE, "example/model", 384),
            (LEGACY_PROFILE, "nomic-ai/nomic-embed-text-v1.5", 256),
        ]
        assert conn.execute("SELECT active_profile_id FROM embedding_profile_state").fetchall() == [(ACTIVE_PROFILE,)]
        vectors = "SELECT node_id, embedding FROM embedding_profile_vectors WHERE profile_id = ? ORDER BY node_id"
        legacy, active = (conn.execute(vectors, (name,)).fetchall() for name in (LEGACY_PROFILE, ACTIVE_PROFILE))
        mirror = conn.execute("SELECT node_id, embedding FROM node_embeddings ORDER BY node_id").fetchall()
    assert legacy == mirror
    assert [len(blob) for _, blob in active] == [384 * 4] * 48


def test_no_model_means_no_vector_and_no_registry(tmp_path: Path) -> None:
    for form, place in (("plain", "knowledge_nodes"), ("vestige", "node_embeddings")):
        spec = SourceSpec(form="plain" if form == "plain" else "vestige", model=None).sized(20)
        with closing(sqlite3.connect(build_source(tmp_path / f"{form}.db", spec))) as conn:
            assert conn.execute(f"SELECT COUNT(embedding) FROM {place}").fetchone() == (0,)
            assert count(conn, "embedding_model") == 0


def test_a_file_without_memories_or_bootstrap_user_can_be_made(tmp_path: Path) -> None:
    spec = SourceSpec(extra_users=2, with_bootstrap_user=False).sized(0)
    with closing(sqlite3.connect(build_source(tmp_path / "vestige.db", spec))) as conn:
        assert count(conn, "knowledge_nodes") == 0
        assert count(conn, "users") == 2
    with pytest.raises(ValueError, match="events=50 is more than"):
        build_source(tmp_path / "other.db", SourceSpec(memories=0, schedules=0, edges=0))


def test_edit_plants_rows_that_break_a_foreign_key(tmp_path: Path) -> None:
    path = build_source(tmp_path / "vestige.db")
    edit(
        path,
        ("INSERT INTO scheduling (memory_id, stability) VALUES (?, ?)", ("nowhere", 1.0)),
        ("UPDATE knowledge_nodes SET tags = ? WHERE rowid = ?", ("{not json", 1)),
    )
    with closing(sqlite3.connect(path)) as conn:
        assert len(conn.execute("PRAGMA foreign_key_check").fetchall()) == 1
        assert conn.execute("SELECT tags FROM knowledge_nodes WHERE rowid = 1").fetchone() == ("{not json",)
