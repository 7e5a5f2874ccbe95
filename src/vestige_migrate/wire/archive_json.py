"""A row of any table as one JSON object and one key, exactly and told apart (docs/archive.md has the forms).

    INTEGER  a number without a point          TEXT  a string, else {"text_base64": ...} of the bytes as stored,
    REAL     a number with a point, else             where it holds a NUL character or invalid UTF-8
             {"real": "NaN"} and the like      BLOB  {"base64": ...}
    NULL     null

SQLite has no value that JSON would write as an object, so an object is always one of these.
"""

from __future__ import annotations

import json
import math
import re
from base64 import b64encode
from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256

from vestige_migrate.decode.problem import Raw

MAX_KEY_BYTES = 1000
"""Longer keys are hashed: a B-tree entry holds 2704 bytes at the most, the table's name among them."""

_quote = json.JSONEncoder(ensure_ascii=False).encode
_NOT_PLAIN = re.compile(r"-?[0-9]+|[\[{].*|.*#[0-9a-f]{32}", re.DOTALL)
"""Texts that would read like an integer, like a key of several parts, or like the key of a second row."""


def row_json(names: Sequence[str], values: Sequence[Raw]) -> str:
    """The row as a JSON object, every column in it."""
    pairs = (f"{_quote(name)}:{_value(value)}" for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def row_key(values: Sequence[Raw], rowid: int | None) -> str:
    """The key as text: different keys give different texts.

    `values` are those of the primary key, in its order. Without any, or with a NULL among them (SQLite takes several
    rows with one), the row is named by its rowid.
    """
    if not values and rowid is not None:
        return str(rowid)
    if None in values and rowid is not None:
        return f'{{"rowid":{rowid}}}'
    only = values[0] if len(values) == 1 else None
    if isinstance(only, int):
        return str(only)
    if isinstance(only, str) and not _NOT_PLAIN.fullmatch(only) and _is_plain(only):
        key = only
    else:
        key = "[" + ",".join(map(_value, values)) + "]"
    if len(key.encode()) <= MAX_KEY_BYTES:
        return key
    return f'{{"sha256":"{sha256(key.encode()).hexdigest()}"}}'


def _value(value: Raw) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        if _is_plain(value):
            return _quote(value)
        return f'{{"text_base64":"{b64encode(value.encode("utf-8", "surrogateescape")).decode()}"}}'
    if isinstance(value, bytes):
        return f'{{"base64":"{b64encode(value).decode()}"}}'
    if isinstance(value, int):
        return str(value)
    return _real(value)


def _is_plain(text: str) -> bool:
    """Whether PostgreSQL can hold the text; bytes that are no UTF-8 were read as lone surrogates."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _real(value: float) -> str:
    # jsonb has neither NaN nor infinity nor a negative zero.
    if not math.isfinite(value) or (value == 0 and math.copysign(1, value) < 0):
        return f'{{"real":"{_NAMES.get(value, "NaN")}"}}'
    # The shortest digits that give the same double again; jsonb would drop an exponent and with it the point.
    text = repr(value)
    if "e" in text:
        text = format(Decimal(text), "f")
    return text if "." in text else f"{text}.0"


_NAMES = {math.inf: "Infinity", -math.inf: "-Infinity", 0.0: "-0.0"}
