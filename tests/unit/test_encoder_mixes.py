"""Good and bad rows in one batch: every error stands at its own row, and no row takes another's value."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_encoder import CREATED, LOST, REPLACED, RUN_START, UPDATED, WITHOUT, encode, stored
from vestige_migrate.decode.problem import Raw
from vestige_migrate.decode.text import tolerant_text
from vestige_migrate.report.rows import NIL_UUID, Outcome

SEVERAL = settings(max_examples=80, deadline=None)
OTHER = datetime(2024, 2, 29, tzinfo=UTC)


class Case(NamedTuple):
    """A raw value, what is stored for it, and the outcome of its error."""

    raw: Raw
    stored: Any
    outcome: Outcome | None = None


NODES: dict[str, list[Case]] = {
    "content": [
        Case("plain", "plain"),
        Case(17, "17"),
        Case("a\0b", "a\ufffdb", REPLACED),
        Case(tolerant_text(b"caf\xe9"), "caf\ufffd", REPLACED),
        Case(None, "", WITHOUT),
    ],
    "node_type": [Case("note", "note"), Case("no\0te", "no\ufffdte", REPLACED), Case("x" * 3000, "fact", WITHOUT)],
    "tags": [Case('["a", "b"]', ["a", "b"]), Case(None, []), Case("a, b", [], WITHOUT), Case("[NaN]", [], WITHOUT)],
    "domain_scores": [Case('{"d": 1}', {"d": 1}), Case("[]", {}, WITHOUT), Case('{"d": "\\u0000"}', {}, WITHOUT)],
    "embedding": [
        Case(b"\0\0\x80?\0\0\0\xc0", [1.0, -2.0]),
        Case(None, None),
        Case(b"\0\0\x80?", None, WITHOUT),
        Case(b"\0\0\xc0\x7f\0\0\0\xc0", None, WITHOUT),
    ],
    "shared_with_groups": [Case(f'["{UUID(int=3)}"]', [UUID(int=3)]), Case('["x"]', [], WITHOUT)],
    "codebase": [Case("repo", "repo"), Case(None, None), Case("x" * 3000, None, WITHOUT)],
    # A twin that is good stands in: the other column is never bad in these rows.
    "created_at": [Case(OTHER.isoformat(), OTHER), Case("bad", UPDATED, WITHOUT), Case(None, UPDATED, WITHOUT)],
}
EDGES: dict[str, list[Case]] = {
    "edge_type": [Case("causal", "causal"), Case(None, "semantic"), Case("a\0", "a\ufffd", REPLACED)],
    "weight": [
        Case(0.5, 0.5),
        Case(2, 2.0),
        Case(None, 1.0),
        Case("x", 1.0, WITHOUT),
        Case(float("inf"), 1.0, WITHOUT),
    ],
    "created_at": [Case(CREATED.isoformat(), CREATED), Case("bad", RUN_START, WITHOUT)],
}
SCHEDULES: dict[str, list[Case]] = {
    "stability": [Case(2.0, 2.0), Case("2.0", 1.0, WITHOUT)],
    "reps": [Case(1, 1), Case(2.0, 2), Case("one", 0, WITHOUT), Case(2**31, 0, WITHOUT), Case(0.5, 0, WITHOUT)],
    "next_review": [Case(OTHER.isoformat(), OTHER), Case(None, None), Case("bad", None, WITHOUT)],
}
TABLES: dict[str, tuple[tuple[str, ...], dict[str, list[Case]]]] = {
    "knowledge_nodes": (("id",), NODES),
    "edges": (("source_id", "target_id"), EDGES),
    "scheduling": (("memory_id",), SCHEDULES),
}


@st.composite
def mixes(draw: st.DrawFn) -> tuple[str, list[tuple[dict[str, Case], bool]]]:
    """A table and rows of chosen cases; the second member says whether the row's key is good."""
    table = draw(st.sampled_from(list(TABLES)))
    cases = TABLES[table][1]
    row = st.fixed_dictionaries({name: st.sampled_from(choices) for name, choices in cases.items()})
    return table, draw(st.lists(st.tuples(row, st.sampled_from([True, True, True, False])), min_size=1, max_size=12))


@SEVERAL
@given(mixes())
def test_every_row_keeps_its_own_values_and_errors(mix: tuple[str, list[tuple[dict[str, Case], bool]]]) -> None:
    table, rows = mix
    keys = TABLES[table][0]
    raw: list[dict[str, Raw]] = []
    ids: list[str] = []
    for at, (row, placed) in enumerate(rows):
        own = {name: str(UUID(int=100 * at + index)) for index, name in enumerate(keys)}
        ids.append(" -> ".join(own.values()) if placed else NIL_UUID)
        bad_key: dict[str, Raw] = {} if placed else {keys[-1]: f"bad {at}"}
        raw.append({**{name: case.raw for name, case in row.items()}, **own, **bad_key})
    batch = encode(table, *raw)

    kept = [at for at, (_, placed) in enumerate(rows) if placed]
    assert [batch.id_of(at) for at in range(len(batch))] == [ids[at] for at in kept]
    for at, row in zip(kept, stored(table, batch), strict=True):
        cases = rows[at][0]
        assert {name: row[name] for name in cases} == {name: case.stored for name, case in cases.items()}

    expected = {
        (position, ids[at], name, case.outcome)
        for position, at in enumerate(kept)
        for name, case in rows[at][0].items()
        if case.outcome is not None
    }
    assert {(position, error.id, error.column, error.outcome) for position, error in batch.errors} == expected
    assert len(batch.errors) == len(expected)

    lost = [at for at, (_, placed) in enumerate(rows) if not placed]
    assert batch.unplaced_rows == len(lost)
    assert [(error.id, error.column, error.outcome) for error in batch.unplaced] == [(NIL_UUID, keys[-1], LOST)] * len(
        lost
    )
    assert [error.message for error in batch.unplaced] == [f"{keys[-1]} is no UUID: 'bad {at}'" for at in lost]


@SEVERAL
@given(mixes())
def test_no_message_holds_a_value_other_than_a_raw_key(mix: tuple[str, list[tuple[dict[str, Case], bool]]]) -> None:
    table, rows = mix
    marker = "QXZJQXZJ"
    raw: list[dict[str, Raw]] = [{name: f"{case.raw!r}{marker}" for name, case in row.items()} for row, _ in rows]
    batch = encode(table, *raw)
    assert not any(marker in error.message for _, error in batch.errors)


@SEVERAL
@given(mixes())
def test_the_order_of_rows_changes_nothing_but_the_order(mix: tuple[str, list[tuple[dict[str, Case], bool]]]) -> None:
    table, rows = mix
    raw = [{name: case.raw for name, case in row.items()} for row, _ in rows]
    there = encode(table, *raw)
    back = encode(table, *raw[::-1])
    assert there.rows() == back.rows()[::-1]
    last = len(raw) - 1
    assert {(at, error) for at, error in there.errors} == {(last - at, error) for at, error in back.errors}
