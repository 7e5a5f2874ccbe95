"""Which tables Vestige's portable archive holds, by which columns their rows are known, and what it leaves out.

Facts from Vestige's `portable-export` (repository samvallad33/vestige, `crates/vestige-core/src/storage`), which writes
the tables of a fixed list that the file has. `tests/unit/test_portable_tables.py` compares both with every schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vestige_migrate.source.layout.known_names import READ_TABLES
from vestige_migrate.source.layout.layout import Lineage

KEYS: Mapping[str, tuple[str, ...]] = {
    "knowledge_nodes": ("id",),
    "node_embeddings": ("node_id",),
    "fsrs_cards": ("memory_id",),
    "memory_states": ("memory_id",),
    "memory_connections": ("source_id", "target_id"),
    "memory_access_log": ("id",),
    "state_transitions": ("id",),
    "intentions": ("id",),
    "insights": ("id",),
    "sessions": ("id",),
    "fsrs_config": ("key",),
    "consolidation_history": ("id",),
    "dream_history": ("id",),
    "retention_snapshots": ("id",),
    "sync_tombstones": ("table_name", "row_id"),
    "deletion_tombstones": ("memory_id",),
    "composition_events": ("id",),
    "composition_members": ("event_id", "memory_id", "role"),
    "composition_outcomes": ("id",),
}
"""Tables of an archive -> primary key."""

NUMBERED = frozenset(
    {"memory_access_log", "state_transitions", "consolidation_history", "dream_history", "retention_snapshots"}
)
"""Tables whose key is the rowid (INTEGER PRIMARY KEY)."""

_SINCE: Mapping[str, Mapping[int, str]] = {
    Lineage.SHARED: {
        1: "knowledge_nodes node_embeddings",
        3: "consolidation_history fsrs_cards insights intentions memory_connections memory_states state_transitions",
        4: "sessions",
        5: "fsrs_config memory_access_log",
        6: "dream_history",
        8: "retention_snapshots",
        12: "sync_tombstones",
        13: "deletion_tombstones",
    },
    Lineage.PLAN: {
        12: "review_events",
        14: "embedding_model domains",
        15: "users groups group_memberships",
    },
    Lineage.RELEASED: {
        14: "merge_plans merge_operations",
        15: "composition_events composition_members composition_outcomes",
        16: "embedding_model domains",
        17: "connector_cursors",
        18: "agent_traces agent_runs memory_receipts memory_prs",
        21: "synaptic_tags synaptic_events synaptic_capture_items",
        23: "retrieval_replay_capsules retrieval_replay_items counterfactual_replays",
        24: "receipt_signing_keys receipt_envelopes receipt_chain_state receipt_disclosures",
        25: "artifact_lineage erasure_generation_counter erasure_jobs erasure_steps erasure_tombstones "
        "managed_artifacts",
        28: "embedding_profiles embedding_profile_state embedding_profile_vectors embedding_profile_manifests "
        "embedding_profile_migrations embedding_profile_migration_checkpoints",
        31: "code_memory_anchors",
        32: "vector_journal",
        33: "failure_feedback",
        34: "suppression_operations",
        35: "suppression_cascade_effects",
        36: "intention_graph_state intention_graph_journal",
        38: "actor_role_weights actor_role_membership actor_policy_state actor_endorsement_events",
        39: "walk_receipts",
    },
}
"""Line -> version -> the tables that it added; V4's two that V11 took away again are left out, as no Vestige that wrote
archives had them."""


def expected_tables(lineage: Lineage, version: int) -> frozenset[str]:
    """The tables of a file of this version. A fork's are not known: those that it shares."""
    lines = (Lineage.SHARED, lineage) if lineage in (Lineage.PLAN, Lineage.RELEASED) else (Lineage.SHARED,)
    return frozenset(
        name for line in lines for since, names in _SINCE[line].items() if since <= version for name in names.split()
    )


class Lacking(NamedTuple):
    """Tables that a file of some version has and an archive of it does not: those that a copy reads and others, which
    the format leaves out; and those that the format holds and this one does not."""

    read: tuple[str, ...]
    unplaced: tuple[str, ...]
    missing: tuple[str, ...]


def lacking(lineage: Lineage, version: int, tables: frozenset[str]) -> Lacking:
    """What an archive with these tables lacks."""
    missing = expected_tables(lineage, version) - tables
    left_out = missing - KEYS.keys()
    read, unplaced, of_this_one = left_out & READ_TABLES, left_out - READ_TABLES, missing & KEYS.keys()
    return Lacking(tuple(sorted(read)), tuple(sorted(unplaced)), tuple(sorted(of_this_one)))
