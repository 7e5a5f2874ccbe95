"""Source files as people have them: the released line at its newest version, as Vestige writes it.

Every column of a memory has the value that Vestige gives it, vectors are those of the active profile, and the FTS
table and the journal of vectors are filled by the file's own triggers. Times have 0, 3, 6 or 9 digits, a tenth of the
memories has no vector, and one row in a thousand is odd: the copy reads it one by one, and takes it over all the same.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.source import Builder, times
from tests.support.vestige_schemas import create_schema

GENERATION = 1
"""As in `bench.source`."""
VERSION = 39
MODEL = "nomic-ai/nomic-embed-text-v1.5"
PROFILE = "nomic-v1.5"
_CHUNK_ROWS = 10_000
_DAY_NS = 86_400 * 1_000_000_000
_WITHOUT_VECTOR = 10
_ODD = 1000
_DIGITS = (9, 9, 9, 6, 3, 0)
"""Of a second's fraction: chrono writes as many as the time has, three at a time."""
_LINKS = ("semantic", "temporal", "causal", "shared_concepts")
_SOURCES = ("mcp", "cli", "session", None, None)
_STATES = ("new", "learning", "review", "review", "relearning")

Row = tuple[Any, ...]


def released_file(directory: Path, rows: int, dimension: int) -> Path:
    """The source with this many memories, built where it is not in `directory` yet."""
    path = directory / f"released-g{GENERATION}-v{VERSION}-{rows}x{dimension}.db"
    if path.exists():
        return path
    directory.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(unfinished)) as connection:
        create_schema(connection, "released", VERSION)
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        ReleasedBuilder(connection, rows, dimension).fill()
        connection.commit()
        connection.execute("PRAGMA journal_mode = WAL")
    unfinished.rename(path)
    return path


class ReleasedBuilder(Builder):
    """Fills one file."""

    def _fill_small(self) -> None:
        (now,) = times(np.array([1_735_689_600_000_000_000]))
        name = ("profile_id", "model_id", "immutable_model_revision", "runtime_backend", "embedding_dimension",
                "normalization_method", "document_encoding_template", "query_encoding_template", "maximum_token_limit",
                "chunking_strategy", "status", "created_at", "updated_at")  # fmt: skip
        profile = (PROFILE, MODEL, "0f" * 20, "fastembed", self._dimension, "l2", "search_document: {text}",
                   "search_query: {text}", 8192, "none", "active", now, now)  # fmt: skip
        self._put("embedding_profiles", name, iter([profile]))
        self._connection.execute("DELETE FROM embedding_profile_state")
        self._put("embedding_profile_state", ("singleton", "active_profile_id", "activated_at", "updated_at"),
                  iter([(1, PROFILE, now, now)]))  # fmt: skip
        gone = ((id_, now, "user request", "fact") for id_ in self._uuids(max(1, self._rows // 200)))
        self._put("deletion_tombstones", ("memory_id", "deleted_at", "reason", "node_type"), gone)

    def _fill_memories(self, rows: int, first_ns: int) -> None:
        ids = self._uuids(rows)
        created = np.sort(first_ns + self._rng.integers(0, 500 * _DAY_NS, rows))
        for start in range(0, rows, _CHUNK_ROWS):
            chunk = slice(start, start + _CHUNK_ROWS)
            self._memories(ids[chunk], created[chunk], start)
        self._links(np.array(ids, dtype=object))

    def _memories(self, ids: list[str], created: NDArray[np.int64], first: int) -> None:
        rng, count = self._rng, len(ids)
        made, changed, seen, due = (
            _varied(rng, created + rng.integers(0, days * _DAY_NS + 1, count)) for days in (0, 30, 40, 90)
        )
        nodes, vectors = [], []
        topics = self._centres[rng.integers(0, len(self._centres), count)]
        noise = rng.standard_normal((count, self._dimension)) * (0.35 / self._dimension**0.5)
        blobs = (topics + noise).astype("<f4").tobytes()
        width = self._dimension * 4
        drawn = rng.random((count, 8)).tolist()
        whole = rng.integers(0, 10_000, (count, 3)).tolist()
        for at, (id_, content) in enumerate(zip(ids, self._prose.contents(count), strict=True)):
            row = _memory(content, drawn[at], whole[at])
            row |= {"id": id_, "created_at": made[at], "updated_at": changed[at], "last_accessed": seen[at],
                    "next_review": due[at], "content_hash": id_.replace("-", "") * 2}  # fmt: skip
            has_vector = (first + at) % _WITHOUT_VECTOR != 7
            row |= {"has_embedding": int(has_vector), "embedding_model": MODEL if has_vector else None}
            if (first + at) % _ODD == 500:
                row |= _ODD_VALUES[(first + at) // _ODD % len(_ODD_VALUES)]
            nodes.append(row)
            if has_vector:
                vectors.append((PROFILE, id_, blobs[at * width : (at + 1) * width], self._dimension, MODEL, made[at]))
        self._put("knowledge_nodes", tuple(nodes[0]), (tuple(row.values()) for row in nodes))
        names = ("profile_id", "node_id", "embedding", "dimensions", "model", "created_at")
        self._put("embedding_profile_vectors", names, iter(vectors))

    def _links(self, ids: NDArray[np.object_]) -> None:
        sources = ids[::2][: len(ids) // 2]
        targets = ids[self._rng.integers(0, len(ids), len(sources))]
        made = times(1_735_689_600_000_000_000 + self._rng.integers(0, 500 * _DAY_NS, len(sources)))
        weights = self._rng.random(len(sources)).tolist()
        rows = (
            (source, target, weights[at], _LINKS[at % len(_LINKS)], made[at], made[at], at % 5)
            for at, (source, target) in enumerate(zip(sources, targets, strict=True))
        )
        names = ("source_id", "target_id", "strength", "link_type", "created_at", "last_activated", "activation_count")
        self._put("memory_connections", names, rows)

    def _put(self, table: str, names: tuple[str, ...], rows: Iterator[Row]) -> None:
        marks = ", ".join("?" * len(names))
        self._connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", rows)  # noqa: S608


_ODD_VALUES: tuple[dict[str, Any], ...] = (
    {"source": b"bytes"},
    {"activation": float("inf")},
    {"source": "a long source " * 100},
    {"created_at": "1735689600"},
)


def _memory(content: str, drawn: list[float], whole: list[int]) -> dict[str, Any]:
    """What does not hang together with other rows; a third was never reviewed and has what Vestige starts with."""
    fresh, connected = drawn[0] < 1 / 3, drawn[1] < 0.1
    turn = whole[0]
    return {
        "content": content,
        "node_type": ("fact", "concept", "event", "person", "place", "note", "pattern", "decision")[turn % 8],
        "tags": json.dumps(["rust", "sql", "ops", "review", "bug", "idea"][turn % 4 : turn % 4 + int(drawn[2] * 4)]),
        "stability": 2.3065 if fresh else drawn[3] * 90,
        "difficulty": 2.118103970459015 if fresh else 1 + 9 * drawn[4],
        "reps": 0 if fresh else turn % 9 + 1,
        "lapses": 0 if fresh else turn % 2,
        "learning_state": "new" if fresh else _STATES[turn % len(_STATES)],
        "storage_strength": 1.0 if fresh else 1 + drawn[5] * 9,
        "retrieval_strength": 1.0 if fresh else drawn[6],
        "retention_strength": 1.0 if fresh else drawn[7],
        "sentiment_score": 0.0,
        "sentiment_magnitude": 0.0,
        "scheduled_days": 0 if fresh else whole[1] % 90,
        "source": _SOURCES[turn % len(_SOURCES)],
        "scope": "user" if drawn[2] < 0.8 else f"project-{turn % 20}",
        "memory_system": "semantic" if turn % 5 else "episodic",
        "activation": None if fresh else drawn[5],
        "waking_tag": 0,
        "utility_score": 0.0 if fresh else drawn[4],
        "times_retrieved": 0 if fresh else whole[2] % 40,
        "times_useful": 0 if fresh else whole[2] % 7,
        "emotional_valence": 0.0,
        "flashbulb": 0,
        "suppression_count": 0,
        "protected": int(turn % 50 == 0),
        "domains": json.dumps(["engineering"] if turn % 3 else []),
        "domain_scores": json.dumps({"engineering": whole[1] / 10_000} if turn % 3 else {}),
        "source_system": "github" if connected else None,
        "source_id": f"issue-{whole[2]}-{turn}" if connected else None,
        "source_url": f"https://github.com/example/repo/issues/{whole[2]}" if connected else None,
        "source_project": "example/repo" if connected else None,
        "source_type": "issue" if connected else None,
        "source_author": f"user{turn % 100}" if connected else None,
    }


def _varied(rng: np.random.Generator, nanoseconds: NDArray[np.int64]) -> list[str]:
    """Times with as many digits as they have."""
    digits = rng.integers(0, len(_DIGITS), len(nanoseconds)).tolist()
    texts = times(nanoseconds)
    return [
        text if _DIGITS[at] == 9 else f"{text[: 20 + _DIGITS[at] - (not _DIGITS[at])]}+00:00"
        for text, at in zip(texts, digits, strict=True)
    ]
