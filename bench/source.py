"""Source files of any size: the same rows for the same size, every time and on every machine.

The file is a V15 file of the plan line in its plain form, like the demo's (its schema is used). Memories are written
in order of their creation, as an agent writes them, and everything that costs a copy time is as varied as in a real
file: prose, vectors, nanosecond times, JSON that differs from row to row.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.vocabulary import cumulative_frequencies, words

GENERATION = 1
"""Part of the file's name: raise it with any change here, so that a cached file of the old kind is not used."""

WORDS_PER_MEMORY = 60
BOOTSTRAP = "00000000-0000-0000-0000-000000000001"
_SEED = 20261123
_CHUNK_ROWS = 10_000
"""Rows made at a time: bounds the builder's memory at a million rows."""
_FIRST_NS = 1_735_689_600_000_000_000  # 2025-01-01 UTC
_SPAN_NS = 500 * 86_400 * 1_000_000_000
_DAY_NS = 86_400 * 1_000_000_000
_CENTRES = 64
_SPREAD = 0.35
"""How far a vector lies from its topic's centre (embeddings come in clusters, and HNSW's build time shows it)."""

_NODE_TYPES = ("fact", "concept", "event", "person", "place", "note", "pattern", "decision")
_TAGS = (
    "rust", "python", "sql", "ops", "review", "release", "bug", "idea", "meeting", "travel", "health", "finance",
    "music", "cooking", "ux", "api",
)  # fmt: skip
_DOMAINS = (
    "engineering", "infrastructure", "people", "research", "writing", "household", "planning", "learning",
)  # fmt: skip
_CODEBASES = ("ledger-api", "star-atlas", "vestige", "payments", "site", "mobile-app")
_EDGE_TYPES = ("semantic", "temporal", "causal", "part_of")
_KINDS = ("review", "access", "promote", "demote")
_HANDLES = ("ana", "bjorn", "chloe", "dmitri", "ewa", "farid")
_GROUPS = ("platform", "design", "field-notes")

Strings = NDArray[np.object_]


def source_file(directory: Path, rows: int, dimension: int) -> Path:
    """The source with this many memories, built where it is not in `directory` yet."""
    path = directory / f"source-g{GENERATION}-{rows}x{dimension}.db"
    if path.exists():
        return path
    directory.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(unfinished)) as connection:
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(
            resources.files("vestige_migrate.demo").joinpath("sql", "sample_v15.sql").read_text(encoding="utf-8")
        )
        Builder(connection, rows, dimension).fill()
        connection.commit()
        connection.execute("PRAGMA journal_mode = WAL")  # as Vestige keeps its files
    unfinished.rename(path)
    return path


class Builder:
    """Fills one file."""

    def __init__(self, connection: sqlite3.Connection, rows: int, dimension: int) -> None:
        self._connection = connection
        self._rows = rows
        self._dimension = dimension
        self._rng = np.random.default_rng(_SEED)
        self._prose = _Prose(self._rng)
        centres = self._rng.standard_normal((_CENTRES, dimension))
        self._centres = centres / np.linalg.norm(centres, axis=1, keepdims=True)
        self._users = [BOOTSTRAP, *self._uuids(len(_HANDLES))]
        self._groups = self._uuids(len(_GROUPS))

    def fill(self) -> None:
        """All tables."""
        self._connection.execute("UPDATE schema_version SET applied_at = '2025-01-01 00:00:00'")
        self._fill_small()
        self._fill_memories(self._rows, _FIRST_NS)

    def append(self, rows: int) -> None:
        """So many more memories with all that belongs to them, younger than the others, of the same users."""
        self._rng = np.random.default_rng(_SEED + 1)
        self._prose = _Prose(self._rng)
        self._fill_memories(rows, _FIRST_NS + _SPAN_NS)

    def _fill_memories(self, rows: int, first_ns: int) -> None:
        """Memories and their dependents, made in the 500 days from `first_ns` on."""
        ids = self._uuids(rows)
        created = np.sort(first_ns + self._rng.integers(0, _SPAN_NS, rows))
        for start in range(0, rows, _CHUNK_ROWS):
            chunk = slice(start, start + _CHUNK_ROWS)
            self._insert("knowledge_nodes", 14, self._nodes(ids[chunk], created[chunk]))
            self._insert("scheduling", 8, self._schedules(ids[chunk], created[chunk]))
        self._insert("edges", 5, self._edges(np.array(ids, dtype=object)))
        self._insert("review_events", 8, self._events(np.array(ids, dtype=object)))

    def _insert(self, table: str, columns: int, rows: Iterator[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * columns)
        self._connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608

    def _fill_small(self) -> None:
        (now,) = times(np.array([_FIRST_NS]))
        model = (1, "nomic-ai/nomic-embed-text-v1.5", self._dimension, "0f" * 32, now)
        self._insert("embedding_model", 5, iter([model]))
        handles = ("local", *_HANDLES)
        self._insert(
            "users", 5, ((id_, handle, None, now, "{}") for id_, handle in zip(self._users, handles, strict=True))
        )
        self._insert(
            "groups",
            5,
            ((id_, name, name.title(), now, "{}") for id_, name in zip(self._groups, _GROUPS, strict=True)),
        )
        members = ((user, group, "member", now) for user in self._users for group in self._groups)
        self._insert("group_memberships", 4, members)
        self._insert(
            "domains",
            6,
            (
                (name, name.title(), self._centres[at].astype("<f4").tobytes(), json.dumps(_TAGS[:3]), self._rows, now)
                for at, name in enumerate(_DOMAINS)
            ),
        )

    def _nodes(self, ids: list[str], created: NDArray[np.int64]) -> Iterator[tuple[Any, ...]]:
        rng, count = self._rng, len(ids)
        topics = rng.integers(0, _CENTRES, count)
        noise = rng.standard_normal((count, self._dimension)) * (_SPREAD / self._dimension**0.5)
        vectors = (self._centres[topics] + noise).astype("<f4").tobytes()
        width = self._dimension * 4
        updated = times(created + rng.integers(0, 30 * _DAY_NS, count))
        scores = rng.integers(1, 10_000, (count, 2))
        places = rng.random((count, 4))
        for at, (id_, content, made, changed) in enumerate(
            zip(ids, self._prose.contents(count), times(created), updated, strict=True)
        ):
            score, turn = map(int, scores[at])
            owner, shared, coded, tags = map(float, places[at])
            domain = _DOMAINS[turn % len(_DOMAINS)]
            yield (
                id_,
                content,
                _NODE_TYPES[turn % len(_NODE_TYPES)],
                json.dumps(_TAGS[turn % 12 : turn % 12 + int(tags * 4)]),
                json.dumps({"source": "bench", "confidence": score / 10_000, "turn": turn}),
                json.dumps([domain]),
                json.dumps({domain: score / 10_000}),
                vectors[at * width : (at + 1) * width],
                _CODEBASES[score % len(_CODEBASES)] if coded < 0.6 else None,
                self._users[int(owner**2 * len(self._users))],
                "group" if shared < 0.1 else "private" if shared < 0.95 else "public",
                json.dumps([self._groups[turn % len(_GROUPS)]] if shared < 0.1 else []),
                made,
                changed,
            )

    def _schedules(self, ids: list[str], created: NDArray[np.int64]) -> Iterator[tuple[Any, ...]]:
        rng, count = self._rng, len(ids)
        numbers = rng.random((count, 3))
        reps = rng.integers(0, 9, count)
        last = times(created + rng.integers(0, 20 * _DAY_NS, count))
        following = times(created + rng.integers(20 * _DAY_NS, 90 * _DAY_NS, count))
        for at, id_ in enumerate(ids):
            stability, difficulty, retrievability = map(float, numbers[at])
            reviews = int(reps[at])
            seen = last[at] if reviews else None
            yield id_, stability * 90, 1 + 9 * difficulty, retrievability, seen, following[at], reviews, reviews // 4

    def _edges(self, ids: Strings) -> Iterator[tuple[Any, ...]]:
        """Half as many as memories, each from another memory, so that no two can be the same."""
        sources = ids[::2][: len(ids) // 2]
        targets = ids[self._rng.integers(0, len(ids), len(sources))]
        weights = self._rng.random(len(sources))
        made = times(_FIRST_NS + self._rng.integers(0, _SPAN_NS, len(sources)))
        for at, (source, target, weight) in enumerate(zip(sources, targets, weights, strict=True)):
            yield source, target, _EDGE_TYPES[at % len(_EDGE_TYPES)], float(weight), made[at]

    def _events(self, ids: Strings) -> Iterator[tuple[Any, ...]]:
        count = len(ids) // 2
        memories = ids[self._rng.integers(0, len(ids), count)]
        values = self._rng.random((count, 2))
        when = times(_FIRST_NS + self._rng.integers(0, _SPAN_NS, count))
        for at, (id_, memory) in enumerate(zip(self._uuids(count), memories, strict=True)):
            before, after = map(float, values[at])
            yield id_, memory, when[at], before, after, 1 + at % 4, _KINDS[at % len(_KINDS)], "{}"

    def _uuids(self, count: int) -> list[str]:
        """Random (version 4) UUIDs as Vestige writes them."""
        raw = self._rng.integers(0, 256, (count, 16), dtype=np.uint8)
        raw[:, 6] = (raw[:, 6] & 0x0F) | 0x40
        raw[:, 8] = (raw[:, 8] & 0x3F) | 0x80
        digits = raw.tobytes().hex()
        return [
            f"{digits[at : at + 8]}-{digits[at + 8 : at + 12]}-{digits[at + 12 : at + 16]}"
            f"-{digits[at + 16 : at + 20]}-{digits[at + 20 : at + 32]}"
            for at in range(0, count * 32, 32)
        ]


class _Prose:
    """Sentences of about twelve words drawn by Zipf's law."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        plain = words()
        self._count = len(plain)
        self._cumulative = cumulative_frequencies(self._count)
        forms = [*plain, *(word.capitalize() for word in plain), *(word + "." for word in plain)]
        self._forms = np.array(forms, dtype=object)

    def contents(self, rows: int) -> Iterator[str]:
        """One memory's content after the other."""
        picked = np.searchsorted(self._cumulative, self._rng.random((rows, WORDS_PER_MEMORY)))
        ends = self._rng.random(picked.shape) < 1 / 12
        ends[:, -1] = True
        ends[:, 0] = False
        starts = np.roll(ends, 1, axis=1)
        ends &= ~starts  # a word is capitalised or closes the sentence, not both
        for row in self._forms[picked + self._count * starts + 2 * self._count * ends].tolist():
            yield " ".join(row)


def times(nanoseconds: NDArray[np.int64]) -> list[str]:
    """chrono's RFC 3339 with nine digits, which is what Vestige writes on Linux."""
    texts = np.datetime_as_string(nanoseconds.astype("datetime64[ns]"), unit="ns")
    return [f"{text}+00:00" for text in texts.tolist()]
