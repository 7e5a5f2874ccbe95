"""Which line of development a file comes from, and what that means for reading it.

Two lines used the same version numbers for different things, so the line is told from tables and columns, never from
the number (docs/versions.md). The number then says how far along its line a file is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vestige_migrate.errors import SourceTooOld
from vestige_migrate.source.layout.layout import Layout, Lineage

READABLE_VERSION = 15
"""The plan line's version that has a place for everything the destination holds."""
OLDEST_UPGRADABLE = 11
"""Below it Vestige itself must take steps that an upgrade here would skip."""
FIRST_OF_TWO_LINES = 14
NEWEST_KNOWN = {Lineage.SHARED: 13, Lineage.PLAN: 15, Lineage.RELEASED: 39}
WALKS = "walk_receipts"
NUMBERS_OF_WALKS = (39, 40)
"""The table came with V39 of the releases; a branch that was not released numbers that step V40."""
FORKED_FROM, FORK_LACKS = 10, "suppression_count"
"""Forks count on from V9 in their own way. Vestige's own V10 added this column of `knowledge_nodes`."""
_FORK_VECTORS = ("knowledge_nodes", "embedding_v2")


@dataclass(frozen=True)
class Marks:
    """Tables, and columns of `knowledge_nodes`, that only this line has, from a version on."""

    tables: frozenset[str] = frozenset()
    columns: frozenset[str] = frozenset()


def _marks(tables: str = "", columns: str = "") -> Marks:
    return Marks(frozenset(tables.split()), frozenset(columns.split()))


RELEASED: Mapping[int, Marks] = {
    14: _marks("merge_plans merge_operations", "protected superseded_by"),
    15: _marks("composition_events composition_members composition_outcomes"),
    17: _marks(
        "connector_cursors",
        "source_system source_id source_url source_updated_at content_hash synced_at source_project source_type "
        "source_author",
    ),
    18: _marks("agent_traces agent_runs memory_receipts memory_prs"),
    28: _marks("embedding_profiles embedding_profile_state embedding_profile_vectors"),
    31: _marks("code_memory_anchors"),
    32: _marks("vector_journal"),
    33: _marks("failure_feedback"),
    34: _marks("suppression_operations"),
    35: _marks("suppression_cascade_effects"),
    36: _marks("intention_graph_state intention_graph_journal"),
    38: _marks(
        "actor_role_weights actor_role_membership actor_policy_state actor_endorsement_events", "author_actor_did"
    ),
    39: _marks(WALKS),
}
"""Released version -> what only the released line has."""

PLAN: Mapping[int, Marks] = {
    12: _marks("review_events"),
    15: _marks(
        "users groups group_memberships scheduling edges", "owner_user_id visibility shared_with_groups codebase"
    ),
}
"""Plan version -> what only the plan line has. V14 added what the released line added with V16 (`REGISTRY`)."""

REGISTRY = _marks("embedding_model domains", "domains domain_scores")
"""These mean the plan line only where no released mark is present: released files have them from V16 on, and marks from
V14 on."""


class Treatment(StrEnum):
    """What a copy does with a file."""

    AS_IT_IS = "read as it is"
    UPGRADE = "with --snapshot or --allow-source-upgrade"
    SNAPSHOT = "with --snapshot"


def find_lineage(tables: Mapping[str, tuple[str, ...]], version: int) -> Lineage:
    """From what is in the file.

    Where marks of both lines stand side by side the file counts as released, because such a file is never written to.
    A fork is what has neither line's marks and a number past those that Vestige and its forks share, without what that
    number means; the plan line's plain form, which lacks the column too, is told by its own marks.
    """
    columns = set(tables["knowledge_nodes"])

    def found(marks: Marks) -> bool:
        return bool(marks.tables & set(tables) or marks.columns & columns)

    if any(found(marks) for marks in RELEASED.values()):
        return Lineage.RELEASED
    if found(PLAN[READABLE_VERSION]):
        return Lineage.PLAN
    if version >= FORKED_FROM and FORK_LACKS not in columns:
        return Lineage.FORK
    if any(found(marks) for marks in (*PLAN.values(), REGISTRY)):
        return Lineage.PLAN
    # Every released file from V14 on has merge_plans, so a higher number without it is not of that line.
    return Lineage.SHARED if version < FIRST_OF_TWO_LINES else Lineage.PLAN


def treatment(lineage: Lineage, version: int) -> Treatment:
    """What a copy does with a file of this line and version. The released line and forks are never upgraded."""
    if lineage is Lineage.RELEASED or version >= READABLE_VERSION:
        return Treatment.AS_IT_IS
    if lineage is Lineage.FORK:
        return Treatment.SNAPSHOT
    return Treatment.UPGRADE if version >= OLDEST_UPGRADABLE else Treatment.SNAPSHOT


def is_readable(layout: Layout) -> bool:
    """Whether the source can be read as it is: the plan line from V15 on, the released line always."""
    return treatment(layout.lineage, layout.version) is Treatment.AS_IT_IS


def is_newer_than_known(lineage: Lineage, version: int) -> bool:
    """Whether a file's version is past the newest that this program was written for. A fork's says nothing."""
    if lineage is Lineage.FORK or (lineage is Lineage.RELEASED and version in NUMBERS_OF_WALKS):
        return False
    return version > NEWEST_KNOWN.get(lineage, 0)


def strange(layout: Layout) -> str | None:
    """What is not as its version and line say, for the operator; None where all is."""
    if layout.lineage is Lineage.FORK:
        vectors = " (the vectors in embedding_v2 too: embed those memories anew)" if layout.has(*_FORK_VECTORS) else ""
        return (
            f"is of a fork of Vestige ({_fork_sign(layout)}): its numbers mean other things than Vestige's own. What "
            f"this program knows is copied, its other columns are kept under metadata.sqlite{vectors}, its other "
            "tables are named as left behind. The file itself is never changed"
        )
    if layout.lineage is Lineage.RELEASED and layout.version in NUMBERS_OF_WALKS and not layout.has(WALKS):
        return (
            f"is at V{layout.version} and has no table {WALKS}: it is of a branch of Vestige that was not released. "
            "What this program knows is copied, the rest is named as left behind"
        )
    return None


def _fork_sign(layout: Layout) -> str:
    return f"V{layout.version} without knowledge_nodes.{FORK_LACKS}, which Vestige's own has since V{FORKED_FROM}"


def check_readable(layout: Layout, path: Path) -> None:
    """Raises `SourceTooOld` unless the source can be read as it is."""
    found = treatment(layout.lineage, layout.version)
    if found is Treatment.SNAPSHOT:
        raise _only_from_a_snapshot(layout, path)
    if found is Treatment.UPGRADE:
        raise _too_old(
            layout, path, ", or with --allow-source-upgrade, which upgrades the file itself after a backup beside it"
        )


def check_upgradable(layout: Layout, path: Path) -> None:
    """Raises `SourceTooOld` unless the source can be read as it is or be upgraded in place."""
    if treatment(layout.lineage, layout.version) is Treatment.SNAPSHOT:
        raise _only_from_a_snapshot(layout, path)


def _only_from_a_snapshot(layout: Layout, path: Path) -> SourceTooOld:
    if layout.lineage is not Lineage.FORK:
        return _too_old(layout, path, _UPGRADE_WOULD_SKIP)
    return SourceTooOld(
        f"{path} is of a fork of Vestige ({_fork_sign(layout)}): run again with --snapshot, which brings a private "
        "copy forward and never touches the file (--allow-source-upgrade does not work on a fork's file: its version "
        "numbers mean other things)"
    )


_UPGRADE_WOULD_SKIP = (
    f" (--allow-source-upgrade does not work below V{OLDEST_UPGRADABLE}: it would skip steps that Vestige itself must "
    "take)"
)


def _too_old(layout: Layout, path: Path, ways: str) -> SourceTooOld:
    found = f"is at V{layout.version}" if layout.version else "names no version, so it counts as V0"
    return SourceTooOld(
        f"{path} {found}, and the copy reads V{READABLE_VERSION}: run again with --snapshot, which "
        f"upgrades a private copy and never touches the file{ways}"
    )
