"""Exact nearest neighbours by brute force, a batch of vectors at a time, by cosine as the HNSW index measures it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vestige_migrate.verify.messages import Queries
from vestige_migrate.wire import field

NEIGHBOURS = 10
_VECTOR_PREFIX_BYTES = 8
"""A vector field's length, dimensions and unused bytes, before its numbers."""
_LENGTH_BYTES = 4

Vectors = NDArray[np.float32]
Nearest = list[tuple[float, bytes]]
"""(cosine similarity, id) with the most similar first."""


def to_vector(value: bytes) -> Vectors:
    """The numbers of a vector field."""
    return np.frombuffer(value, dtype=">f4", offset=_VECTOR_PREFIX_BYTES).astype(np.float32)


def unit(vectors: Vectors) -> Vectors:
    """Each row at length 1; rows without a length stay zero, and are like nothing."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    lengths[lengths == 0] = 1.0
    scaled: Vectors = (vectors / lengths[:, None]).astype(np.float32)
    return scaled


class NeighbourSearch:
    """Keeps the `NEIGHBOURS` best of all vectors it has seen, for each query; a query is no neighbour of its own."""

    def __init__(self, queries: Queries) -> None:
        self._ids = queries.ids
        self._dimension = queries.dimension
        self._size = _VECTOR_PREFIX_BYTES + 4 * queries.dimension
        self._queries = np.frombuffer(queries.vectors, dtype=np.float32).reshape(-1, max(1, queries.dimension))
        self.nearest: list[Nearest] = [[] for _ in queries.ids]
        self._worst = np.full(len(queries.ids), -np.inf, dtype=np.float32)

    def add(self, ids: Sequence[bytes], vectors: Sequence[bytes]) -> None:
        """Takes a batch: fields of ids and of vectors, some of which may be NULL."""
        rows = [at for at, value in enumerate(vectors) if len(value) == self._size and value != field.NULL]
        if not rows or not self._ids:
            return
        packed = np.frombuffer(b"".join(vectors[at] for at in rows), dtype=np.uint8).reshape(-1, self._size)
        numbers = np.ascontiguousarray(packed[:, _VECTOR_PREFIX_BYTES:]).view(">f4").astype(np.float32)
        # Numbers near the largest of float32 have an infinite length here, and in pgvector as well.
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            lengths = np.sqrt(np.einsum("ij,ij->i", numbers, numbers))
            similar = numbers @ self._queries.T
            similar /= lengths[:, None]
        # A vector without a length is like nothing; pgvector does not index it either.
        better = similar > self._worst
        for query in np.flatnonzero(better.any(axis=0)).tolist():
            self._merge(query, similar[:, query], np.flatnonzero(better[:, query]), rows, ids)

    def _merge(
        self, query: int, similar: Vectors, found: NDArray[np.intp], rows: Sequence[int], ids: Sequence[bytes]
    ) -> None:
        if len(found) > NEIGHBOURS + 1:
            found = found[np.argpartition(similar[found], -NEIGHBOURS - 1)[-NEIGHBOURS - 1 :]]
        nearest = self.nearest[query]
        for at in found.tolist():
            id_ = ids[rows[at]][_LENGTH_BYTES:]
            if id_ != self._ids[query]:
                nearest.append((float(similar[at]), id_))
        nearest.sort(key=lambda item: -item[0])
        del nearest[NEIGHBOURS:]
        if len(nearest) == NEIGHBOURS:
            self._worst[query] = nearest[-1][0]


def merged(parts: Sequence[Sequence[tuple[float, bytes]]]) -> Nearest:
    """The best of several ranges' best; a memory that several files share counts once."""
    best: dict[bytes, float] = {}
    for similarity, id_ in (item for part in parts for item in part):
        best[id_] = max(similarity, best.get(id_, similarity))
    return sorted(((similarity, id_) for id_, similarity in best.items()), key=lambda item: -item[0])[:NEIGHBOURS]
