"""The spot check of search: does the HNSW index find what is nearest, and full text what has the words?"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from uuid import UUID

import numpy as np

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.destination.connection.table_names import in_advice
from vestige_migrate.encode.careful import BatchEncoder
from vestige_migrate.report.verification import SearchCheck
from vestige_migrate.source.layout.layout import Layout
from vestige_migrate.source.read.rows import read_by_key
from vestige_migrate.tables import TABLES
from vestige_migrate.verify import search_statements as search
from vestige_migrate.verify.messages import Queries
from vestige_migrate.verify.neighbours import NEIGHBOURS, Nearest, Vectors, to_vector, unit
from vestige_migrate.verify.schema_structure import Structure
from vestige_migrate.verify.search_sample import Sample
from vestige_migrate.wire import field

_WORDS = 3
_AS_NEAR = 1e-5
"""Similarities closer than this are one: the server computes in float4, as we do, but in another order."""
_READ_AT_ONCE = 50
_LENGTH_BYTES = 4

OpenSource = tuple[sqlite3.Connection, Layout]


def check_search(
    structure: Structure,
    connection: Connection,
    sides: Sequence[OpenSource],
    sample: Sample,
    queries: Queries,
    exact: Sequence[Nearest],
) -> SearchCheck:
    """Searches for every sampled memory; `exact` has the true neighbours of each query."""
    check = SearchCheck(NEIGHBOURS, memories=in_advice(connection, "knowledge_nodes"))
    check.no_recall = _why_no_recall(structure, connection, queries, exact)
    if check.no_recall is None:
        assert structure.vector_index is not None
        # One more than wanted: the memory itself is the nearest of all.
        nearest = search.NearestSearch(connection, structure.vector_index, queries.dimension, NEIGHBOURS + 1)
        _check_vectors(nearest, sides, queries, exact, check)
    if structure.has_search:
        _check_texts(connection, sample, check, structure.makes_search_as_ours)
    return check


def _why_no_recall(
    structure: Structure, connection: Connection, queries: Queries, exact: Sequence[Nearest]
) -> str | None:
    if not queries.ids:
        return "no sampled memory has a vector"
    if not any(exact):
        return "no sampled memory has a neighbour"
    if not search.vectors_fit(connection, queries.dimension):
        return "the destination's vectors have another length"
    return None if structure.vector_index else "the destination has no HNSW index"


def _check_vectors(
    nearest: search.NearestSearch,
    sides: Sequence[OpenSource],
    queries: Queries,
    exact: Sequence[Nearest],
    check: SearchCheck,
) -> None:
    vectors = np.frombuffer(queries.vectors, dtype=np.float32).reshape(len(queries.ids), queries.dimension)
    hits = wanted = 0
    for id_, vector, true in zip(queries.ids, vectors, exact, strict=True):
        if not true:
            continue
        found = nearest.find(vector.tolist())
        hits += _hits(sides, vector, [other for other in found if other.bytes != id_][:NEIGHBOURS], true)
        wanted += len(true)
        check.vectors_sampled += 1
    check.recall = hits / wanted
    check.ef_search = nearest.ef_search


def _hits(sides: Sequence[OpenSource], query: Vectors, found: Sequence[UUID], true: Nearest) -> int:
    """How many of the found are among the true neighbours, or by the source's vectors as near as the last of them."""
    ids = {id_ for _, id_ in true}
    others = [id_ for id_ in found if id_.bytes not in ids]
    near = true[-1][0] - _AS_NEAR
    as_near = sum(float(vector @ query) >= near for vector in _source_vectors(sides, others, len(query)))
    return min(len(true), len(found) - len(others) + as_near)


def _source_vectors(sides: Sequence[OpenSource], ids: Sequence[UUID], dimension: int) -> list[Vectors]:
    """The vectors that the sources have for these memories, at length 1."""
    table = TABLES["knowledge_nodes"]
    at = table.index("embedding")
    found: list[Vectors] = []
    for connection, layout in sides:
        source = table.source_in(layout)
        for start in range(0, len(ids) if source is not None else 0, _READ_AT_ONCE):
            assert source is not None
            rows = read_by_key(connection, source, [str(id_) for id_ in ids[start : start + _READ_AT_ONCE]])
            fields = BatchEncoder(table, source, layout, None).encode(rows).columns[at] if rows else []
            vectors = [to_vector(value) for value in fields if value != field.NULL]
            found += [unit(vector[None, :])[0] for vector in vectors if len(vector) == dimension]
    return found


def _check_texts(connection: Connection, sample: Sample, check: SearchCheck, as_ours: bool) -> None:
    """What a memory's own row says is exact; what the index says of it is asked in the words that the row has."""
    if as_ours:
        check.stale = sorted(map(str, search.stale(connection, [item.id for item in sample.memories])))
    texts = [item.text for item in sample.memories] + sample.other_texts
    words = search.rare_words(connection, texts, len(sample.memories), _WORDS)
    for at, query in sorted(words.items()):
        memory = sample.memories[at].id
        if search.is_found(connection, query, memory):
            check.texts_found += 1
        elif str(memory) in check.stale or search.has_words(connection, query, memory):
            check.not_found.append(str(memory))
        else:
            continue  # a text that was cut, to be searched for, may be cut into other words
        check.texts_sampled += 1
