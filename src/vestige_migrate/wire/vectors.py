"""Embeddings of one length -> COPY fields, many at once.

One numpy assignment swaps the bytes of a whole chunk on the way into its rows. A chunk stays in the CPU's cache: with
the whole batch in one piece (1.5 MB at 768 dimensions) this is slower than vector by vector, which was measured.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from vestige_migrate.decode.problem import Raw
from vestige_migrate.decode.vector import FLOAT_BYTES

CHUNK_BYTES = 128 * 1024


def write_vectors(values: Sequence[Raw], dimension: int) -> list[bytes | None] | None:
    """A vector(dimension) field each, or None unless every value is a BLOB of so many finite float32."""
    size = dimension * FLOAT_BYTES
    if set(map(type, values)) != {bytes} or set(map(len, values)) != {size}:  # type: ignore[arg-type]
        return None
    prefix = struct.pack(">ihh", 4 + size, dimension, 0)
    width = len(prefix) + size
    count = max(1, CHUNK_BYTES // width)
    rows = np.empty(count, dtype=[("prefix", f"V{len(prefix)}"), ("numbers", ">f4", (dimension,))])
    rows["prefix"] = np.void(prefix)
    fields: list[bytes | None] = []
    for start in range(0, len(values), count):
        chunk = values[start : start + count]
        numbers = np.frombuffer(b"".join(chunk), dtype="<f4").reshape(-1, dimension)  # type: ignore[arg-type]
        if not np.isfinite(numbers).all():
            return None
        rows["numbers"][: len(chunk)] = numbers
        written = rows[: len(chunk)].tobytes()
        fields += [written[at : at + width] for at in range(0, len(written), width)]
    return fields
