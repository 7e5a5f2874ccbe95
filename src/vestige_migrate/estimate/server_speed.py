"""How fast the server is, measured without writing anything: a round trip, a text's search vector, a parameter sent.

Takes some 50 ms at a server on this machine. What is sent is made up; nothing of the source goes anywhere.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import LiteralString

from vestige_migrate.destination.connection.connect import Connection

_TRIES = 4
_TEXTS, _WORDS_PER_TEXT, _VOCABULARY = 100, 60, 900
_SYLLABLES = ("ba", "re", "mi", "to", "ka", "len", "dor", "vis", "pra", "sto", "ning", "ter", "al", "um", "ex", "tion")
_SENT_BYTES = 64 * 1024
_SEARCH: LiteralString = "SELECT sum(length(to_tsvector('english'::regconfig, t))) FROM unnest(%s::text[]) AS t"


@dataclass(frozen=True)
class ServerSpeed:
    """Seconds: the quickest and slowest round trip, the same for the search vector of a byte of text in one server
    process, and for a byte on its way to the server."""

    round_trip: tuple[float, float]
    search_byte: tuple[float, float]
    sent_byte: tuple[float, float]


def measure_speed(connection: Connection, clock: Callable[[], float] = time.perf_counter) -> ServerSpeed:
    """Measures over an idle connection, each figure a few times."""
    texts = _made_up_texts()

    def timed(statement: LiteralString, *parameters: object) -> tuple[float, float]:
        taken = []
        for _ in range(_TRIES):
            began = clock()
            connection.execute(statement, parameters).fetchone()
            taken.append(clock() - began)
        return min(taken), max(taken)

    connection.execute(_SEARCH, (texts[:1],))  # the dictionary is loaded once a session
    round_trip = timed("SELECT 1")
    size = sum(map(len, texts))
    return ServerSpeed(
        round_trip,
        _each(timed(_SEARCH, texts), round_trip, size),
        _each(timed("SELECT octet_length(%b)", bytes(_SENT_BYTES)), round_trip, _SENT_BYTES),
    )


def _each(taken: tuple[float, float], round_trip: tuple[float, float], count: int) -> tuple[float, float]:
    quickest, slowest = (max(0.0, seconds - round_trip[0]) / count for seconds in taken)
    return quickest, slowest


def _made_up_texts() -> list[str]:
    """Like prose to the parser: 60 words of some 7 letters, few of them often."""
    draw = random.Random(_TEXTS)
    words = ["".join(draw.choices(_SYLLABLES, k=draw.randint(1, 4))) for _ in range(_VOCABULARY)]
    weights = [1 / (rank + 1) for rank in range(_VOCABULARY)]
    return [" ".join(draw.choices(words, weights, k=_WORDS_PER_TEXT)) for _ in range(_TEXTS)]
