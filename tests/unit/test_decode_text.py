"""Text: everything that PostgreSQL takes comes over unchanged; NUL and invalid UTF-8 become U+FFFD."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vestige_migrate.decode.problem import UNSET, BadValue, Raw
from vestige_migrate.decode.text import MAX_INDEXED_BYTES, decode_label, decode_text, repair, tolerant_text
from vestige_migrate.report.rows import Outcome

SEVERAL = settings(max_examples=150, deadline=None)
storable = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)


def repaired(raw: Raw) -> object:
    """The repaired text of a value that must have a problem."""
    with pytest.raises(BadValue) as caught:
        decode_text(raw)
    assert caught.value.outcome is Outcome.COPIED_WITH_REPLACEMENT
    return caught.value.instead


@SEVERAL
@given(storable)
def test_plain_text_comes_over_unchanged(value: str) -> None:
    assert decode_text(value) == value
    assert decode_text(value.encode()) == value
    assert decode_text(tolerant_text(value.encode())) == value
    assert decode_label(value) == value


@SEVERAL
@given(st.binary(max_size=60))
def test_invalid_utf8_is_replaced_as_unicode_recommends(raw: bytes) -> None:
    expected = raw.decode("utf-8", "replace").replace("\0", "\ufffd")
    for value in (raw, tolerant_text(raw)):
        try:
            found: object = decode_text(value)
        except BadValue as problem:
            found = problem.instead
            assert found is not UNSET
        assert found == expected


@SEVERAL
@given(st.lists(storable, min_size=2, max_size=5))
def test_each_nul_becomes_one_replacement_character(parts: list[str]) -> None:
    assert repaired("\0".join(parts)) == "\ufffd".join(parts)


@pytest.mark.parametrize(
    ("raw", "expected", "reason"),
    [
        (b"a\xffb", "a\ufffdb", "has invalid UTF-8, replaced by U+FFFD"),
        (b"a\0b", "a\ufffdb", "has a NUL character, replaced by U+FFFD"),
        (b"\0\xff", "\ufffd\ufffd", "has a NUL character and invalid UTF-8, replaced by U+FFFD"),
        (b"a\xf0\x9f\x98", "a\ufffd", "has invalid UTF-8, replaced by U+FFFD"),  # an emoji cut off
        (b"\xff\xfe", "\ufffd\ufffd", "has invalid UTF-8, replaced by U+FFFD"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd", "has invalid UTF-8, replaced by U+FFFD"),  # a surrogate in UTF-8
        ("\ufffd\udcff", "\ufffd\ufffd", "has invalid UTF-8, replaced by U+FFFD"),
    ],
)
def test_what_was_replaced_is_named(raw: bytes | str, expected: str, reason: str) -> None:
    with pytest.raises(BadValue) as caught:
        decode_text(raw if isinstance(raw, str) else tolerant_text(raw))
    assert caught.value.instead == expected
    assert caught.value.reason == reason


@SEVERAL
@given(st.text(st.characters(), max_size=40))
def test_a_repaired_text_can_always_be_stored(value: str) -> None:
    text, found = repair(value)
    text.encode()
    assert "\0" not in text
    assert bool(found) == (text != value)


@SEVERAL
@given(st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False))
def test_a_number_is_written_out_to_the_last_digit(value: float) -> None:
    text = decode_text(value)
    assert text is not None
    assert type(value)(text) == value


@pytest.mark.parametrize("unit", ["x", "é", "漢", "😀"])
def test_a_label_may_have_just_as_many_bytes_as_an_index_takes(unit: str) -> None:
    size = len(unit.encode())
    longest = unit * (MAX_INDEXED_BYTES // size)
    longest += "x" * (MAX_INDEXED_BYTES - len(longest.encode()))
    assert decode_label(longest) == longest
    with pytest.raises(BadValue, match="too long to be indexed") as caught:
        decode_label(longest + "x")
    assert caught.value.outcome is Outcome.COPIED_WITHOUT_VALUE


def test_a_label_with_a_nul_is_repaired() -> None:
    with pytest.raises(BadValue) as caught:
        decode_label("fa\0ct")
    assert caught.value.instead == "fa\ufffdct"


@pytest.mark.parametrize("bad", ["\0", "\udcff"])
def test_a_repaired_label_is_no_longer_than_an_index_takes(bad: str) -> None:
    with pytest.raises(BadValue) as caught:
        decode_label(bad + "x" * (MAX_INDEXED_BYTES + 1))
    instead = caught.value.instead
    stored_bytes = 0 if instead is UNSET else len(str(instead).encode())
    assert stored_bytes <= MAX_INDEXED_BYTES
