"""Settings of a new bundled server that make it fit for a copy; none of them trades durability."""

from __future__ import annotations

import shutil
from pathlib import Path

_SHARED_MEMORY = Path("/dev/shm")
_ROOMY_BYTES = 1024**3

# Written once, into a new data directory. Nothing here trades durability: fsync and full_page_writes stay on. A
# checkpoint begins after about half of max_wal_size; a copy of 100,000 memories writes 0.43 GB of log. The defaults of
# 8 keep a parallel HNSW build from more processes, on machines that have them. What was tried: docs/workers.md.
_SETTINGS = """\
# vestige-migrate: settings of the bundled server
max_connections = 100
shared_buffers = 256MB
max_wal_size = 4GB
checkpoint_timeout = 15min
max_worker_processes = 24
max_parallel_workers = 16
"""
# A parallel HNSW build keeps its graph in dynamic shared memory. PostgreSQL takes that from /dev/shm, which a container
# limits to 64 MB; System V shared memory has no such limit.
_SYSTEM_V = "dynamic_shared_memory_type = sysv\n"


def settings(shared_memory_bytes: int | None) -> str:
    """The configuration of a new server where `/dev/shm` is of this size; None where there is none."""
    small = shared_memory_bytes is not None and shared_memory_bytes < _ROOMY_BYTES
    return _SETTINGS + (_SYSTEM_V if small else "")


def settings_of_this_host() -> str:
    """The configuration of a new server here."""
    return settings(shutil.disk_usage(_SHARED_MEMORY).total if _SHARED_MEMORY.is_dir() else None)
