"""How much of their time the backends of a database wait for a lock: asked of the server while a copy runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.server import connect

_PAUSE_SECONDS = 0.02


@dataclass
class Waits:
    """Samples of backends in a COPY, and of those the ones that waited for a lock of either kind."""

    active: int = 0
    waiting: int = 0

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.waiting / self.active if self.active else 0.0


@contextmanager
def watched_waits(url: str) -> Iterator[Waits]:
    """Counts into the `Waits` that it yields, fifty times a second, until the block ends."""
    waits, ended = Waits(), threading.Event()

    def watch() -> None:
        with connect(url) as connection:
            while not ended.wait(_PAUSE_SECONDS):
                row = connection.execute(
                    "SELECT count(*), count(*) FILTER (WHERE wait_event_type IN ('Lock', 'LWLock'))"
                    " FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
                    " AND query LIKE 'COPY %'"
                ).fetchone()
                assert row is not None
                waits.active += row[0]
                waits.waiting += row[1]

    thread = threading.Thread(target=watch, name="waits")
    thread.start()
    try:
        yield waits
    finally:
        ended.set()
        thread.join()
