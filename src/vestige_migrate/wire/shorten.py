"""Long vectors of nomic v1.5 -> the short ones that Vestige makes of them, bit for bit.

The first floats, divided by their L2 norm (`matryoshka_truncate` in crates/vestige-core/src/embeddings/local.rs of
github.com/samvallad33/vestige). All of it in float32, and the squares are added one after the other, from the first to
the last: numpy's own sum adds them pairwise, and its last bits are others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vestige_migrate.decode.problem import Raw
from vestige_migrate.decode.vector import FLOAT_BYTES
from vestige_migrate.source.layout.vectors import TO_SHORTEN_BYTES


def shorten(values: Sequence[Raw], dimension: int) -> Sequence[Raw]:
    """The same values; those that are marked to be shortened (`TO_SHORTEN_BYTES`) as their first `dimension` floats at
    length 1. One of length 0 stays as it is."""
    size = dimension * FLOAT_BYTES
    marked = [
        at for at, value in enumerate(values) if isinstance(value, bytes) and len(value) == size + TO_SHORTEN_BYTES
    ]
    if not marked:
        return values
    joined = b"".join(values[at] for at in marked)  # type: ignore[misc]  # bytes, as was just seen
    rows = np.frombuffer(joined, dtype=np.uint8).reshape(len(marked), -1)[:, :size]
    numbers = np.ascontiguousarray(rows).view("<f4")
    # Not finite: the decoder of what comes out says so.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        lengths = np.sqrt(np.add.accumulate(numbers * numbers, axis=1, dtype=np.float32)[:, -1:])
        numbers = np.where(lengths > 0, numbers / lengths, numbers)
    written = numbers.astype("<f4").tobytes()
    found = list(values)
    for row, at in enumerate(marked):
        found[at] = written[row * size : (row + 1) * size]
    return found
