"""JSON in text columns, judged by what PostgreSQL's `jsonb` and `text[]` accept."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any
from uuid import UUID

from vestige_migrate.decode.ids import decode_uuid
from vestige_migrate.decode.problem import BadValue, Raw, storage_class
from vestige_migrate.decode.text import MAX_INDEXED_BYTES
from vestige_migrate.report.rows import Outcome


class _NotJson(ValueError):
    pass


class JsonNumber(str):
    """A JSON number as written: nothing here computes with it, and `int` refuses more than 4300 digits."""

    __slots__ = ()


def _reject_constant(name: str) -> Any:
    raise _NotJson(f"holds {name}, which is not JSON")


MAX_NESTING = 800
"""Python's parser gives up below 1,000 levels, the sooner the deeper the stack it is called from. A copy and the
comparison that follows have to judge one value alike, so the bound is ours."""

_IN_QUOTES = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


def _is_too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_NESTING:
        return False
    brackets = _BRACKET.findall(_IN_QUOTES.sub("", text))
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_NESTING


_DECODER = json.JSONDecoder(parse_constant=_reject_constant, parse_int=JsonNumber, parse_float=JsonNumber)


def parse_json(raw: Raw) -> tuple[str, Any]:
    """The JSON text and its parsed value (numbers as `JsonNumber`). Raises `BadValue` where jsonb would refuse it."""
    if isinstance(raw, bytes):
        try:
            raw = raw.decode()
        except UnicodeDecodeError:
            raise BadValue("is not JSON: invalid UTF-8") from None
    if not isinstance(raw, str):
        raise BadValue(f"is {storage_class(raw)}, not JSON")
    if _is_too_deep(raw):
        raise BadValue(f"is JSON nested too deep (at most {MAX_NESTING} levels)")
    try:
        value = _DECODER.decode(raw)
    except _NotJson as problem:
        raise BadValue(str(problem)) from None
    except ValueError:
        raise BadValue("is not JSON") from None
    except RecursionError:
        raise BadValue("is JSON nested too deep") from None
    # Both pass Python's parser and fail PostgreSQL's; the cheap test first, since an escaped backslash fools it.
    if "\\u0000" in raw and _any_string(value, lambda text: "\0" in text):
        raise BadValue("holds \\u0000, which PostgreSQL cannot store")
    if not raw.isascii() or "\\ud" in raw or "\\uD" in raw:
        _check_surrogates(raw, value)
    return raw, value


def _check_surrogates(raw: str, value: Any) -> None:
    try:
        raw.encode()
        if _any_string(value, _has_surrogate):
            raise BadValue("holds half of a surrogate pair")
    except UnicodeEncodeError:
        raise BadValue("is not JSON: invalid UTF-8") from None


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def _any_string(value: Any, test: Any) -> bool:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if test(item):
                return True
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            pending.extend(item.keys())
            pending.extend(item.values())
    return False


class _RepeatedKey(ValueError):
    pass


def _with_each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RepeatedKey
    return found


_STRICT_DECODER = json.JSONDecoder(parse_int=JsonNumber, parse_float=JsonNumber, object_pairs_hook=_with_each_key_once)


def repeats_a_key(text: str) -> bool:
    """Whether an object in the JSON text, at any depth, has one key more than once, however it is escaped.

    False for what is no JSON.
    """
    if _is_too_deep(text):
        return False
    try:
        _STRICT_DECODER.decode(text)
    except _RepeatedKey:
        return True
    except (ValueError, RecursionError):
        return False
    return False


def decode_object(raw: Raw) -> str | None:
    """The text of a JSON object, unchanged (jsonb keeps every digit of a number), or None for NULL.

    One with a key more than once comes over as it is, and jsonb keeps the last value: `BadValue` has the text.
    """
    if raw is None:
        return None
    text, value = parse_json(raw)
    if not isinstance(value, dict):
        raise BadValue("is not a JSON object")
    if repeats_a_key(text):
        reason = "has a key more than once, of which PostgreSQL keeps the last value"
        raise BadValue(reason, instead=text, outcome=Outcome.COPIED_WITHOUT_VALUE)
    return text


def decode_strings(raw: Raw) -> list[str] | None:
    """A JSON array of strings, or None for NULL."""
    if raw is None:
        return None
    _, value = parse_json(raw)
    if not isinstance(value, list) or not all(type(item) is str for item in value):
        raise BadValue("is not a JSON array of strings")
    if any(len(item.encode()) > MAX_INDEXED_BYTES for item in value):
        raise BadValue(f"has a string too long to be indexed (at most {MAX_INDEXED_BYTES} bytes)")
    return value


def decode_uuids(raw: Raw) -> list[UUID] | None:
    """A JSON array of UUID strings, or None for NULL."""
    strings = decode_strings(raw)
    if strings is None:
        return None
    try:
        return [found for item in strings if (found := decode_uuid(item)) is not None]
    except BadValue:
        raise BadValue("is not a JSON array of UUIDs") from None


_SPACE = r"[ \t\n\r]*+"
_STRING = r'"(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt])*+"'
_NUMBER = r"-?(?:0|[1-9][0-9]{0,17}+)(?:\.[0-9]{1,18}+)?(?:[eE][+-]?[0-9]{1,2}+)?"
_SCALAR = f"(?:{_STRING}|{_NUMBER}|true|false|null)"
_SEPARATOR = "\x1e"
"""A control character: no JSON text holds one unescaped, so joined texts cannot run into each other."""


def _list_of(item: str) -> str:
    return f"(?:{item}{_SPACE}(?:,{_SPACE}{item}{_SPACE})*+)?+"


def _object_of(value: str) -> str:
    return rf"\{{{_SPACE}{_list_of(f'{_STRING}{_SPACE}:{_SPACE}{value}')}\}}"


_VALUE = rf"(?:{_SCALAR}|\[{_SPACE}{_list_of(_SCALAR)}\]|{_object_of(_SCALAR)})"
_PLAIN_OBJECTS = re.compile(f"(?:{_SPACE}{_object_of(_VALUE)}{_SPACE}{_SEPARATOR})*+")


def are_plain_objects(texts: Sequence[str]) -> bool:
    r"""Whether each text is certainly a JSON object that jsonb takes, by one C call over all of them (1 us a text).

    Plain: no ``\u`` escape, numbers of ordinary size, nothing nested deeper than a list or an object of scalars. A
    lone surrogate may be in a text; writing it as UTF-8 finds that.
    """
    joined = _SEPARATOR.join(texts) + _SEPARATOR
    return joined.count(_SEPARATOR) == len(texts) and _PLAIN_OBJECTS.fullmatch(joined) is not None
