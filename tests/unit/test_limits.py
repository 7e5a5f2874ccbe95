"""What the system says when a limit of the machine is reached, in words; anything else is left alone."""

from __future__ import annotations

import errno

import pytest

from vestige_migrate.errors import HostUnusable
from vestige_migrate.host_limits import describe_limit, limits_refuse
from vestige_migrate.source.read.ranges import KeySpan, Rows
from vestige_migrate.workers import processes
from vestige_migrate.workers.engine import NotStarted
from vestige_migrate.workers.evidence import INDEPENDENT_LOSSES, Evidence
from vestige_migrate.workers.hang_watch import AwakeClock


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "memory ran out"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory ran out"),
        (ImportError("libz.so.1: failed to map segment from shared object"), "memory ran out"),
        (RuntimeError("can't start new thread"), "no more processes or threads"),
        (OSError(errno.EMFILE, "Too many open files"), "no more files"),
        (OSError(errno.ENFILE, "Too many open files in system"), "no more files"),
    ],
)
def test_a_limit_is_named_though_another_error_hides_it(error: Exception, words: str) -> None:
    hidden = ValueError("something else")
    hidden.__cause__ = error
    for one in (error, hidden):
        described = describe_limit(one)
        assert described is not None
        assert words in described
        assert "lower --workers" in described


@pytest.mark.parametrize(
    "error",
    [ValueError("cannot allocate memory"), OSError(errno.ENOSPC, "full"), RuntimeError("no"), BlockingIOError()],
)
def test_what_is_no_limit_is_not_called_one(error: Exception) -> None:
    assert describe_limit(error) is None


def test_a_limit_before_anything_was_written_refuses_the_run() -> None:
    with pytest.raises(HostUnusable, match=r"memory ran out .* Nothing was written"), limits_refuse():
        raise MemoryError


def test_a_fork_that_the_system_refuses_is_the_limit_on_processes() -> None:
    class Refused:
        def start(self) -> None:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with pytest.raises(NotStarted, match="no more processes or threads"):
        processes.start(Refused())


def test_ranges_that_share_no_row_speak_against_the_host_and_halves_of_one_do_not() -> None:
    evidence = Evidence(2)
    whole = KeySpan("edges", 0)
    evidence.lost(whole, 0.1)
    parts = [Rows("edges", 0, (at,)) for at in range(INDEPENDENT_LOSSES)]
    evidence.split(whole, parts)
    for part in parts[:-1]:
        evidence.lost(part, 0.1)
    found = [evidence.is_against_host]
    evidence.lost(parts[-1], 0.1)
    found.append(evidence.is_against_host)
    evidence.finished()
    assert [*found, evidence.is_against_host] == [False, True, False]


def test_one_death_of_each_range_at_once_is_no_proof_against_the_host() -> None:
    evidence = Evidence(8)
    ranges = [KeySpan("edges", at) for at in range(8)]
    for range_ in ranges:
        evidence.lost(range_, 1.0)
    found = [evidence.is_against_host, evidence.is_doubtful]
    for range_ in ranges:
        evidence.lost(range_, 1.0)
    assert [*found, evidence.is_against_host] == [False, False, True]


def test_time_in_which_the_coordinator_did_not_run_does_not_count() -> None:
    times = iter([0.0, 1.0, 3600.0, 3601.0])
    clock = AwakeClock(lambda: next(times))
    assert clock.tick() == 1.0
    assert clock.tick() == 3.0
    assert clock.tick() == 4.0
