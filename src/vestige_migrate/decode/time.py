"""Time columns: RFC 3339 text as chrono writes it, SQLite's own format, and epoch numbers."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from vestige_migrate.decode.problem import BadValue, Raw, storage_class

UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST_EPOCH_SECONDS = 9_999_999_999
"""2286-11-20: a larger number is taken for milliseconds."""

# A column with TEXT affinity stores the number 1716800000 as the text '1716800000', so both mean the same.
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_NANOSECONDS = re.compile(r"(\.\d{6})\d+")


def decode_time(raw: Raw) -> datetime | None:
    """An aware UTC datetime, or None for NULL. Without a zone it means UTC; digits past microseconds are cut."""
    if raw is None:
        return None
    if isinstance(raw, (int, float)):
        return _from_epoch(raw)
    if isinstance(raw, bytes):
        try:
            raw = raw.decode("ascii")
        except UnicodeDecodeError:
            raise BadValue(f"is {storage_class(raw)}, not a time") from None
    text = raw.strip()
    if _NUMBER.fullmatch(text):
        return _from_epoch(float(text) if not text.lstrip("+-").isdigit() else int(text[:40]))
    try:
        moment = datetime.fromisoformat(_NANOSECONDS.sub(r"\1", text))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadValue("is no readable time") from None


def _from_epoch(number: float) -> datetime:
    try:
        if abs(number) > LARGEST_EPOCH_SECONDS:
            return UNIX_EPOCH + timedelta(milliseconds=number)
        return UNIX_EPOCH + timedelta(seconds=number)
    except (OverflowError, ValueError):
        raise BadValue("is a number that is no time") from None
