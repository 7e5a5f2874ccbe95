"""Which memories search is tried out with."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.encode.careful import BatchEncoder
from vestige_migrate.limits import BATCH_BYTES
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.read.rows import read_batches
from vestige_migrate.source.sqlite.rowid_sample import draw_rowids
from vestige_migrate.tables import TABLES
from vestige_migrate.verify import search_statements as destination
from vestige_migrate.verify.messages import Queries
from vestige_migrate.verify.neighbours import to_vector, unit
from vestige_migrate.wire import field as wire

SAMPLED = 50
_DRAWN = 500
"""Memories that are read so that a word's rarity is known, and to sample from."""
_READ_AT_ONCE = 50
_TEXT_CHARS = 4096
"""How much of a memory its words are taken from; the index holds more than that of each."""
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
    source = table.source_in(layout)
    if source is None:
        return
    encoder = BatchEncoder(table, source, layout, None)
    id_, content, vector = (table.index(name) for name in ("id", "content", "embedding"))
    rowids = draw_rowids(sqlite, source.base, _DRAWN)
    for rows in read_batches(sqlite, source, rowids, _READ_AT_ONCE, BATCH_BYTES):
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
