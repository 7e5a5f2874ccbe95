"""Settings of a new bundled server."""

from __future__ import annotations

from vestige_migrate.destination.embedded import settings


def test_a_new_server_keeps_what_it_reported_and_does_without_a_small_dev_shm() -> None:
    ordinary, container = settings(16 * 1024**3), settings(64 * 1024**2)
    assert settings(None) == ordinary
    assert container == ordinary + "dynamic_shared_memory_type = sysv\n"
    for unsafe in ("fsync", "full_page_writes", "synchronous_commit", "wal_level"):
        assert unsafe not in container
