"""Columns that have no place in the destination, kept in their row's `metadata` under the key `sqlite`."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any

from vestige_migrate.decode.json import JsonNumber, parse_json
from vestige_migrate.decode.problem import BadValue, Raw
from vestige_migrate.decode.text import decode_text
from vestige_migrate.wire import field
from vestige_migrate.wire.column import Problem, Values

EXTRAS_KEY = "sqlite"
OWN_VALUE = "metadata.sqlite"
_EMPTY = field.jsonb("{}")
_PREFIX_BYTES = 5
"""A jsonb field's length and version, before the JSON text."""

# NaN and infinity are no JSON: `allow_nan=False` sends such a row the careful way.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def merge_extras(
    metadata: Sequence[bytes | None], names: Sequence[str], values: Sequence[Values]
) -> tuple[list[bytes | None], list[Problem]]:
    """The metadata column with the extras of each row merged in.

    `metadata` are jsonb fields of objects (None where the row's metadata was refused); `values` one sequence a
    name. The metadata text is kept to the letter, so that jsonb sees every digit of its numbers.
    """
    merged: list[bytes | None] = []
    problems: list[Problem] = []
    for row, (own, extras) in enumerate(zip(metadata, zip(*values, strict=True), strict=True)):
        found = {name: value for name, value in zip(names, extras, strict=True) if value is not None}
        if not found:
            merged.append(own)
            continue
        base = _EMPTY if own is None or own == field.NULL else own
        try:
            written = _encode(found)
            if "\\u0000" in written:
                raise ValueError
            text = written.encode()
        except (TypeError, ValueError):  # UnicodeEncodeError is a ValueError
            careful, bad = _careful(found)
            text = _encode(careful).encode()
            problems.extend((row, problem) for problem in bad)
        merged.append(_with_key(base, text))
    return merged, problems


def _careful(values: dict[str, Raw]) -> tuple[dict[str, Any], list[BadValue]]:
    """The same values in forms JSON and PostgreSQL can hold, and what had to be replaced on the way."""
    kept: dict[str, Any] = {}
    problems = []
    for name, value in values.items():
        if isinstance(value, bytes):
            kept[name] = {"base64": b64encode(value).decode()}
        elif isinstance(value, float) and not math.isfinite(value):
            kept[name] = str(value)
        elif isinstance(value, str):
            try:
                kept[name] = decode_text(value)
            except BadValue as problem:
                kept[name] = problem.instead
                problems.append(BadValue(f"sqlite.{name} {problem.reason}", instead=problem.instead))
        else:
            kept[name] = value
    return kept, problems


def _with_key(own: bytes, extras: bytes) -> bytes:
    """The object in the jsonb field `own` with `"sqlite": extras` added at its end."""
    text = own[_PREFIX_BYTES:].strip()
    if b'"sqlite"' in text or b"\\u" in text:
        # A key of that name may stand there already (jsonb would let the last one win): keep it inside ours.
        _, value = parse_json(text)
        if EXTRAS_KEY in value:
            body = extras[:-1] + b"," + _free_key(extras) + _write(value[EXTRAS_KEY]) + b"}"
            return field.with_length(b"\x01" + text[:-1] + b',"sqlite":' + body + b"}")
    separator = b"" if not text[1:-1].strip() else b","
    return field.with_length(b"\x01" + text[:-1] + separator + b'"sqlite":' + extras + b"}")


def _free_key(extras: bytes) -> bytes:
    """The key of the row's own value under ours, with its colon; no column is called so."""
    name = OWN_VALUE
    while (key := _encode(name).encode() + b":") in extras:
        name += "'"
    return key


def _write(value: Any) -> bytes:
    """A value of `parse_json` as JSON: numbers to the letter, and nesting of any depth (hence no recursion)."""
    written: list[str] = []
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, (dict, list)):
            pending.extend(reversed(list(_pieces(item))))
        elif isinstance(item, (_Punctuation, JsonNumber)):
            written.append(item)
        else:
            written.append(_encode(item))
    return "".join(written).encode()


class _Punctuation(str):
    """JSON text that is written already, told apart from a string value."""

    __slots__ = ()


def _pieces(container: dict[str, Any] | list[Any]) -> Iterator[Any]:
    """An object or array as punctuation and the values between it, in order."""
    comma = ""
    if isinstance(container, dict):
        yield _Punctuation("{")
        for key, value in container.items():
            yield _Punctuation(f"{comma}{_encode(key)}:")
            yield value
            comma = ","
        yield _Punctuation("}")
        return
    yield _Punctuation("[")
    for value in container:
        yield _Punctuation(comma)
        yield value
        comma = ","
    yield _Punctuation("]")
