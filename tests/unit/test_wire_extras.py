"""Columns with no place of their own are kept under `metadata.sqlite`, beside the metadata as it was."""

from __future__ import annotations

import json
import math
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_decode_safety import raw_values
from tests.unit.test_wire_fields import payload_of
from vestige_migrate.decode.problem import BadValue, Raw
from vestige_migrate.decode.text import tolerant_text
from vestige_migrate.wire import field
from vestige_migrate.wire.metadata_extras import merge_extras

SEVERAL = settings(max_examples=120, deadline=None)
keys = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8) | st.sampled_from(["sqlite", "a"])
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | keys
trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
objects = st.dictionaries(keys, trees, max_size=4)
NAMES = ("source", "stability", 'has "quotes"', "naïve", "sqlite")
rows_of_extras = st.lists(st.tuples(*[raw_values] * len(NAMES)), min_size=1, max_size=6)
spaces = st.sampled_from(["", " ", "\n", "\t \r\n"])


def no_constants(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


def merge(metadata: str | None, **extras: Raw) -> tuple[str, list[str]]:
    """The merged text of one row and the reasons of its problems."""
    own = None if metadata is None else field.jsonb(metadata)
    (merged,), problems = merge_extras([own], list(extras), [(value,) for value in extras.values()])
    assert merged is not None
    return text_of(merged), [problem.reason for _, problem in problems]


def text_of(merged: bytes) -> str:
    payload = payload_of(merged)
    assert payload is not None
    assert payload[0] == 1
    return payload[1:].decode()


def read(text: str) -> Any:
    """The merged object, by a parser that takes nothing but JSON and keeps numbers as they are written."""
    return json.loads(text, parse_constant=no_constants, parse_float=str, parse_int=str)


def kept(value: Raw) -> Any:
    """What an extra is kept as; numbers as text, as `read` gives them."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "\ufffd")
    return str(value)


@SEVERAL
@given(rows_of_extras, st.data())
def test_every_value_is_kept_whatever_it_is(rows: list[tuple[Raw, ...]], data: st.DataObject) -> None:
    own = [data.draw(st.none() | objects) for _ in rows]
    pads = [data.draw(spaces) for _ in rows]
    written = [
        None
        if value is None
        else field.jsonb(pad + json.dumps(value, ensure_ascii=False, indent=len(pad) or None) + pad)
        for value, pad in zip(own, pads, strict=True)
    ]
    merged, problems = merge_extras(written, NAMES, list(zip(*rows, strict=True)))
    assert {at for at, _ in problems} <= set(range(len(rows)))
    for at, (result, row) in enumerate(zip(merged, rows, strict=True)):
        extras = {name: value for name, value in zip(NAMES, row, strict=True) if value is not None}
        if not extras:
            assert result == written[at]
            continue
        assert result is not None
        value = read(text_of(result))
        found = value.pop("sqlite")
        before = json.loads(json.dumps(own[at] or {}), parse_float=str, parse_int=str)
        if "sqlite" in before:
            assert found.pop("metadata.sqlite") == before.pop("sqlite")
        assert value == before
        found = {name: b64decode(item["base64"]) if isinstance(item, dict) else item for name, item in found.items()}
        assert found == {name: kept(item) for name, item in extras.items()}


@pytest.mark.parametrize("metadata", ["{}", " {}", "{ }", "{}\n", "\n{\n}\n", "\t{\r\n } "])
def test_an_empty_object_needs_no_comma_however_it_is_spaced(metadata: str) -> None:
    text, _ = merge(metadata, a=1)
    assert read(text) == {"sqlite": {"a": "1"}}


def test_refused_or_missing_metadata_still_carries_the_extras() -> None:
    (refused, missing), problems = merge_extras([None, field.NULL], ["a"], [(1, 2)])
    assert problems == []
    assert refused is not None
    assert missing is not None
    assert json.loads(text_of(refused)) == {"sqlite": {"a": 1}}
    assert json.loads(text_of(missing)) == {"sqlite": {"a": 2}}


def test_a_row_without_extras_is_untouched() -> None:
    own = [field.jsonb('{"a": 1.10}'), None, field.NULL]
    assert merge_extras(own, ["a", "b"], [(None,) * 3, (None,) * 3]) == (own, [])


@pytest.mark.parametrize("number", ["1.10", "1E+2", "-0", "-0.0", "1e400", "0." + "1" * 40, "9" * 5000])
def test_numbers_of_the_metadata_keep_every_digit(number: str) -> None:
    text, _ = merge(f'{{"n": {number}}}', a=1)
    assert f'"n": {number}' in text
    assert read(text)["n"] == number


@pytest.mark.parametrize("number", ["1.10", "1e400", "0." + "1" * 40, "9" * 5000], ids=lambda number: number[:8])
@pytest.mark.parametrize(
    "template",
    ['{{"sqlite": {}}}', '{{"sqlite": {{"deep": [{}]}}}}', '{{"\\u0073qlite": {}}}'],
    ids=["direct", "deep", "escaped"],
)
def test_numbers_under_an_existing_key_keep_every_digit(number: str, template: str) -> None:
    text, _ = merge(template.format(number), a=1)
    assert number in text.split('"metadata.sqlite"')[1]
    found = read(text)["sqlite"]
    assert found["a"] == "1"
    assert found["metadata.sqlite"] == read(template.format(number))["sqlite"]


@pytest.mark.parametrize(
    ("metadata", "before"),
    [
        ('{"sqlite": null}', None),
        ('{"sqlite": {"a": 7}}', {"a": "7"}),
        ('{"\\u0073qlite": "x"}', "x"),
        ('{"sqlite": 1, "sqlite": 2}', "2"),
        ('{"sqlite": "\\ud83d\\ude00"}', "😀"),
    ],
)
def test_a_key_of_that_name_is_kept_inside_ours(metadata: str, before: object) -> None:
    text, _ = merge(metadata, a=1)
    assert read(text)["sqlite"] == {"a": "1", "metadata.sqlite": before}


def test_a_column_that_is_called_like_the_place_of_that_key_keeps_its_own() -> None:
    names = ["metadata.sqlite", "metadata.sqlite'"]
    [merged], _ = merge_extras([field.jsonb('{"sqlite": 1}')], names, [["column"], ["another"]])
    assert merged is not None
    found = read(text_of(merged))["sqlite"]
    assert found == {**dict(zip(names, ("column", "another"), strict=True)), "metadata.sqlite''": "1"}


@pytest.mark.parametrize(
    "metadata", ['{"a": "sqlite"}', '{"a": {"sqlite": 1}}', '{"a": "\\u0041"}', '{"a": ["sqlite"]}']
)
def test_the_word_elsewhere_is_no_key_of_that_name(metadata: str) -> None:
    text, _ = merge(metadata, b=1)
    assert read(text) == {**read(metadata), "sqlite": {"b": "1"}}


@pytest.mark.parametrize(
    ("value", "stored", "reason"),
    [
        (b"\0\xff", {"base64": "AP8="}, None),
        (b"", {"base64": ""}, None),
        (math.inf, "inf", None),
        (-math.inf, "-inf", None),
        ("\\u0000", "\\u0000", None),
        ("a\0b", "a\ufffdb", "sqlite.a has a NUL character, replaced by U+FFFD"),
        (tolerant_text(b"a\xffb"), "a\ufffdb", "sqlite.a has invalid UTF-8, replaced by U+FFFD"),
        ('😀"\n', '😀"\n', None),
        (2**63 - 1, str(2**63 - 1), None),
        (0.1, "0.1", None),
    ],
)
def test_what_json_cannot_hold_is_kept_in_another_form(value: Raw, stored: object, reason: str | None) -> None:
    text, reasons = merge("{}", a=value, b="beside")
    assert read(text)["sqlite"] == {"a": stored, "b": "beside"}
    assert reasons == ([] if reason is None else [reason])


def test_problems_name_their_row() -> None:
    merged, problems = merge_extras([None] * 4, ["a"], [("x", "y\0", None, "z\0")])
    assert [at for at, _ in problems] == [1, 3]
    assert merged[2] is None
    assert all(isinstance(problem, BadValue) for _, problem in problems)


def test_nesting_under_an_existing_key_is_written_as_deep_as_it_was_read() -> None:
    depth = 600
    nested = "[" * depth + '{"a": [1, {}, [], "x\\"y", true, null]}' + "]" * depth
    text, _ = merge(f'{{"sqlite": {nested}}}', a=1)
    assert text.endswith('{"a":1,"metadata.sqlite":' + nested.replace(": ", ":").replace(", ", ",") + "}}")
