"""Progress as a value: what a run tells its caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` rows of a table are dealt with.

    While indexes are built, `table` is `indexes` (counted in indexes) and then `HNSW index` (in vectors), with the
    server's own account of the build in `detail`.
    """

    table: str
    done: int
    total: int
    detail: str = ""


OnProgress = Callable[[Progress], None]
