"""Waiting for a server that is away."""

from __future__ import annotations

import time

import psycopg
import pytest

from vestige_migrate.destination.connection import reconnect as patience


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only waiting moves; the waits."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(time, "monotonic", lambda: sum(waits))
    return waits


def test_each_wait_is_said_once_and_grows_to_its_limit(clock: list[float]) -> None:
    said: list[str] = []

    def open_() -> str:
        if len(clock) < 6:
            raise psycopg.OperationalError("connection failed: refused\n\tIs it running?")
        return "connected"

    assert patience.connect_patiently(open_, said.append) == "connected"
    assert clock == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert said == [f"no connection: refused; trying again in {pause:.1f} s" for pause in clock]


def test_patience_ends_with_the_last_reason(clock: list[float]) -> None:
    def refuse() -> None:
        raise psycopg.OperationalError(f"reason {len(clock)}")

    with pytest.raises(patience.ServerAway, match=r"reason (?!0$)\d+$") as ended:
        patience.connect_patiently(refuse, lambda _: None)
    assert str(ended.value).endswith(f"reason {len(clock)}")
    assert 60 < sum(clock) <= patience.PATIENCE_SECONDS


def test_what_is_no_use_to_try_again_is_raised_at_once(clock: list[float]) -> None:
    def refuse() -> None:
        raise psycopg.errors.InvalidPassword

    with pytest.raises(psycopg.errors.InvalidPassword):
        patience.connect_patiently(refuse, lambda _: None)
    assert clock == []
