"""What work costs, in CPU seconds on the machine that it was measured on, and how that becomes a span of time.

Measured on 2 cores of an AMD EPYC (virtual), PostgreSQL 18.4, pgvector 0.8.5, 1,000 to 100,000 memories of 256, 768 and
1536 dimensions (docs/workers.md). A server that is quicker or slower shows it in what `estimate.server_speed` measures.
"""

from __future__ import annotations

from vestige_migrate.destination.schema.vector_index import Form
from vestige_migrate.report.estimate import Span

_MICRO = 1e-6
_NANO = 1e-9

SEARCH_BYTE_SECONDS = 125 * _NANO
"""A byte of text into its search vector on that machine; a server's own figure over this one is its slowness."""
MEMORY_SECONDS, MEMORY_CLIENT_SHARE = 35 * _MICRO, 0.4
"""A memory beside its bytes: reading, encoding, COPY, its foreign key, its log record. The share is the client's."""
VECTOR_BYTE_SECONDS = 16 * _NANO
"""From the difference between 256 and 768 dimensions, where vectors move out of the row (TOAST)."""
OTHER_BYTE_SECONDS = 10 * _NANO
DEPENDENT_SECONDS = 22 * _MICRO
"""A schedule, edge or event, with its foreign keys."""
UPDATE_FACTOR = 2.0
"""A row that is replaced (`--on-conflict newer`, 20,000 x 768 without indexes): staged, locked, written again."""
ASK_SECONDS = 8 * _MICRO
"""A row that the destination is only asked about: the second run of 20,000 and 100,000 memories."""
ARCHIVED_ROW_SECONDS, ARCHIVED_BYTE_SECONDS = 60 * _MICRO, 40 * _NANO
"""`--archive` writes with one connection, as JSON."""
PLAIN_INDEX_SECONDS = 35 * _MICRO
"""The plain indexes of a memory and of what depends on it, built after the load."""
HNSW_BASE_SECONDS, HNSW_DIMENSION_SECONDS = 120 * _MICRO, 0.3 * _MICRO
HNSW_FORM_SHARES = {Form.WHOLE: 1.0, Form.HALVES: 0.75, Form.BITS: 0.1}
"""What a dimension costs in the other forms of an index (4,000 x 1536, 3072 and 8192: docs/workers.md)."""
HNSW_AT_ROWS, HNSW_GROWTH = 20_000, 0.25
"""A vector's place in a graph of `HNSW_AT_ROWS`; the cost grows with the fourth root of the rows (2,000 to 100,000)."""
HNSW_ONE_BY_ONE = 3.0
"""A vector that joins a graph on disk instead (20,000 x 768: 2.7 against 0.9 ms)."""
HNSW_OUTGROWN: Span = (1.0, 4.0)
"""A graph that outgrows its memory (100,000 x 256 in 64 MiB: 3.4 times as long)."""
BATCH_ROUND_TRIPS = 4
"""BEGIN, COPY, its end, COMMIT."""
START_SECONDS: Span = (0.6, 2.5)
"""Imports, connections, the worker processes, the plan, ANALYZE."""
DOUBT: Span = (0.75, 1.6)
"""The same work took this machine between 3.8 and 5.4 s within an hour."""

TEXT_DISK_FACTOR = 2.5
"""Content and its search vector."""
ROW_DISK_BYTES, DEPENDENT_DISK_BYTES = 240, 110
"""Row headers, arrays' headers, alignment, key indexes apart."""
LONG_VECTOR_BYTES, LONG_VECTOR_DISK_FACTOR = 1900, 1.3
"""A longer vector is stored beside its row, in pieces of 2 KB that fill a page badly."""
MEMORY_INDEX_BYTES, DEPENDENT_INDEX_BYTES = 190, 65
TEXT_INDEX_BYTES = 0.4
"""The GIN index of the search vectors, a byte of content."""
PAGE_BYTES, HNSW_ELEMENT_BYTES = 8100, 320
"""An element beside its floats: neighbours and headers. Elements are not split: a page holds whole ones."""


def hnsw_seconds(vectors: int, dimension: int, form: Form = Form.WHOLE) -> float:
    """CPU seconds of one vector's place in the graph of so many."""
    size: float = (max(vectors, 1) / HNSW_AT_ROWS) ** HNSW_GROWTH
    return (HNSW_BASE_SECONDS + HNSW_DIMENSION_SECONDS * HNSW_FORM_SHARES[form] * dimension) * size


def hnsw_disk_bytes(vectors: int, dimension: int, form: Form = Form.WHOLE) -> int:
    """The index's size: 1,366, 4,096 and 8,192 bytes a vector of 256, 768 and 1536 dimensions; 8,192 of 3,072 in
    halves, 834 of 4,096 in bits."""
    in_page = max(1, PAGE_BYTES // (form.dimension_bits * dimension // 8 + HNSW_ELEMENT_BYTES))
    return 8192 * -(-vectors // in_page)


def vector_disk_bytes(vectors: float, size: float) -> float:
    """What vectors of `size` bytes each take in the table."""
    return vectors * size * (LONG_VECTOR_DISK_FACTOR if size > LONG_VECTOR_BYTES else 1.0)
