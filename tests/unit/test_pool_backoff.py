"""Waiting before the next try of a range: longer each time, never too long, never in step."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vestige_migrate.workers.backlog import LONGEST_BACKOFF_SECONDS, backoff_seconds

JITTER = 0.2


def wait(attempt: int, draw: Callable[[float, float], float]) -> float:
    """The wait when the random number is what `draw` makes of its bounds (hypothesis would fix it otherwise)."""
    with patch("random.uniform", side_effect=draw):
        return backoff_seconds(attempt)


def middle(attempt: int) -> float:
    return wait(attempt, lambda low, high: (low + high) / 2)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300))
def test_a_wait_lies_within_its_bounds(attempt: int) -> None:
    expected = min(LONGEST_BACKOFF_SECONDS, 2.5 ** (attempt - 1))
    assert wait(attempt, lambda low, _: low) == pytest.approx(expected * (1 - JITTER))
    assert wait(attempt, lambda _, high: high) == pytest.approx(expected * (1 + JITTER))


def test_the_first_wait_is_about_a_second_and_the_default_retries_end_within_minutes() -> None:
    assert middle(1) == 1.0
    assert sum(middle(attempt) for attempt in range(1, 5)) < 60


def test_waits_grow_until_the_longest() -> None:
    waits = [middle(attempt) for attempt in range(1, 12)]
    assert waits == sorted(waits)
    assert waits[1] > waits[0]
    assert waits[-1] == LONGEST_BACKOFF_SECONDS


def test_two_workers_do_not_return_in_step() -> None:
    waits = [backoff_seconds(1) for _ in range(20)]
    assert max(waits) - min(waits) > 0


@pytest.mark.parametrize("attempt", [500, 1_000, 100_000])
def test_any_number_of_retries_may_be_asked_for(attempt: int) -> None:
    assert backoff_seconds(attempt) <= LONGEST_BACKOFF_SECONDS * (1 + JITTER)
