"""Which line of development a file comes from, and what that means for reading it.

Two lines used the same version numbers for different things, so the line is told from tables and columns, never from
the number (source-schemas.md). The number then says how far along its line a file is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vestige_migrate.errors import SourceTooOld
from vestige_migrate.source.layout import Layout

READABLE_VERSION = 15
"""The plan line's version that has a place for everything the destination holds."""
OLDEST_UPGRADABLE = 11
"""Below it Vestige itself must take steps that an upgrade here would skip."""
FIRST_OF_TWO_LINES = 14
NEWEST_KNOWN = {"shared": 13, "plan": 15, "released": 35}


@dataclass(frozen=True)
class Marks:
    """Tables and columns of `knowledge_nodes` that a version added and no other line has."""

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
"""Of the plan line where none of the released line's marks is there: those came two versions before these."""


class Treatment(StrEnum):
    """What a copy does with a file."""

    AS_IT_IS = "read as it is"
    UPGRADE = "with --snapshot or --allow-source-upgrade"
    SNAPSHOT = "with --snapshot"


def find_lineage(tables: Mapping[str, tuple[str, ...]], version: int) -> str:
    """`shared`, `plan` or `released`, from what is in the file.

    Where marks of both lines stand side by side the file counts as released, because such a file is never written to.
    """
    columns = set(tables["knowledge_nodes"])

    def found(marks: Marks) -> bool:
        return bool(marks.tables & set(tables) or marks.columns & columns)

    if any(found(marks) for marks in RELEASED.values()):
        return "released"
    if any(found(marks) for marks in (*PLAN.values(), REGISTRY)):
        return "plan"
    # Every released file from V14 on has merge_plans, so a higher number without it is not of that line.
    return "shared" if version < FIRST_OF_TWO_LINES else "plan"


def treatment(lineage: str, version: int) -> Treatment:
    """What a copy does with a file of this line and version. The released line is never upgraded."""
    if lineage == "released" or version >= READABLE_VERSION:
        return Treatment.AS_IT_IS
    return Treatment.UPGRADE if version >= OLDEST_UPGRADABLE else Treatment.SNAPSHOT


def is_readable(layout: Layout) -> bool:
    """Whether the source can be read as it is: the plan line from V15 on, the released line always."""
    return treatment(layout.lineage, layout.version) is Treatment.AS_IT_IS


def is_newer_than_known(lineage: str, version: int) -> bool:
    """Whether a file's version is past the newest that this program was written for."""
    return version > NEWEST_KNOWN.get(lineage, 0)


def check_readable(layout: Layout, path: Path) -> None:
    """Raises `SourceTooOld` unless the source can be read as it is."""
    found = treatment(layout.lineage, layout.version)
    if found is Treatment.SNAPSHOT:
        raise _too_old(layout, path, _UPGRADE_WOULD_SKIP)
    if found is Treatment.UPGRADE:
        raise _too_old(
            layout, path, ", or with --allow-source-upgrade, which upgrades the file itself after a backup beside it"
        )


def check_upgradable(layout: Layout, path: Path) -> None:
    """Raises `SourceTooOld` unless the source can be read as it is or be upgraded in place."""
    if treatment(layout.lineage, layout.version) is Treatment.SNAPSHOT:
        raise _too_old(layout, path, _UPGRADE_WOULD_SKIP)


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
