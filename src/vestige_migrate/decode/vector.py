"""Embeddings: BLOBs of little-endian float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vestige_migrate.decode.problem import BadValue, Raw, storage_class
from vestige_migrate.limits import MAX_DIMENSION

FLOAT_BYTES = 4


def decode_vector(raw: Raw, dimension: int | None) -> NDArray[np.float32] | None:
    """A float32 array of shape (dimension,), or None for NULL. `dimension` None accepts any that pgvector stores."""
    if raw is None:
        return None
    if not isinstance(raw, bytes):
        raise BadValue(f"is {storage_class(raw)}, not a BLOB of float32")
    if len(raw) % FLOAT_BYTES or not raw:
        raise BadValue(f"has {len(raw)} bytes, which is no number of float32")
    found = len(raw) // FLOAT_BYTES
    if dimension is not None and found != dimension:
        raise BadValue(f"has {found} dimensions instead of {dimension}")
    if found > MAX_DIMENSION:
        raise BadValue(f"has {found} dimensions, and pgvector stores at most {MAX_DIMENSION}")
    vector = np.frombuffer(raw, dtype="<f4")
    if not np.isfinite(vector).all():
        raise BadValue("holds NaN or infinity")
    return vector
