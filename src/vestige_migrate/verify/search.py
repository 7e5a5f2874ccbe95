"""The spot check of search: does the HNSW index find what is nearest, and full text what has the words?"""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np

from vestige_migrate.destination import search as destination
from vestige_migrate.destination.connect import Connection
from vestige_migrate.plan import BATCH_BYTES
from vestige_migrate.source.layout import Layout
from vestige_migrate.source.read import read_batches
from vestige_migrate.source.sample import draw_rowids
from vestige_migrate.tables import TABLES
from vestige_migrate.tables.encoder import BatchEncoder
from vestige_migrate.verify.messages import Queries
from vestige_migrate.verify.neighbours import NEIGHBOURS, Nearest, to_vector, unit
from vestige_migrate.verify.report import SearchCheck
from vestige_migrate.wire import field as wire

SAMPLED = 50
_DRAWN = 500
"""Memories that are read so that a word's rarity is known, and to sample from."""
_READ_AT_ONCE = 50
_TEXT_CHARS = 4096
"""How much of a memory its words are taken from; the index holds more than that of each."""
_WORDS = 3
_SAME_DISTANCE = 1e-5
"""Distances closer than this are one: the server computes in float4, as we do, but in another order."""
_LENGTH_BYTES = 4
_LAST_WORD = re.compile(r"\s\S*\Z")


@dataclass(frozen=True)
class Sampled:
    """One memory; `vector` is its COPY field."""

    id: UUID
    text: str
    vector: bytes


@dataclass
class Sample:
    """The sampled memories, those with a vector first, and texts of others to compare words with."""

    memories: list[Sampled] = field(default_factory=list)
    other_texts: list[str] = field(default_factory=list)

    def queries(self) -> Queries:
        """The sampled memories that have a vector with a direction."""
        with_vector = [(item, to_vector(item.vector)) for item in self.memories if item.vector != wire.NULL]
        usable = [pair for pair in with_vector if pair[1].any() and len(pair[1]) == len(with_vector[0][1])]
        if not usable:
            return Queries()
        vectors = unit(np.stack([vector for _, vector in usable]))
        return Queries(tuple(item.id.bytes for item, _ in usable), vectors.tobytes(), vectors.shape[1])


def draw_sample(sources: Sequence[tuple[sqlite3.Connection, Layout]], postgres: Connection) -> Sample:
    """Draws memories that are in both; the same ones every time. One with errors is not drawn."""
    drawn = [item for connection, layout in sources for item in _drawn(connection, layout)]
    random.Random(len(drawn)).shuffle(drawn)
    drawn = list({item.id: item for item in drawn}.values())[:_DRAWN]
    there = destination.present(postgres, [item.id for item in drawn])
    drawn = [item for item in drawn if item.id in there]
    drawn.sort(key=lambda item: item.vector == wire.NULL)
    return Sample(drawn[:SAMPLED], [item.text for item in drawn[SAMPLED:]])


def _drawn(sqlite: sqlite3.Connection, layout: Layout) -> Iterator[Sampled]:
    table = TABLES["knowledge_nodes"]
    source = table.find_source(layout)
    if source is None:
        return
    encoder = BatchEncoder(table, source, layout, None)
    id_, content, vector = (table.index(name) for name in ("id", "content", "embedding"))
    rowids = draw_rowids(sqlite, source.base, _DRAWN)
    for rows, _ in read_batches(sqlite, source, rowids, _READ_AT_ONCE, BATCH_BYTES):
        if not rows:
            continue
        batch = encoder.encode(rows)
        bad = {row for row, _ in batch.errors}
        for row in range(len(batch)):
            if row not in bad:
                text = batch.columns[content][row][_LENGTH_BYTES:].decode()
                key = UUID(bytes=batch.columns[id_][row][_LENGTH_BYTES:])
                yield Sampled(key, _whole_words(text), batch.columns[vector][row])


def _whole_words(text: str) -> str:
    """The beginning of a text, without a word that is cut."""
    if len(text) <= _TEXT_CHARS:
        return text
    start = text[:_TEXT_CHARS]
    found = _LAST_WORD.search(start)
    return start[: found.start()] if found else ""


def check_search(connection: Connection, sample: Sample, queries: Queries, exact: Sequence[Nearest]) -> SearchCheck:
    """Searches for every sampled memory; `exact` has the true neighbours of each query."""
    check = SearchCheck(NEIGHBOURS)
    _check_vectors(connection, queries, exact, check)
    _check_texts(connection, sample, check)
    return check


def _check_vectors(connection: Connection, queries: Queries, exact: Sequence[Nearest], check: SearchCheck) -> None:
    if not queries.ids:
        check.no_recall = "no sampled memory has a vector"
        return
    if not destination.has_hnsw(connection):
        check.no_recall = "the destination has no HNSW index"
        return
    vectors = np.frombuffer(queries.vectors, dtype=np.float32).reshape(len(queries.ids), queries.dimension)
    hits = wanted = 0
    for id_, vector, true in zip(queries.ids, vectors, exact, strict=True):
        if not true:
            continue
        # One more: the memory itself is the nearest of all.
        found = destination.nearest(connection, vector.tolist(), NEIGHBOURS + 1)
        others = [(other, distance) for other, distance in found if other.bytes != id_][:NEIGHBOURS]
        hits += _hits(others, true)
        wanted += len(true)
        check.vectors_sampled += 1
    if wanted == 0:
        check.no_recall = "no sampled memory has a neighbour"
        return
    check.recall = hits / wanted
    check.ef_search = destination.ef_search(connection)


def _hits(found: Sequence[tuple[UUID, float]], true: Nearest) -> int:
    """How many of the found are among the true neighbours, or as near as the farthest of them."""
    ids = {id_ for _, id_ in true}
    farthest = 1.0 - true[-1][0] + _SAME_DISTANCE
    return min(len(true), sum(id_.bytes in ids or distance <= farthest for id_, distance in found))


def _check_texts(connection: Connection, sample: Sample, check: SearchCheck) -> None:
    texts = [item.text for item in sample.memories] + sample.other_texts
    words = destination.rare_words(connection, texts, len(sample.memories), _WORDS)
    for at, query in sorted(words.items()):
        memory = sample.memories[at].id
        check.texts_sampled += 1
        if destination.is_found(connection, query, memory):
            check.texts_found += 1
        else:
            check.not_found.append(str(memory))
