"""A fixed corpus of the worst values, each with what has to become of it: one file, one copy, one comparison.

What is too large for the suite (200 MB, past 1 GiB) is in `python -m tests.fuzz --huge`.
"""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.conftest import Copier
from tests.fuzz.check import disagreements, repeated_ids
from tests.fuzz.values import Hostile, RawText, bound, placeholder
from tests.integration.test_bad_rows import LOST, REPLACED, WITHOUT, balanced
from tests.support.compare import stored
from tests.support.sources import OtherVectors, SourceSpec, build_source, edit, node_id
from tests.support.untyped import untyped
from tests.support.verifying import Verifier
from vestige_migrate.report.rows import NIL_UUID, Outcome

NAN = float("nan")
CJK = " ".join(f"記憶{number:x}" for number in range(140_000))[:1_000_000]
HIDDEN = "\u202eright to left\u202c \u2066שלום\u2069 zero\u200bwidth\u200d\ufeff e\u0301"
BEYOND = 2**200 + 1
LARGE = "0" * 9_000_000
LONG = "".join(map(chr, range(256, 6000)))
BINARY = b"\x00\xff"
FLOATS = ("stability", "difficulty", "retrievability")
NESTED = '{"a":' * 800 + "1" + "}" * 800


@dataclass(frozen=True)
class Case:
    """Values put into one row, what is stored of them, and the outcome of each column that has an error."""

    table: str
    bad: dict[str, Hostile]
    kept: dict[str, Any]
    errors: dict[str | None, Outcome] = field(default_factory=dict)


def nodes(bad: dict[str, Hostile], kept: dict[str, Any], errors: dict[str | None, Outcome] | None = None) -> Case:
    return Case("knowledge_nodes", bad, kept, errors or {})


CASES: dict[str, Case] = {
    "9 MB, past the bytes of a batch": nodes({"content": LARGE}, {"content": LARGE}),
    "a million CJK characters": nodes({"content": CJK}, {"content": CJK}),
    "right-to-left and zero-width text": nodes(
        {"content": HIDDEN, "codebase": HIDDEN}, {"content": HIDDEN, "codebase": HIDDEN}
    ),
    "vector of 65,535 dimensions": nodes({"embedding": bytes(4 * 65_535)}, {"embedding": None}, {"embedding": WITHOUT}),
    "centroid of 65,535 dimensions": Case(
        "domains", {"centroid": bytes(4 * 65_535)}, {"centroid": None}, {"centroid": WITHOUT}
    ),
    "centroid of 16,000 dimensions": Case(
        "domains", {"centroid": struct.pack("<16000f", *[0.5] * 16_000)}, {"centroid": (0.5,) * 16_000}
    ),
    "vector with NaN": nodes(
        {"embedding": struct.pack("<16f", *[NAN] * 16)}, {"embedding": None}, {"embedding": WITHOUT}
    ),
    "vector with a negative zero and a denormal": nodes(
        {"embedding": struct.pack("<16f", -0.0, 1e-45, *[3.0] * 14)},
        {"embedding": struct.unpack("<16f", struct.pack("<16f", -0.0, 1e-45, *[3.0] * 14))},
    ),
    "tags nested 10,000 deep": nodes({"tags": "[" * 10_000 + "]" * 10_000}, {"tags": []}, {"tags": WITHOUT}),
    "metadata as deep as it may be": nodes({"metadata": NESTED}, {}),
    "metadata one level deeper": nodes({"metadata": f'{{"a":{NESTED}}}'}, {"metadata": {}}, {"metadata": WITHOUT}),
    "repeated JSON keys": nodes({"metadata": '{"a": 1, "b": {"c": 1, "c": 2}, "a": 3}'},
                                {"metadata": {"a": 3, "b": {"c": 2}}}, {"metadata": WITHOUT}),
    "integers beyond 64 bits in JSON": nodes(
        {"metadata": f'{{"n": {BEYOND}, "m": -{BEYOND}}}'}, {"metadata": {"n": BEYOND, "m": -BEYOND}}
    ),
    "integers beyond 64 bits in a column": Case(
        "scheduling",
        {"reps": str(2**64), "lapses": 2**63 - 1},
        {"reps": 0, "lapses": 0},
        {"reps": WITHOUT, "lapses": WITHOUT},
    ),
    "numbers past numeric in two columns": nodes(
        {"metadata": '{"n": 1e400000}', "domain_scores": '{"n": 1e400000}', "tags": '["kept"]'},
        {"metadata": {}, "domain_scores": {}, "tags": ["kept"]},
        {"metadata": WITHOUT, "domain_scores": WITHOUT},
    ),
    "lone surrogates": nodes(
        {"content": RawText(b"a\xed\xa0\x80b"), "tags": '["\\ud800"]', "metadata": RawText(b'{"a": "\xed\xb0\x80"}')},
        {"content": "a\ufffd\ufffd\ufffdb", "tags": [], "metadata": {}},
        {"content": REPLACED, "tags": WITHOUT, "metadata": WITHOUT},
    ),
    "NUL characters": nodes(
        {"content": "a\0b\0", "node_type": "\0", "domains": '["\\u0000"]'},
        {"content": "a\ufffdb\ufffd", "node_type": "\ufffd", "domains": []},
        {"content": REPLACED, "node_type": REPLACED, "domains": WITHOUT},
    ),
    "the years 0 and 10000": nodes(
        {"created_at": "0000-01-01T00:00:00Z", "updated_at": "10000-01-01T00:00:00Z"},
        {},
        {"created_at": WITHOUT, "updated_at": WITHOUT},
    ),
    "the year 0 beside a good time": nodes(
        {"created_at": "0000-12-31T23:59:59Z", "updated_at": "2025-01-02T03:04:05Z"},
        {"created_at": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)},
        {"created_at": WITHOUT},
    ),
    "the years 1 and 9999": nodes(
        {"created_at": "0001-01-01T00:00:00Z", "updated_at": "9999-12-31T23:59:59.999999999Z"},
        {
            "created_at": datetime(1, 1, 1, tzinfo=UTC),
            "updated_at": datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        },
    ),
    "the year 10000 where NULL is allowed": Case(
        "scheduling", {"next_review": "10000-01-01 00:00:00"}, {"next_review": None}, {"next_review": WITHOUT}
    ),
    # SQLite keeps no NaN: what is bound as one is NULL, and the source has no value then.
    "NaN in every column of numbers": Case(
        "scheduling", dict.fromkeys(FLOATS, NAN), {"stability": 1.0, "difficulty": 5.0, "retrievability": 1.0}
    ),
    "NaN as text in every column of numbers": Case(
        "scheduling",
        dict.fromkeys(FLOATS, "NaN"),
        {"stability": 1.0, "difficulty": 5.0, "retrievability": 1.0},
        dict.fromkeys(FLOATS, WITHOUT),
    ),
    "infinity and NaN in edges": Case("edges", {"weight": float("inf")}, {"weight": 1.0}, {"weight": WITHOUT}),
    "infinity and NaN in events": Case(
        "review_events",
        {"retrievability_before": "NaN", "retrievability_after": float("-inf")},
        {"retrievability_before": None, "retrievability_after": None},
        {"retrievability_before": WITHOUT, "retrievability_after": WITHOUT},
    ),
    "integers in text columns": nodes(
        {"content": 17, "node_type": -1, "codebase": 2**63 - 1, "tags": 5, "metadata": 6, "created_at": 1_716_800_000},
        {"content": "17", "node_type": "-1", "codebase": str(2**63 - 1), "tags": [], "metadata": {},
         "created_at": datetime.fromtimestamp(1_716_800_000, UTC)},
        {"tags": WITHOUT, "metadata": WITHOUT},
    ),
    "BLOBs in text columns": nodes(
        {"content": "récit".encode(), "node_type": BINARY, "tags": b'["a"]', "metadata": BINARY, "codebase": b"repo"},
        {"content": "récit", "node_type": "\ufffd\ufffd", "tags": ["a"], "metadata": {}, "codebase": "repo"},
        {"node_type": REPLACED, "metadata": WITHOUT},
    ),
    "BLOBs in columns of numbers": Case(
        "scheduling",
        {"reps": b"\x01", "stability": BINARY, "last_review": BINARY},
        {"reps": 0, "stability": 1.0, "last_review": None},
        {"reps": WITHOUT, "stability": WITHOUT, "last_review": WITHOUT},
    ),
    "a real number in a column of integers": Case(
        "scheduling", {"reps": 2.0, "lapses": 2.5}, {"reps": 2, "lapses": 0}, {"lapses": WITHOUT}
    ),
    "a visibility of none of the three": nodes({"visibility": b"secret"}, {}, {None: LOST}),
    "a handle too long for its index": Case("groups", {"handle": LONG}, {}, {None: LOST}),
}  # fmt: skip
"""One row each, so that every error can be told apart."""

PER_TABLE = Counter(case.table for case in CASES.values())
MEMORIES = PER_TABLE["knowledge_nodes"] + PER_TABLE["scheduling"] + 6
"""First those with a bad value, then those with a bad schedule, then six that nothing is done to or hangs on."""
FREE = MEMORIES - 5
KEYS = {"scheduling": ("memory_id",), "edges": ("source_id", "target_id")}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    spec = SourceSpec(memories=MEMORIES, schedules=MEMORIES, edges=1, events=1, dimension=16, domains=4, groups=2,
                      memberships=0, no_vector_every=0)  # fmt: skip
    path = untyped(build_source(tmp_path / "corpus.db", spec), *PER_TABLE)
    edit(
        path,
        ("UPDATE edges SET source_id = ?, target_id = ?", (node_id(path, FREE), node_id(path, FREE + 1))),
        ("UPDATE review_events SET memory_id = ?", (node_id(path, FREE),)),
    )
    return path


def plant(path: Path) -> dict[str, tuple[str, ...]]:
    """Puts every case into a row of its own; the key of that row by case."""
    keys: dict[str, tuple[str, ...]] = {}
    rows = Counter(scheduling=PER_TABLE["knowledge_nodes"])
    for name, case in CASES.items():
        rows[case.table] += 1
        at = rows[case.table]
        keys[name] = tuple(node_id(path, at, case.table, part) for part in KEYS.get(case.table, ("id",)))
        sets = ", ".join(f"{column} = {placeholder(value)}" for column, value in case.bad.items())
        edit(path, (f"UPDATE {case.table} SET {sets} WHERE rowid = ?", (*map(bound, case.bad.values()), at)))
        if case.table == "knowledge_nodes" and LOST in case.errors.values():
            edit(path, ("DELETE FROM scheduling WHERE memory_id = ?", keys[name]))
    return keys


def spell_ids(path: Path) -> tuple[UUID, UUID]:
    """Of the free memories one in upper case, and once more in braces; one in both; one that is no UUID."""
    first, second = UUID(node_id(path, FREE + 2)), UUID(node_id(path, FREE + 3))
    edit(
        path,
        ("UPDATE knowledge_nodes SET id = ? WHERE rowid = ?", (str(first).upper(), FREE + 2)),
        ("INSERT INTO knowledge_nodes SELECT * FROM knowledge_nodes WHERE rowid = ?", (FREE + 2,)),
        ("UPDATE knowledge_nodes SET id = ? WHERE rowid = last_insert_rowid()", (f"{{{first}}}",)),
        ("UPDATE knowledge_nodes SET id = ? WHERE rowid = ?", (f"{{{str(second).upper()}}}", FREE + 3)),
        ("DELETE FROM scheduling WHERE memory_id = ?", (node_id(path, FREE + 4),)),
        ("UPDATE knowledge_nodes SET id = ? WHERE rowid = ?", (bytes(16), FREE + 4)),
    )
    return first, second


def test_every_value_of_the_corpus_has_its_outcome(corpus: Path, copy: Copier) -> None:
    keys = plant(corpus)
    first, second = spell_ids(corpus)
    report = copy(corpus)
    assert balanced(report)

    found = stored(copy.database)
    told: defaultdict[tuple[str, str], dict[str | None, Outcome]] = defaultdict(dict)
    for error in report.errors:
        told[error.table, error.id][error.column] = error.outcome
    wrong: dict[tuple[str, str], str] = {}
    for name, case in CASES.items():
        row = found[case.table].get(tuple(part if case.table == "domains" else UUID(part) for part in keys[name]))
        if (row is None) != (LOST in case.errors.values()):
            wrong[name, "row"] = "not there" if row is None else "there"
        elif row is not None:
            wrong |= {(name, at): f"{row[at]!r:.200}" for at, value in case.kept.items() if row[at] != value}
        if told[case.table, " -> ".join(keys[name])] != case.errors:
            wrong[name, "errors"] = str(told[case.table, " -> ".join(keys[name])])
    assert wrong == {}
    # The one that is no UUID, and nothing that no case names.
    nameless = [error for error in report.errors if error.id == NIL_UUID]
    assert [(error.column, error.outcome) for error in nameless] == [("id", LOST)]
    assert len(report.errors) == sum(len(case.errors) for case in CASES.values()) + len(nameless)

    nodes_report = report.tables["knowledge_nodes"]
    assert (nodes_report.skipped, nodes_report.failed) == (1, 2)
    assert {first, second} <= {key[0] for key in found["knowledge_nodes"]}
    assert (second,) in found["scheduling"]
    with psycopg.connect(copy.database) as connection:
        # Every digit, and what the index of full text holds of a million characters.
        digits = connection.execute(
            "SELECT (metadata->>'n')::numeric FROM knowledge_nodes WHERE id = %s",
            (keys["integers beyond 64 bits in JSON"][0],),
        ).fetchone()
        assert digits == (Decimal(BEYOND),)
        searched = connection.execute(
            "SELECT search_vec @@ to_tsquery('english', '記憶0 & 記憶ff') FROM knowledge_nodes WHERE id = %s",
            (keys["a million CJK characters"][0],),
        ).fetchone()
        assert searched == (True,)

    again = copy(corpus)
    assert [table.inserted for table in again.tables.values()] == [0] * len(again.tables)
    assert list(disagreements(report, Verifier(copy.database)(corpus), repeated_ids(corpus))) == []


def test_several_vectors_for_one_memory_and_a_registry_nobody_can_store(tmp_path: Path, copy: Copier) -> None:
    """As a rebuilt file may have them: no keys, and text that is no text."""
    spec = SourceSpec("released", 17, "vestige", 20, edges=5, events=0, dimension=16, no_vector_every=0,
                      other_vectors=(OtherVectors("other", 8, 2),))  # fmt: skip
    path = untyped(build_source(tmp_path / "vestige.db", spec), "node_embeddings")
    newer = struct.pack("<16f", *[2.0] * 16)
    edit(
        path,
        ("INSERT INTO node_embeddings SELECT * FROM node_embeddings WHERE rowid <= 3", ()),
        ("UPDATE node_embeddings SET embedding = ? WHERE rowid = 21", (newer,)),
        ("UPDATE embedding_model SET name = CAST(x'6100FF' AS TEXT)", ()),
    )
    memory = node_id(path, 1, "node_embeddings", "node_id")
    report = copy(path)
    assert report.tables["knowledge_nodes"].inserted == report.tables["knowledge_nodes"].source_rows == 20
    assert report.model is not None
    assert (report.model.name, report.model.dimension) == (spec.model, 16)
    assert report.left_behind["node_embeddings"] == 3 + 2
    assert stored(copy.database)["knowledge_nodes"][(UUID(memory),)]["embedding"] == (2.0,) * 16
    assert list(disagreements(report, Verifier(copy.database)(path), set())) == []
