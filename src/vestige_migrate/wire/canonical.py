"""JSON as `jsonb` hands it out again, so that a stored value can be compared by its bytes.

jsonb keeps the last of several equal keys, orders keys by their length in bytes and then by their bytes, and writes
numbers without an exponent and strings with as few escapes as JSON allows. A number keeps its trailing zeros.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

from vestige_migrate.wire import field
from vestige_migrate.wire.column import CACHED_VALUES

_PREFIX_BYTES = 5
"""A jsonb field's length and version, before the JSON text."""
_CACHED_BYTES = 256
_EMPTY_OBJECT = field.jsonb("{}")

MAX_INTEGER_DIGITS = 131_072
MAX_FRACTION_DIGITS = 16_383
"""numeric's limits (PostgreSQL manual, 8.1.2); past them the server refuses the value."""


class _NotPlain(ValueError):
    """A number that Python would write in another form than it is read in."""


class _Number(str):
    """A number as numeric writes it."""

    __slots__ = ()


def _plain_float(text: str) -> float:
    value = float(text)
    if repr(value) != text or "e" in text or value == 0:
        raise _NotPlain
    return value


def _number(text: str) -> _Number:
    value = Decimal(text)
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or value.adjusted() >= MAX_INTEGER_DIGITS or -exponent > MAX_FRACTION_DIGITS:
        raise ValueError("past the limits of numeric")
    return _Number(format(abs(value) if value.is_zero() else value, "f"))


_PLAIN = json.JSONDecoder(parse_float=_plain_float)
_CAREFUL = json.JSONDecoder(parse_float=_number, parse_int=_number)
_WRITER = json.JSONEncoder(ensure_ascii=False, check_circular=False)
_SCALARS = (str, int, float, bool, type(None))


def jsonb_text(text: str) -> str | None:
    """The text that jsonb makes of this JSON text; None where that is not known (too deep, no number for numeric)."""
    try:
        try:
            return _WRITER.encode(_ordered(_PLAIN.decode(text)))
        except _NotPlain:
            return _write(_CAREFUL.decode(text))
    except (ValueError, RecursionError):
        return None


def _byte_order(key: str) -> tuple[int, str]:
    # UTF-8 keeps the order of code points.
    return len(key) if key.isascii() else len(key.encode()), key


def _ordered(value: Any) -> Any:
    if type(value) is dict:
        keys = sorted(value, key=_byte_order) if len(value) > 1 else value
        return {key: item if type(item := value[key]) in _SCALARS else _ordered(item) for key in keys}
    if type(value) is list:
        return [item if type(item) in _SCALARS else _ordered(item) for item in value]
    return value


def _write(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, dict):
        items = (f"{encode_basestring(key)}: {_write(value[key])}" for key in sorted(value, key=_byte_order))
        return f"{{{', '.join(items)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_write, value))}]"
    return _WRITER.encode(value)


class JsonbFields:
    """jsonb fields as `COPY ... TO` would hand them out again; keeps short ones for the length of a run."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {field.NULL: field.NULL, _EMPTY_OBJECT: _EMPTY_OBJECT}

    def __call__(self, fields: Sequence[bytes]) -> list[bytes]:
        """A field each; one whose form is not known stays as it is."""
        known = self._known
        return [known.get(value) or self._canonical(value) for value in fields]

    def _canonical(self, value: bytes) -> bytes:
        text = jsonb_text(value[_PREFIX_BYTES:].decode())
        found = value if text is None else field.jsonb(text)
        if len(value) <= _CACHED_BYTES:
            if len(self._known) > CACHED_VALUES:
                self._known.clear()
            self._known[value] = found
        return found
