"""A bundled server that starts slowly is waited for; one that cannot start is not."""

from __future__ import annotations

import subprocess

import pytest

from vestige_migrate.destination.embedded import settings, start_patiently

SLOW = subprocess.TimeoutExpired("pg_ctl", 10)
REFUSED = subprocess.CalledProcessError(1, "pg_ctl")


class Starter:
    """Fails with each of these in turn, then succeeds."""

    def __init__(self, *failures: BaseException) -> None:
        self._failures = list(failures)
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self._failures:
            raise self._failures.pop(0)


@pytest.mark.parametrize("failures", [(), (SLOW,), (SLOW, AssertionError(), REFUSED), (AssertionError(),)])
def test_a_slow_server_is_waited_for(failures: tuple[BaseException, ...]) -> None:
    start = Starter(*failures)
    start_patiently(start, pause=0)
    assert start.calls == len(failures) + 1


def test_a_server_that_cannot_start_is_not_tried_again() -> None:
    start = Starter(REFUSED, REFUSED)
    with pytest.raises(subprocess.CalledProcessError):
        start_patiently(start, pause=0)
    assert start.calls == 1


def test_the_wait_has_an_end() -> None:
    start = Starter(*[SLOW] * 3)
    with pytest.raises(subprocess.TimeoutExpired):
        start_patiently(start, seconds=-1, pause=0)
    assert start.calls == 1


def test_a_new_server_keeps_what_it_reported_and_does_without_a_small_dev_shm() -> None:
    ordinary, container = settings(16 * 1024**3), settings(64 * 1024**2)
    assert settings(None) == ordinary
    assert container == ordinary + "dynamic_shared_memory_type = sysv\n"
    for unsafe in ("fsync", "full_page_writes", "synchronous_commit", "wal_level"):
        assert unsafe not in container
