"""Ctrl-C while a pass is under way: the pass ends first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@dataclass
class StopRequest:
    """Whether somebody asked for the end."""

    asked: bool = False


@contextmanager
def heard_at_the_end() -> Iterator[StopRequest]:
    """What would interrupt the block is noted. A second request is not: it interrupts as it would have without this.

    Signals that nobody handles in Python, and those of a caller that is not in the main thread, stay as they are.
    """
    request = StopRequest()
    before: dict[int, Callable[[int, FrameType | None], object]] = {}

    def note(number: int, frame: FrameType | None) -> None:
        if request.asked:
            before[number](number, frame)
        request.asked = True

    if threading.current_thread() is threading.main_thread():
        for name in _NAMES:
            number = getattr(signal, name, None)
            handler = signal.getsignal(number) if number is not None else None
            if number is not None and callable(handler):
                before[number] = handler
                signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
