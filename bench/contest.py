"""Rounds: each measures all contestants one after the other, forwards and backwards in turn, so that a machine that
gets slower in the middle, or favours whoever comes second, does so to both sides of every ratio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Contestant:
    """Something to measure in each of the first `rounds` rounds; `measure` returns its figures by name."""

    name: str
    rounds: int
    measure: Callable[[], dict[str, float]]


def hold(contestants: Sequence[Contestant], say: Callable[[str], None]) -> list[dict[str, float]]:
    """The figures of every round, those of all its contestants in one."""
    rounds = []
    for number in range(max((contestant.rounds for contestant in contestants), default=0)):
        present = [contestant for contestant in contestants if contestant.rounds > number]
        figures: dict[str, float] = {}
        for contestant in present if number % 2 == 0 else reversed(present):
            found = contestant.measure()
            figures |= found
            said = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
            say(f"round {number + 1}: {said}")
        rounds.append(figures)
    return rounds
