"""A JSON document read a value at a time is what the standard library reads of it as a whole."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestige_migrate.source.portable.json_stream import JsonReader, NotJson

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=25
)
LAYOUTS: list[dict[str, Any]] = [{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}]


def whole(reader: JsonReader, levels: int) -> Any:
    """Everything, the first levels part by part; objects as lists of pairs."""
    first = reader.peek()
    if levels and first == "[":
        return [whole(reader, levels - 1) for _ in reader.items()]
    if levels and first == "{":
        return [(name, whole(reader, levels - 1)) for name in reader.members()]
    return reader.value()


@given(DOCUMENTS, st.sampled_from(LAYOUTS), st.integers(4, 40), st.integers(0, 3), st.text(" \r\n\t", max_size=3))
def test_every_document_is_read_as_it_is_wherever_it_is_cut_into_parts(
    document: Any, layout: dict[str, Any], chunk: int, levels: int, space: str
) -> None:
    text = space + json.dumps(document, **layout) + space
    raw = text.encode("utf-8", "surrogatepass")
    reader = JsonReader(io.BytesIO(raw), chunk)
    # Lone surrogates as such are no UTF-8: byte by byte they become others.
    same = raw.decode("utf-8", "surrogateescape")
    assert whole(reader, levels) == json.loads(same, object_pairs_hook=list)
    assert reader.peek() == ""
    skipped = JsonReader(io.BytesIO(raw), chunk)
    skipped.skip()
    assert (skipped.peek(), skipped.position) == ("", reader.position)


@pytest.mark.parametrize("encode", [lambda text: text.encode("utf-8-sig"), lambda text: text.encode("utf-16"),
                                    lambda text: text.encode("utf-32")])  # fmt: skip
def test_a_byte_order_mark_is_understood(encode: Callable[[str], bytes]) -> None:
    assert JsonReader(io.BytesIO(encode('{"é": "𝄞"}')), 5).value() == [("é", "𝄞")]


@pytest.mark.parametrize(
    ("text", "is_cut"),
    [
        ('{"a": [1, 2', True),
        ('{"a": "never closed' + "x" * 100, True),
        ("[1, 2", True),
        ("[tru", True),
        ("", True),
        ("[1 2]" + " " * 100, False),
        ("[1,]" + " " * 100, False),
        ("[NaN]" + " " * 100, False),
        ("[-Infinity]" + " " * 100, False),
        ('["a\nb"]' + " " * 100, False),
        ('["\\x"]' + " " * 100, False),
        ("[01]" + " " * 100, False),
        ("{1: 2}" + " " * 100, False),
        ('{"a" 2}' + " " * 100, False),
        ("[" + "9" * 5000 + "]", False),
        ("[" * 100_000, False),
    ],
)
@pytest.mark.parametrize("chunk", [4, 1000])
def test_what_is_no_json_or_is_cut_short_is_told_apart(text: str, is_cut: bool, chunk: int) -> None:
    for levels in (0, 1):
        reader = JsonReader(io.BytesIO(text.encode()), chunk)
        with pytest.raises(NotJson) as caught:
            whole(reader, levels)
        assert caught.value.is_cut == is_cut
        assert caught.value.at <= len(text)


def test_a_large_document_that_is_broken_at_the_start_is_not_read_to_its_end() -> None:
    file = io.BytesIO(b'[{"type": broken}' + b', "x"' * 1_000_000)
    reader = JsonReader(file, 1000)
    with pytest.raises(NotJson):
        reader.value()
    assert file.tell() < 10_000
