"""Number columns."""

from __future__ import annotations

import math

from vestige_migrate.decode.problem import BadValue, Raw, storage_class


def decode_float(raw: Raw) -> float | None:
    """A finite double, or None for NULL."""
    if raw is None:
        return None
    if isinstance(raw, (str, bytes)):
        raise BadValue(f"is {storage_class(raw)}, not a number")
    number = float(raw)
    if not math.isfinite(number):
        raise BadValue("is not finite")
    return number


def decode_int(raw: Raw, bits: int) -> int | None:
    """A signed integer of `bits` bits, or None for NULL. A real number is taken where it is a whole one."""
    if raw is None:
        return None
    if isinstance(raw, (str, bytes)):
        raise BadValue(f"is {storage_class(raw)}, not a number")
    if isinstance(raw, float) and not raw.is_integer():
        raise BadValue("is not a whole number")
    number = int(raw)
    limit = 1 << (bits - 1)
    if not -limit <= number < limit:
        raise BadValue(f"is out of range for a {bits}-bit integer")
    return number
