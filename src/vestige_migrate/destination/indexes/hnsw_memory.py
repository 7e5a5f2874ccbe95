"""How much memory the HNSW build gets: what its graph needs, bounded by what the server's machine can spare.

pgvector builds the graph in memory while `maintenance_work_mem` holds it and goes on several times slower past that.
A parallel build takes the whole setting as shared memory before it begins (measured: 0.3 s for each GiB), so more than
is wanted is no gift.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vestige_migrate.destination.connection.connect import Connection

_MIB = 1024 * 1024
_GRAPH_ROW_BYTES = 720
_GRAPH_MARGIN = 1.1
_BESIDE_GRAPH_MIB = 4
"""A parallel build keeps 3 MiB of the setting for other things (pgvector's hnswbuild.c)."""
_FREE_SHARE = 0.5
"""How much of the machine's free memory the graph may take."""
_CACHE_SHARE = 0.25
"""How much of a remote server's `effective_cache_size`, where somebody has set it."""
_UNTUNED_MIB = 512
"""What a remote server is trusted with that nobody has tuned: the default of `effective_cache_size` says nothing."""
_SMALLEST_MIB = 64
"""PostgreSQL's own default: a larger setting is not lowered past it."""


@dataclass(frozen=True)
class MemoryLimits:
    """`set_bytes` is the server's `maintenance_work_mem`; `cache_bytes` its `effective_cache_size`, None where nobody
    set one; `free_bytes` what this machine has free, None where the server is elsewhere."""

    set_bytes: int
    cache_bytes: int | None
    free_bytes: int | None


@dataclass(frozen=True)
class HnswMemory:
    """Memory for the HNSW build, in MiB: what the graph of so many vectors wants, what the server has set, what the
    build gets and why; `local` is whether the server runs on this machine."""

    vectors: int
    wanted_mib: int
    set_mib: int
    given_mib: int
    local: bool
    reason: str

    @property
    def fits(self) -> bool:
        """Whether the graph stays in memory; past it pgvector goes on, several times slower."""
        return self.given_mib >= self.wanted_mib

    @property
    def advice(self) -> str:
        """What to do where it does not fit."""
        if self.local:
            return (
                f"free {self.wanted_mib - self.given_mib} MiB more on this machine, or set maintenance_work_mem = "
                f"'{self.wanted_mib}MB' yourself"
            )
        return (
            f"where the server's machine has that much free, ALTER ROLE ... SET maintenance_work_mem = "
            f"'{self.wanted_mib}MB'"
        )


def graph_bytes(vectors: int, dimension: int, dimension_bits: int = 32) -> int:
    """What pgvector's in-memory graph takes at m = 16 (measured: 4 x dim + 720 bytes a row), with a tenth to spare.

    `dimension_bits` is what the index has of each dimension.
    """
    return int(vectors * (dimension_bits * dimension / 8 + _GRAPH_ROW_BYTES) * _GRAPH_MARGIN)


def choose_memory(vectors: int, dimension: int, limits: MemoryLimits, dimension_bits: int = 32) -> HnswMemory:
    """Memory for the whole graph where the machine can spare it; else as much as it can, or as is set."""
    wanted = _mib(graph_bytes(vectors, dimension, dimension_bits)) + _BESIDE_GRAPH_MIB
    own = limits.set_bytes // _MIB
    spare, whence = _spare(limits)
    if own >= wanted:
        enough = max(wanted, _SMALLEST_MIB)
        given, reason = own, "the server's own setting"
        if own > enough:
            given, reason = enough, f"less than the server's own {own:,} MiB, which a parallel build would take whole"
    elif wanted <= spare:
        given, reason = wanted, f"as much as the graph needs, out of {whence}"
    elif own >= spare:
        given, reason = own, f"the server's own setting: more than {whence}"
    else:
        given, reason = spare, whence
    return HnswMemory(vectors, wanted, own, given, limits.free_bytes is not None, reason)


def _spare(limits: MemoryLimits) -> tuple[int, str]:
    """MiB, and in words where they come from."""
    if limits.free_bytes is not None:
        free = limits.free_bytes // _MIB
        return int(free * _FREE_SHARE), f"half of the {free:,} MiB that this machine has free"
    if limits.cache_bytes is not None:
        cache = limits.cache_bytes // _MIB
        return int(cache * _CACHE_SHARE), f"a quarter of the server's effective_cache_size of {cache:,} MiB"
    return _UNTUNED_MIB, f"the {_UNTUNED_MIB} MiB trusted to a server elsewhere, whose free memory cannot be seen"


def read_limits(connection: Connection) -> MemoryLimits:
    """Asks the server, and this machine where the server runs on it."""
    row = connection.execute(
        "SELECT pg_size_bytes(current_setting('maintenance_work_mem')),"
        " (SELECT pg_size_bytes(current_setting(name)) FROM pg_settings WHERE name = 'effective_cache_size'"
        "  AND source <> 'default')"
    ).fetchone()
    assert row is not None
    return MemoryLimits(row[0], row[1], free_bytes() if is_local(connection) else None)


def is_local(connection: Connection) -> bool:
    """Whether the server is taken to run on this machine: a socket or a loopback address leads to it."""
    host = connection.info.host
    return host.startswith(("/", "@")) or host in ("", "localhost", "127.0.0.1", "::1")


def free_bytes(root: Path = Path("/")) -> int | None:
    """What this machine, or the container that we are in, has free; None where it does not say (no Linux)."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    if match is None:
        return None
    return min([int(match.group(1)) * 1024, *_left_in_cgroup(root / "sys/fs/cgroup")])


def _left_in_cgroup(group: Path) -> list[int]:
    """What the container's limit leaves, in cgroups of either version; nothing where there is no limit.

    Pages of files that nobody has used lately count as used, and are given up when memory is asked for.
    """
    for limit, used, reclaimable, folder in (
        ("memory.max", "memory.current", "inactive_file", group),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", group / "memory"),
    ):
        figures = [_read(folder / name).strip() for name in (limit, used)]
        if not all(figure.isdecimal() for figure in figures):  # "max", or no such file
            continue
        match = re.search(rf"^{reclaimable} (\d+)$", _read(folder / "memory.stat"), re.MULTILINE)
        most, taken = map(int, figures)
        return [max(0, most - taken + (int(match.group(1)) if match else 0))]
    return []


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except OSError:
        return ""


def _mib(size: int) -> int:
    return -(-size // _MIB)
