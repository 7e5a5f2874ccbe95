"""Time columns: RFC 3339 text as chrono writes it, SQLite's own format, epoch numbers, and Julian days."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from vestige_migrate.decode.problem import BadValue, Raw, storage_class

UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST_EPOCH_SECONDS = 9_999_999_999
"""2286-11-20: a larger number is taken for milliseconds."""

JULIAN_DAYS = (1_721_425.5, 5_373_484.5)
"""0001-01-01 and 10000-01-01 as Julian days, as SQLite's `julianday()` has them. A real number from the first on and
below the second is one: as epoch seconds it would lie in January to March 1970, before any of these files."""
_JULIAN_DAY_OF_UNIX_EPOCH_MS = 210_866_760_000_000
_DAY_MS = 86_400_000

# A column with TEXT affinity stores the number 1716800000 as the text '1716800000', so both mean the same.
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_NANOSECONDS = re.compile(r"(\.\d{6})\d+")


def decode_time(raw: Raw) -> datetime | None:
    """An aware UTC datetime, or None for NULL. Without a zone it means UTC; digits past microseconds are cut.

    An integer counts seconds or milliseconds since 1970, a real number those or days (`JULIAN_DAYS`).
    """
    if raw is None:
        return None
    if isinstance(raw, (int, float)):
        return _from_number(raw)
    if isinstance(raw, bytes):
        try:
            raw = raw.decode("ascii")
        except UnicodeDecodeError:
            raise BadValue(f"is {storage_class(raw)}, not a time") from None
    text = raw.strip()
    if _NUMBER.fullmatch(text):
        return _from_number(float(text) if not text.lstrip("+-").isdigit() else int(text[:40]))
    try:
        moment = datetime.fromisoformat(_NANOSECONDS.sub(r"\1", text))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadValue("is no readable time") from None


def _from_number(number: float) -> datetime:
    try:
        if isinstance(number, float) and JULIAN_DAYS[0] <= number < JULIAN_DAYS[1]:
            # In whole milliseconds, as SQLite itself counts: a double has no more digits for such a day.
            return UNIX_EPOCH + timedelta(
                milliseconds=math.floor(number * _DAY_MS + 0.5) - _JULIAN_DAY_OF_UNIX_EPOCH_MS
            )
        if abs(number) > LARGEST_EPOCH_SECONDS:
            return UNIX_EPOCH + timedelta(milliseconds=number)
        return UNIX_EPOCH + timedelta(seconds=number)
    except (OverflowError, ValueError):
        raise BadValue("is a number that is no time") from None
