"""--dry-run's estimate, as pure functions: what is to be done and what the server is like in, figures out."""

from __future__ import annotations

from dataclasses import dataclass

from vestige_migrate.destination.indexes.hnsw_memory import HnswMemory, MemoryLimits, choose_memory
from vestige_migrate.destination.schema.vector_index import Form
from vestige_migrate.estimate import rates
from vestige_migrate.estimate.server_speed import ServerSpeed
from vestige_migrate.report.estimate import Estimate, HnswEstimate, Span

_REMOTE_CORES = 2
"""What the slow end of the range grants a server elsewhere: nothing tells how many it has."""
_INDEXED_TEXT_BYTES = 65_536
"""Search vectors are made of this much of a content (schema.sql)."""


@dataclass(frozen=True)
class Work:
    """What is to be moved: rows in all, memories, vectors and archived rows among them, rows that are replaced rather
    than inserted, and rows of the source that the destination is only asked about. Bytes are those in the source."""

    memories: int = 0
    dependents: int = 0
    archived: int = 0
    updated: int = 0
    asked: int = 0
    vectors: int = 0
    content_bytes: float = 0.0
    vector_bytes: float = 0.0
    other_bytes: float = 0.0
    archived_bytes: float = 0.0
    bytes_at_most: int = 0
    exact: bool = True

    @property
    def rows(self) -> int:
        """Rows to be written."""
        return self.memories + self.dependents + self.archived

    def __add__(self, other: Work) -> Work:
        values = {name: getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__}
        return Work(**{**values, "exact": self.exact and other.exact})


@dataclass(frozen=True)
class Conditions:
    """Where the work would be done: processes of ours, CPUs here, the server, its indexes, and what is there already.

    `parallel` is how many maintenance workers the server may add to a build. `plain_built` is the share of the plain
    indexes that are built over all rows, `plain_kept` of those that are there while rows come; `hnsw_builds` and
    `hnsw_kept` say the same of the HNSW index, and `form` what it has of each vector. `dimension` is None where no
    vector can be indexed.
    """

    workers: int
    batch_size: int
    cpus: int
    local: bool
    pace: ServerSpeed
    limits: MemoryLimits
    parallel: int
    wal_bytes: int
    dimension: int | None
    rows_there: int = 0
    vectors_there: int = 0
    plain_built: float = 1.0
    plain_kept: float = 0.0
    hnsw_builds: bool = True
    hnsw_kept: bool = False
    form: Form = Form.WHOLE


def estimate(work: Work, at: Conditions) -> Estimate:
    """What a copy would move, need and take."""
    memory = _hnsw_memory(work, at)
    return Estimate(
        rows=work.rows,
        content_bytes=round(work.content_bytes),
        vector_bytes=round(work.vector_bytes),
        other_bytes=round(work.other_bytes + work.archived_bytes),
        bytes_at_most=work.bytes_at_most,
        exact=work.exact,
        table_bytes=_table_bytes(work),
        index_bytes=_index_bytes(work, at),
        wal_bytes=at.wal_bytes,
        hnsw=_hnsw_estimate(memory, at),
        start=rates.START_SECONDS,
        load=_spread(_load(work, at)),
        indexes=_spread(_indexes(work, at, memory)),
        basis=_basis(at, memory),
    )


def _hnsw_memory(work: Work, at: Conditions) -> HnswMemory | None:
    vectors = work.vectors + at.vectors_there
    if not at.hnsw_builds or at.dimension is None or not vectors:
        return None
    return choose_memory(vectors, at.dimension, at.limits, at.form.dimension_bits)


def _hnsw_estimate(memory: HnswMemory | None, at: Conditions) -> HnswEstimate | None:
    if memory is None or at.dimension is None:
        return None
    return HnswEstimate(
        memory.vectors,
        at.dimension,
        at.form.value,
        memory.wanted_mib,
        memory.set_mib,
        memory.given_mib,
        memory.fits,
        memory.reason,
    )


def _slowness(at: Conditions) -> Span:
    """How much slower this server is than the one the rates come from."""
    quickest, slowest = at.pace.search_byte
    return quickest / rates.SEARCH_BYTE_SECONDS, slowest / rates.SEARCH_BYTE_SECONDS


def _load(work: Work, at: Conditions) -> Span:
    """Everything up to the last row, kept indexes included; quickest and slowest."""
    text = min(work.content_bytes, float(work.memories * _INDEXED_TEXT_BYTES)) * rates.SEARCH_BYTE_SECONDS
    copied = (
        work.memories * rates.MEMORY_SECONDS
        + work.vector_bytes * rates.VECTOR_BYTE_SECONDS
        + work.other_bytes * rates.OTHER_BYTE_SECONDS
        + work.dependents * rates.DEPENDENT_SECONDS
        + work.asked * rates.ASK_SECONDS
    )
    share = work.updated / max(1, work.memories + work.dependents)
    copied *= 1 + (rates.UPDATE_FACTOR - 1) * share
    client, server = copied * rates.MEMORY_CLIENT_SHARE, copied * (1 - rates.MEMORY_CLIENT_SHARE) + text
    server += work.memories * rates.PLAIN_INDEX_SECONDS * at.plain_kept
    if at.hnsw_kept and at.dimension is not None:
        there = work.vectors + at.vectors_there
        server += work.vectors * rates.hnsw_seconds(there, at.dimension, at.form) * rates.HNSW_ONE_BY_ONE
    archive = work.archived * rates.ARCHIVED_ROW_SECONDS + work.archived_bytes * rates.ARCHIVED_BYTE_SECONDS
    sent = work.content_bytes + work.vector_bytes + work.other_bytes + work.archived_bytes
    batches = -(-work.rows // at.batch_size) + work.asked // at.batch_size

    def seconds(end: int) -> float:
        slow = _slowness(at)[end]
        cores = at.cpus if at.local else (at.workers, _REMOTE_CORES)[end]
        if at.local:
            parallel = (client + server) * slow / min(at.workers, at.cpus)
        else:
            parallel = client / min(at.workers, at.cpus) + server * slow / min(at.workers, cores)
        network = sent * at.pace.sent_byte[end] if not at.local else 0.0
        trips = batches * rates.BATCH_ROUND_TRIPS * at.pace.round_trip[end] / at.workers
        return parallel + archive * slow + network + trips

    return seconds(0), seconds(1)


def _indexes(work: Work, at: Conditions, memory: HnswMemory | None) -> Span:
    """The builds over all rows: the plain ones side by side, then HNSW with parallel workers."""
    plain = (work.memories + at.rows_there) * rates.PLAIN_INDEX_SECONDS * at.plain_built
    graph = memory.vectors * rates.hnsw_seconds(memory.vectors, at.dimension or 0, at.form) if memory else 0.0
    outgrown = rates.HNSW_OUTGROWN if memory and not memory.fits else (1.0, 1.0)

    def seconds(end: int) -> float:
        slow = _slowness(at)[end]
        processes = 1 + min(at.workers, at.parallel)
        cores = at.cpus if at.local else (processes, _REMOTE_CORES)[end]
        # At worst the one large plain index, that of the search vectors, leaves the other cores idle.
        side_by_side = (min(2, cores), 1)[end]
        return slow * (plain / side_by_side + graph * outgrown[end] / min(processes, cores))

    return seconds(0), seconds(1)


def _spread(span: Span) -> Span:
    return span[0] * rates.DOUBT[0], span[1] * rates.DOUBT[1]


def _table_bytes(work: Work) -> int:
    vector = work.vector_bytes / work.vectors if work.vectors else 0.0
    return round(
        work.content_bytes * rates.TEXT_DISK_FACTOR
        + rates.vector_disk_bytes(work.vectors, vector)
        + work.other_bytes
        + work.archived_bytes
        + work.memories * rates.ROW_DISK_BYTES
        + (work.dependents + work.archived) * rates.DEPENDENT_DISK_BYTES
    )


def _index_bytes(work: Work, at: Conditions) -> int:
    plain = (
        work.memories * rates.MEMORY_INDEX_BYTES
        + work.dependents * rates.DEPENDENT_INDEX_BYTES
        + work.content_bytes * rates.TEXT_INDEX_BYTES
    )
    grows = (at.hnsw_builds or at.hnsw_kept) and at.dimension is not None
    vectors = work.vectors + (at.vectors_there if at.hnsw_builds else 0)
    plain *= at.plain_built + at.plain_kept
    return round(plain) + (rates.hnsw_disk_bytes(vectors, at.dimension, at.form) if grows and at.dimension else 0)


def _basis(at: Conditions, memory: HnswMemory | None) -> tuple[str, ...]:
    search, trip = (f"{low:.2g} to {high:.2g}" for low, high in (_slowness(at), _milliseconds(at.pace.round_trip)))
    lines = [
        f"the server took {search} times as long for search vectors as the machine that the rates were measured on, "
        f"and {trip} ms for a round trip",
        f"{at.workers} workers on {at.cpus} CPUs"
        + (", which the server shares" if at.local else f" here; at worst the server itself has {_REMOTE_CORES}"),
    ]
    if memory:
        processes = 1 + min(at.workers, at.parallel)
        lines.append(f"the HNSW index is built with up to {processes} processes")
    elif at.hnsw_kept:
        lines.append("the HNSW index is there, and takes each new vector by itself")
    return tuple(lines)


def _milliseconds(span: Span) -> Span:
    return span[0] * 1000, span[1] * 1000
