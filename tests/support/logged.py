"""What the program logs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from loguru import logger


@contextmanager
def log_lines() -> Iterator[list[str]]:
    """The lines from INFO on, each with its level before it, as they come."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{level} {message}", level="INFO")
    try:
        yield lines
    finally:
        logger.remove(sink)
