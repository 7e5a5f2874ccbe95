"""Rows of a table become a batch, with what stands for every bad value (docs/bad-rows.md)."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from tests.unit.test_wire_fields import read_field
from vestige_migrate.decode.problem import Raw
from vestige_migrate.encode.careful import BatchEncoder
from vestige_migrate.model import ModelSignature
from vestige_migrate.report.rows import Outcome, RowError
from vestige_migrate.source.layout.layout import Layout, Lineage
from vestige_migrate.tables import TABLES
from vestige_migrate.tables.base import BOOTSTRAP_USER
from vestige_migrate.wire.batch import Batch

RUN_START = datetime(2026, 6, 1, 12, 0, 0, 7, tzinfo=UTC)
CREATED = datetime(2025, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
UPDATED = datetime(2025, 6, 7, 8, 9, 10, tzinfo=UTC)
WITHOUT = Outcome.COPIED_WITHOUT_VALUE
REPLACED = Outcome.COPIED_WITH_REPLACEMENT
LOST = Outcome.NOT_COPIED
EXTRAS = ("source", "blob")
LAYOUT = Layout(
    {
        **{name: table.column_names for name, table in TABLES.items()},
        "knowledge_nodes": (*TABLES["knowledge_nodes"].column_names, *EXTRAS),
    },
    15,
    Lineage.PLAN,
    ModelSignature("m", 2),
    dimension=2,
)
ID = UUID("6f1c2f3e-0b5a-4c7d-9e8f-0123456789ab")
GOOD: dict[str, dict[str, Raw]] = {
    "knowledge_nodes": {
        "id": str(ID),
        "content": "text",
        "node_type": "note",
        "tags": '["a"]',
        "metadata": '{"n": 1}',
        "domains": '["d"]',
        "domain_scores": '{"d": 0.5}',
        "embedding": struct.pack("<2f", 1, -2),
        "codebase": "repo",
        "owner_user_id": str(ID),
        "visibility": "group",
        "shared_with_groups": f'["{ID}"]',
        "created_at": CREATED.isoformat(),
        "updated_at": UPDATED.isoformat(),
        "source": None,
        "blob": None,
    },
    "scheduling": {
        "memory_id": str(ID),
        "stability": 2.5,
        "difficulty": 3.5,
        "retrievability": 0.5,
        "last_review": CREATED.isoformat(),
        "next_review": UPDATED.isoformat(),
        "reps": 3,
        "lapses": 4,
    },
    "edges": {
        "source_id": str(ID),
        "target_id": str(UUID(int=7)),
        "edge_type": "causal",
        "weight": 0.25,
        "created_at": CREATED.isoformat(),
    },
}


def encode(table: str, *rows: dict[str, Raw], layout: Layout = LAYOUT) -> Batch:
    """A batch of rows; each is the good row with the given values instead."""
    source = TABLES[table].source_in(layout)
    assert source is not None
    names = [name for name in (*TABLES[table].column_names, *EXTRAS) if name in layout.tables[table]]
    selected = [tuple({**GOOD[table], **row}[name] for name in names) for row in rows]
    return BatchEncoder(TABLES[table], source, layout, RUN_START).encode(selected)


def stored(table: str, batch: Batch) -> list[dict[str, Any]]:
    """The rows of a batch as the destination will hold them."""
    columns = TABLES[table].columns
    return [
        {item.name: read_field(item.pg_type, cell) for item, cell in zip(columns, row, strict=True)}
        for row in batch.rows()
    ]


def found(errors: Sequence[RowError]) -> list[tuple[str, str | None, Outcome]]:
    return [(error.id, error.column, error.outcome) for error in errors]


@pytest.mark.parametrize("table", list(GOOD))
def test_a_good_row_comes_over_without_an_error(table: str) -> None:
    batch = encode(table, {})
    assert (batch.errors, batch.unplaced, len(batch)) == ([], [], 1)
    (row,) = stored(table, batch)
    expected: dict[str, Any] = {name: value for name, value in GOOD[table].items() if name not in EXTRAS}
    for name, value in expected.items():
        if name.endswith(("_at", "_review")):
            expected[name] = datetime.fromisoformat(value)
        elif name == "id" or name.endswith("_id"):
            expected[name] = UUID(value)
        elif TABLES[table].columns[TABLES[table].index(name)].pg_type in ("jsonb", "text[]", "uuid[]"):
            expected[name] = [ID] if name == "shared_with_groups" else json.loads(value)
        elif name == "embedding":
            expected[name] = [1.0, -2.0]
    assert row == expected
    assert batch.id_of(0) == " -> ".join(str(row[name]) for name in TABLES[table].key)


@pytest.mark.parametrize("bad", ["yesterday", "", None, float("inf"), b"\xff"])
def test_a_bad_created_at_takes_updated_at_and_the_other_way_round(bad: Raw) -> None:
    batch = encode("knowledge_nodes", {"created_at": bad}, {"updated_at": bad})
    first, second = stored("knowledge_nodes", batch)
    assert (first["created_at"], first["updated_at"]) == (UPDATED, UPDATED)
    assert (second["created_at"], second["updated_at"]) == (CREATED, CREATED)
    assert [(at, error.column, error.outcome) for at, error in batch.errors] == [
        (0, "created_at", WITHOUT),
        (1, "updated_at", WITHOUT),
    ]


@pytest.mark.parametrize("bad", ["yesterday", None])
@pytest.mark.parametrize("other", ["tomorrow", None])
def test_where_both_are_bad_the_run_start_stands_in(bad: Raw, other: Raw) -> None:
    batch = encode("knowledge_nodes", {"created_at": bad, "updated_at": other})
    (row,) = stored("knowledge_nodes", batch)
    assert (row["created_at"], row["updated_at"]) == (RUN_START, RUN_START)
    assert [error.column for _, error in batch.errors] == ["created_at", "updated_at"]


def test_a_time_without_a_twin_takes_the_run_start() -> None:
    batch = encode("edges", {"created_at": "yesterday"}, {"created_at": None})
    assert [row["created_at"] for row in stored("edges", batch)] == [RUN_START, RUN_START]
    assert [(at, error.column, error.outcome) for at, error in batch.errors] == [
        (at, "created_at", WITHOUT) for at in (0, 1)
    ]


# What NULL means: kept, the default without a word, or the default and an error.
NULLS: list[tuple[str, str, Any, bool]] = [
    ("knowledge_nodes", "content", "", True),
    ("knowledge_nodes", "node_type", "fact", False),
    ("knowledge_nodes", "tags", [], False),
    ("knowledge_nodes", "metadata", {}, False),
    ("knowledge_nodes", "domains", [], False),
    ("knowledge_nodes", "domain_scores", {}, False),
    ("knowledge_nodes", "embedding", None, False),
    ("knowledge_nodes", "codebase", None, False),
    ("knowledge_nodes", "owner_user_id", UUID(BOOTSTRAP_USER), False),
    ("knowledge_nodes", "visibility", "private", False),
    ("knowledge_nodes", "shared_with_groups", [], False),
    ("scheduling", "stability", 1.0, False),
    ("scheduling", "difficulty", 5.0, False),
    ("scheduling", "retrievability", 1.0, False),
    ("scheduling", "last_review", None, False),
    ("scheduling", "next_review", None, False),
    ("scheduling", "reps", 0, False),
    ("scheduling", "lapses", 0, False),
    ("edges", "edge_type", "semantic", False),
    ("edges", "weight", 1.0, False),
]


@pytest.mark.parametrize(("table", "name", "value", "error"), NULLS, ids=[f"{row[0]}.{row[1]}" for row in NULLS])
def test_null_is_kept_or_becomes_the_default(table: str, name: str, value: Any, error: bool) -> None:
    batch = encode(table, {}, {name: None}, {})
    before, row, after = stored(table, batch)
    assert row == {**before, name: value}
    assert after == before
    assert [(at, item.column, item.message) for at, item in batch.errors] == (
        [(1, name, f"{name} is NULL")] if error else []
    )


@pytest.mark.parametrize("name", ["content", "created_at", "updated_at", "tags", "owner_user_id"])
def test_a_column_that_the_source_lacks_takes_its_default_without_an_error(name: str) -> None:
    names = tuple(item for item in LAYOUT.tables["knowledge_nodes"] if item != name)
    layout = Layout({**LAYOUT.tables, "knowledge_nodes": names}, 15, Lineage.PLAN, LAYOUT.model, dimension=2)
    batch = encode("knowledge_nodes", {}, layout=layout)
    assert batch.errors == []
    defaults: dict[str, object] = {"content": "", "tags": [], "owner_user_id": UUID(BOOTSTRAP_USER)}
    assert stored("knowledge_nodes", batch)[0][name] == defaults.get(name, RUN_START)
