"""Rows that cannot be placed leave the batch; whatever else a row holds, it stays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_decode_safety import raw_values
from tests.unit.test_encoder import GOOD, ID, LOST, REPLACED, WITHOUT, encode, found, stored
from vestige_migrate.decode.problem import Raw
from vestige_migrate.report.rows import NIL_UUID
from vestige_migrate.wire.batch import copy_payload


@pytest.mark.parametrize("bad", ["fact-17", None, 7, b"\0" * 16, ID.hex[:-1], "x" * 500])
def test_an_id_that_is_no_uuid_cannot_be_placed(bad: Raw) -> None:
    batch = encode("knowledge_nodes", {}, {"id": bad, "tags": "bad", "created_at": None}, {"tags": "bad"})
    assert found(batch.unplaced) == [(NIL_UUID, "id", LOST)]
    assert batch.unplaced_rows == 1
    quoted = "NULL" if bad is None else "7" if bad == 7 else str(bad)[:8] if isinstance(bad, str) else "00"
    assert quoted in batch.unplaced[0].message
    assert len(batch.unplaced[0].message) < 450
    assert len(batch) == 2
    assert [(at, error.column) for at, error in batch.errors] == [(1, "tags")]


def test_an_owner_that_is_no_uuid_is_named_with_the_memorys_own_id() -> None:
    batch = encode("knowledge_nodes", {"owner_user_id": "nobody"})
    assert found(batch.unplaced) == [(str(ID), "owner_user_id", LOST)]
    assert "'nobody'" in batch.unplaced[0].message
    assert len(batch) == 0
    assert copy_payload(batch.columns).endswith(b"\xff\xff")


@pytest.mark.parametrize(
    ("table", "key"), [("scheduling", "memory_id"), ("edges", "source_id"), ("edges", "target_id")]
)
def test_a_dependent_with_a_bad_key_cannot_be_placed(table: str, key: str) -> None:
    batch = encode(table, {key: "bad"}, {key: None}, {})
    assert found(batch.unplaced) == [(NIL_UUID, key, LOST)] * 2
    assert (len(batch), batch.unplaced_rows) == (1, 2)


def test_an_edge_with_two_bad_ends_is_one_row() -> None:
    batch = encode("edges", {"source_id": "bad", "target_id": None})
    assert batch.unplaced_rows == 1
    assert [error.column for error in batch.unplaced] == ["source_id", "target_id"]


def test_no_rows_are_an_empty_batch() -> None:
    batch = encode("knowledge_nodes")
    assert (len(batch), batch.errors, batch.unplaced) == (0, [], [])


# Extras, and whatever a file may hold.


def test_extras_go_with_refused_metadata() -> None:
    batch = encode("knowledge_nodes", {"metadata": "bad", "source": "web\0", "blob": b"\xff"}, {"source": "web"})
    first, second = stored("knowledge_nodes", batch)
    assert first["metadata"] == {"sqlite": {"source": "web\ufffd", "blob": {"base64": "/w=="}}}
    assert second["metadata"] == {"n": 1, "sqlite": {"source": "web"}}
    assert [(at, error.message, error.outcome) for at, error in batch.errors] == [
        (0, "metadata is not JSON", WITHOUT),
        (0, "metadata sqlite.source has a NUL character, replaced by U+FFFD", REPLACED),
    ]


@pytest.mark.parametrize("key", ["sqlite", "other"])
def test_deep_metadata_never_breaks_the_batch(key: str) -> None:
    """Whatever depth the decoder still takes, merging must take too."""
    for depth in (1, *range(700, 1010), 1500, 20_000):
        metadata = f'{{"{key}": ' + "[" * depth + "]" * depth + "}"
        assert len(encode("knowledge_nodes", {"metadata": metadata, "source": "web"})) == 1


@pytest.mark.parametrize("table", list(GOOD))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_row_ever_raises_or_gets_lost(table: str, data: st.DataObject) -> None:
    names = list(GOOD[table])
    odd = st.dictionaries(st.sampled_from(names), raw_values, max_size=3)
    rows = data.draw(st.lists(odd, max_size=6))
    batch = encode(table, *rows)
    assert len(batch) + batch.unplaced_rows == len(rows)
    assert len(stored(table, batch)) == len(batch)
    assert all(0 <= at < len(batch) and error.outcome is not LOST for at, error in batch.errors)
    assert all(error.outcome is LOST for error in batch.unplaced)
    assert all(batch.id_of(at) == error.id for at, error in batch.errors)


def test_only_the_first_error_of_each_row_without_an_id_counts_the_row() -> None:
    row: dict[str, Raw] = {"source_id": "bad", "target_id": "worse"}
    batch = encode("edges", row, row)
    assert [(error.column, error.further) for error in batch.unplaced] == [
        ("source_id", False),
        ("source_id", False),
        ("target_id", True),
        ("target_id", True),
    ]
