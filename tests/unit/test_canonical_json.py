"""jsonb's own spelling of a JSON text. That the server agrees is tested in integration/test_verify_digests.py."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestige_migrate.wire import field
from vestige_migrate.wire.canonical import JsonbFields, jsonb_text

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=5), max_leaves=20
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=5)


def exact(text: str) -> Any:
    """Parsed with exact numbers, so that equal means equal."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "{}"),
        (' { "b" : 1 ,"a":[ ]} ', '{"a": [], "b": 1}'),
        ('{"a": 1, "a": 2}', '{"a": 2}'),
        ('{"bb": 1, "a": 2, "é": 3, "B": 4}', '{"B": 4, "a": 2, "bb": 1, "é": 3}'),
        ('{"x": [1.50, 1e2, 1E+2, 1.5e1, -0, -0.0, 0e5, 0e-3, 1e-7, 100]}',
         '{"x": [1.50, 100, 100, 15, 0, 0.0, 0, 0.000, 0.0000001, 100]}'),
        ('{"x": 0.1, "y": {"b": true, "a": null}}', '{"x": 0.1, "y": {"a": null, "b": true}}'),
        ('{"x": "\\u0007\\/\\u00e9\\ud83d\\ude00\\u007f\\n\\"\\\\"}', '{"x": "\\u0007/é😀\x7f\\n\\"\\\\"}'),
        ('{"x": 123456789012345678901234567890.123456789012345678901234567890}',
         '{"x": 123456789012345678901234567890.123456789012345678901234567890}'),
    ],
)  # fmt: skip
def test_known_spellings(text: str, expected: str) -> None:
    assert jsonb_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"x": 1e400000}',
        '{"x": 1e-20000}',
        '{"x": 1e999999999999}',
        '{"x": ' + "9" * 5000 + "}",
        '{"x": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_what_has_no_known_spelling_is_left_to_the_server(text: str) -> None:
    assert jsonb_text(text) is None
    given_field = field.jsonb(text)
    assert JsonbFields()([given_field]) == [given_field]


@given(OBJECTS)
def test_the_value_stays_and_the_spelling_is_the_only_one(value: dict[str, Any]) -> None:
    compact = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    text = jsonb_text(compact)
    assert text is not None
    assert exact(text) == exact(compact)
    assert jsonb_text(text) == text
    backwards = dict(reversed(value.items()))
    assert jsonb_text(json.dumps(backwards, ensure_ascii=False, indent=1)) == text


@given(st.lists(OBJECTS | st.none(), max_size=4))
def test_fields_of_a_column(values: list[dict[str, Any] | None]) -> None:
    texts = [None if value is None else json.dumps(value) for value in values]
    fields = [field.NULL if text is None else field.jsonb(text) for text in texts]
    expected = [field.NULL if text is None else field.jsonb(str(jsonb_text(text))) for text in texts]
    encode = JsonbFields()
    assert encode(fields) == expected
    assert encode(fields) == expected  # out of the cache
