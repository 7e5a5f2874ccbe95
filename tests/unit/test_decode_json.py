"""JSON, judged by what `jsonb` and `text[]` take."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vestige_migrate.decode.json import are_plain_objects, decode_object, decode_strings, decode_uuids
from vestige_migrate.decode.problem import BadValue, Raw
from vestige_migrate.decode.text import MAX_INDEXED_BYTES, tolerant_text
from vestige_migrate.report.rows import Outcome

SEVERAL = settings(max_examples=100, deadline=None)
storable = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | storable
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(storable, inner, max_size=4), max_leaves=12
)
objects = st.dictionaries(storable, values, max_size=5)
Decode = Callable[[Raw], Any]
each_decoder = pytest.mark.parametrize("decode", [decode_object, decode_strings, decode_uuids])


def refused(decode: Decode, raw: Raw) -> str:
    with pytest.raises(BadValue) as caught:
        decode(raw)
    return caught.value.reason


@SEVERAL
@given(objects, st.booleans(), st.sampled_from([None, 2]), st.sampled_from(["", " ", "\n\t\r "]))
def test_an_object_comes_over_to_the_letter(value: dict[str, Any], ascii_: bool, indent: int | None, pad: str) -> None:
    text = pad + json.dumps(value, ensure_ascii=ascii_, indent=indent) + pad
    assert decode_object(text) == text
    assert decode_object(text.encode()) == text


@pytest.mark.parametrize(
    "text",
    [
        '{"n": 1.10}',
        '{"n": 1' + "0" * 10_000 + "}",
        '{"n": 0.' + "1" * 6000 + "}",
        '{"n": 1e400}',
        '{"": {}}',
        r'{"a": "\u0041\n\"\\ \ud83d\ude00"}',
        r'{"a": "\\u0000"}',
        r'{"a": "\\ud800"}',
        '{"a": "😀"}',
        '{"a": ' + "[" * 500 + "]" * 500 + "}",
    ],
)
def test_digits_and_escapes_are_untouched(text: str) -> None:
    assert decode_object(text) == text


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', r'{"x": [{"a": 1, "b": 2, "\u0061": 1}]}', '{"":0,"" : 0}'])
def test_a_key_that_is_there_twice_is_a_problem_and_the_text_stays(text: str) -> None:
    with pytest.raises(BadValue, match="a key more than once") as caught:
        decode_object(text)
    assert (caught.value.instead, caught.value.outcome) == (text, Outcome.COPIED_WITHOUT_VALUE)


@SEVERAL
@given(st.lists(storable, max_size=6), st.booleans())
def test_strings_come_over_in_order(strings: list[str], ascii_: bool) -> None:
    assert decode_strings(json.dumps(strings, ensure_ascii=ascii_)) == strings


@SEVERAL
@given(st.lists(st.uuids(), max_size=6))
def test_uuids_come_over_in_order(ids: list[UUID]) -> None:
    assert decode_uuids(json.dumps([str(item).upper() for item in ids])) == ids


@each_decoder
@pytest.mark.parametrize(
    "raw",
    [
        "",
        "   ",
        "{",
        "[",
        "{'a': 1}",
        "[1,]",
        '{"a" 1}',
        "nonsense",
        '{"a": 1} trailing',
        '["tab\there"]',
        '["nul\0"]',
        "\ufeff{}",
        "{}\0",
        '["\\x41"]',
        "[01]",
        "[+1]",
        "[.5]",
        "[1.]",
    ],
)
def test_what_is_no_json_is_refused(decode: Decode, raw: str) -> None:
    assert refused(decode, raw) == "is not JSON"
    assert refused(decode, raw.encode()) == "is not JSON"


@each_decoder
@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinity_are_no_json(decode: Decode, name: str) -> None:
    for text in (name, f"[{name}]", f'{{"a": {name}}}'):
        assert refused(decode, text) == f"holds {name}, which is not JSON"


@each_decoder
@pytest.mark.parametrize("text", [r'["\u0000"]', r'{"\u0000": 1}', r'{"a": [{"b": "x\u0000"}]}', r'["\\\u0000"]'])
def test_an_escaped_nul_is_refused(decode: Decode, text: str) -> None:
    assert refused(decode, text) == "holds \\u0000, which PostgreSQL cannot store"


@each_decoder
@pytest.mark.parametrize(
    "text",
    [
        r'["\ud800"]',
        r'["\uD83D"]',
        r'["\uDC00\ud800"]',
        r'{"\udfff": 1}',
        r'{"é": {"a": ["x\udbff"]}}',
        r'["\ud83d \ude00"]',
    ],
)
def test_half_a_surrogate_pair_is_refused(decode: Decode, text: str) -> None:
    assert refused(decode, text) == "holds half of a surrogate pair"


@each_decoder
@pytest.mark.parametrize("raw", [b'["a\xff"]', b'{"a\xff": 1}', b"\xff"])
def test_invalid_utf8_is_refused(decode: Decode, raw: bytes) -> None:
    assert refused(decode, raw) == "is not JSON: invalid UTF-8"
    assert "not JSON" in refused(decode, tolerant_text(raw))


@each_decoder
@pytest.mark.parametrize("text", ["[" * 20_000 + "]" * 20_000, '{"a":' * 20_000 + "1" + "}" * 20_000])
def test_nesting_too_deep_is_refused_and_no_crash(decode: Decode, text: str) -> None:
    assert refused(decode, text) == "is JSON nested too deep (at most 800 levels)"


@pytest.mark.parametrize("frames", [0, 100])
def test_the_depth_that_is_taken_does_not_hang_on_the_callers_stack(frames: int) -> None:
    def deeper(left: int, text: str) -> str | None:
        return deeper(left - 1, text) if left else decode_object(text)

    taken = '{"a":' * 800 + '"[[\\"[["' + "}" * 800
    assert deeper(frames, taken) == taken
    assert deeper(frames, '{"a": [' + "[]," * 5000 + "1]}") is not None  # wide, not deep
    with pytest.raises(BadValue, match="too deep"):
        deeper(frames, f'{{"a":{taken}}}')


@pytest.mark.parametrize("raw", ["[]", '"a"', "1", "null", "true"])
def test_only_an_object_is_an_object(raw: str) -> None:
    assert refused(decode_object, raw) == "is not a JSON object"


@pytest.mark.parametrize("raw", ["{}", '"a"', "1", "null", "[1]", '["a", null]', '["a", ["b"]]', "[1.5]", '["a", 1e9]'])
def test_only_an_array_of_strings_is_one(raw: str) -> None:
    assert refused(decode_strings, raw) == "is not a JSON array of strings"


@pytest.mark.parametrize("raw", ['["abc"]', '["6f1c2f3e-0b5a-4c7d-9e8f-0123456789ab", ""]'])
def test_only_uuids_are_uuids(raw: str) -> None:
    assert refused(decode_uuids, raw) == "is not a JSON array of UUIDs"


@each_decoder
@pytest.mark.parametrize(("raw", "words"), [(1, "an integer"), (0.5, "a real number")])
def test_a_number_is_named_as_what_it_is(decode: Decode, raw: Raw, words: str) -> None:
    assert refused(decode, raw) == f"is {words}, not JSON"


@pytest.mark.parametrize("unit", ["x", "é", "😀"])
def test_a_tag_may_have_just_as_many_bytes_as_an_index_takes(unit: str) -> None:
    longest = unit * (MAX_INDEXED_BYTES // len(unit.encode()))
    assert decode_strings(json.dumps([longest])) == [longest]
    assert "too long to be indexed" in refused(decode_strings, json.dumps(["a", longest + "xxxx"]))


scalars = st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(-1e15, 1e15).map(lambda x: round(x, 6))
nested_once = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text("xy", max_size=2), scalars, max_size=3)
json_like = st.text(st.sampled_from('{}[]",:\\ 0123.eE+-ntruefalsb\x1e\x00\u00e9\ud800\n'), max_size=24)
nested = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(json_like.map(lambda text: "{" + text + "}") | json_like | nested.map(json.dumps), max_size=4))
@example(['{"a":1', "}"])
@example(['{"a":"\x1e"}'])
@example(["{}\x1e{}", ""])
@example(['{"a":01}'])
@example(['{"a":1.}'])
@example(['{"a":"\\u0000"}'])
@example(['{"a":"\x00"}'])
def test_what_is_plain_is_an_object_by_the_rules(texts: list[str]) -> None:
    if are_plain_objects(texts) and all(text.isascii() for text in texts):
        assert [decode_object(text) for text in texts] == texts


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.text('ab\u00e9\u4e2d /\\"\n', max_size=5), nested_once, max_size=4), min_size=1, max_size=5
    )
)
def test_ordinary_objects_are_plain(objects: list[dict[str, object]]) -> None:
    assert are_plain_objects([json.dumps(item, ensure_ascii=False) for item in objects])


def test_a_text_that_is_nearly_an_object_is_judged_in_no_time() -> None:
    """No backtracking: each of these took for ever with a pattern that can match one way or another."""
    for tail in ("", '"', "\\", ",", "]", "x"):
        assert not are_plain_objects(['{"a":["' + "b" * 100_000 + tail])
        assert not are_plain_objects(["{" + '"a":1, ' * 50_000 + tail])
        assert not are_plain_objects(["{" + " " * 100_000 + tail])
