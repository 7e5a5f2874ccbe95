"""When it is time to say in the log that something long is still going on."""

from __future__ import annotations

import time
from collections.abc import Callable

EVERY_SECONDS = 30.0
"""Where there is no progress bar, a build of an hour says a line this often rather than nothing."""


class Heartbeat:
    """Due every `EVERY_SECONDS`, the first time that long after it was made."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._last = clock()

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return self._clock() - self._began

    def is_due(self) -> bool:
        """Whether to say it now; the next time is then that much later."""
        now = self._clock()
        if now - self._last < EVERY_SECONDS:
            return False
        self._last = now
        return True
