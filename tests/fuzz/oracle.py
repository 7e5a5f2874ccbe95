"""Whether a stored value is the source's value, by rules of its own: nothing of the program is asked."""

from __future__ import annotations

import json
import math
import re
import struct
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.unit.test_wire_fields import payload_of, read_field

Raw = str | bytes | int | float | None

_PLAIN_ID = re.compile("[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FROM_MILLISECONDS = 10**10
_JULIAN, _JULIAN_EPOCH = (1_721_425.5, 5_373_484.5), 2_440_587.5
_NO_JSON = object()


def as_id(raw: Raw) -> UUID | None:
    """The UUID that a value spells, None where it spells none."""
    text = raw.decode("latin-1") if isinstance(raw, bytes) else raw
    if not isinstance(text, str):
        return None
    if text[:1] == "{" and text[-1:] == "}":
        text = text[1:-1]
    return UUID(text) if _PLAIN_ID.fullmatch(text.lower()) and text.isascii() else None


def load(text: str) -> Any:
    """JSON with its numbers as they are written."""
    return json.loads(text, parse_int=str, parse_float=str)


def _json(raw: Raw) -> Any:
    try:
        text = raw.decode() if isinstance(raw, bytes) else raw
        return load(text) if isinstance(text, str) else _NO_JSON
    except (ValueError, RecursionError):
        return _NO_JSON


def stored_value(pg_type: str, written: bytes) -> Any:
    """The Python value of a COPY field; the numbers of JSON as they are written."""
    if pg_type == "jsonb":
        payload = payload_of(written)
        assert payload is not None
        assert payload[:1] == b"\1"
        return load(payload[1:].decode())
    return read_field(pg_type, written)


def is_kept(pg_type: str, raw: Raw, stored: Any) -> bool:
    """Whether a value that is not NULL came over with nothing lost."""
    if pg_type == "text":
        return bool(_as_text(raw) == stored)
    if pg_type == "uuid":
        return bool(as_id(raw) == stored)
    if pg_type == "jsonb":
        return bool(_json(raw) == stored)
    if pg_type == "text[]":
        return bool(_json(raw) == stored)
    if pg_type == "uuid[]":
        found = _json(raw)
        return isinstance(found, list) and [as_id(item) for item in found] == stored
    if pg_type == "vector":
        return isinstance(raw, bytes) and stored is not None and struct.pack(f"<{len(stored)}f", *stored) == raw
    if pg_type == "timestamptz":
        return _is_time(raw, stored)
    return isinstance(raw, (int, float)) and stored is not None and float(raw) == float(stored)


def _as_text(raw: Raw) -> str | None:
    if isinstance(raw, bytes):
        return raw.decode(errors="surrogateescape")
    return raw if isinstance(raw, str) else repr(raw)


def _is_time(raw: Raw, stored: datetime | None) -> bool:
    if stored is None:
        return False
    text = raw.decode("latin-1") if isinstance(raw, bytes) else raw
    try:
        if isinstance(text, str):
            try:
                number = float(text) if text.isascii() and "_" not in text else math.nan
            except ValueError:
                found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.strip()))
                return (found if found.tzinfo else found.replace(tzinfo=UTC)) == stored
        else:
            number = float(text or 0)
        seconds = number / 1000 if abs(number) >= _FROM_MILLISECONDS else number
        is_real = "." in text or "e" in text.lower() if isinstance(text, str) else isinstance(text, float)
        if is_real and _JULIAN[0] <= number < _JULIAN[1]:
            seconds = (number - _JULIAN_EPOCH) * 86_400
        return abs(_EPOCH + timedelta(seconds=seconds) - stored) < timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return False


def has_extras(own: Raw, extras: dict[str, Raw], stored: Any) -> bool:
    """Whether a memory's stored metadata is its own, with the columns that have no place under "sqlite"."""
    found = _json(own) if own is not None else {}
    extras = {name: value for name, value in extras.items() if value is not None}
    if not isinstance(found, dict) or not extras:
        return bool(found == stored)
    beside = {name: value for name, value in found.items() if name != "sqlite"}
    kept = {name: _as_extra(value) for name, value in extras.items()}
    if "sqlite" in found:
        kept["metadata.sqlite"] = found["sqlite"]
    return isinstance(stored, dict) and stored == {**beside, "sqlite": kept}


def _as_extra(raw: Raw) -> Any:
    if isinstance(raw, bytes):
        return {"base64": b64encode(raw).decode()}
    if isinstance(raw, str) or (isinstance(raw, float) and not math.isfinite(raw)):
        return str(raw)
    return load(json.dumps(raw))


def key_of(pg_types: Sequence[str], raws: Sequence[Raw]) -> tuple[object, ...] | None:
    """The key as the destination has it, None where it cannot be placed."""
    parts: list[object] = []
    for pg_type, raw in zip(pg_types, raws, strict=True):
        part = as_id(raw) if pg_type == "uuid" else None if raw is None else _replaced(_as_text(raw) or "")
        if part is None:
            return None
        parts.append(part)
    return tuple(parts)


def _replaced(text: str) -> str:
    raw = text.replace("\0", "\ufffd").encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "replace")
