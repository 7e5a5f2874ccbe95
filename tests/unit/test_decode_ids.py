"""UUIDs: the forms that PostgreSQL takes, and no others."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vestige_migrate.decode.ids import decode_uuid
from vestige_migrate.decode.problem import BadValue, Raw

SEVERAL = settings(max_examples=60, deadline=None)
ID = "6f1c2f3e-0b5a-4c7d-9e8f-0123456789ab"


@SEVERAL
@given(st.uuids(), st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_every_usual_form_is_the_same_uuid(value: UUID, upper: bool, braces: bool, bare: bool, blob: bool) -> None:
    text = value.hex if bare else str(value)
    text = text.upper() if upper else text
    text = f"{{{text}}}" if braces else text
    assert decode_uuid(text.encode() if blob else text) == value


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "{}",
        ID[:-1],
        ID + "0",
        " " + ID,
        ID + "\n",
        "{" + ID,
        ID + "}",
        "{{" + ID + "}}",
        "{" + ID + "x",
        "x" + ID + "}",
        "urn:uuid:" + ID,
        ID.replace("-", "_"),
        "6f1c2f3e0-b5a-4c7d-9e8f-0123456789ab",
        ID.replace("6", "\u0666"),  # an Arabic digit
        ID.replace("6", "\uff16"),  # a full-width digit
        ID[:-1] + "\0",
        ID[:-1] + "\udc80",
        "g" + ID[1:],
        "fact-17",
        b"\x00" * 16,
        b"\xff" * 36,
    ],
)
def test_anything_else_is_refused(raw: Raw) -> None:
    with pytest.raises(BadValue, match="is no UUID"):
        decode_uuid(raw)


@pytest.mark.parametrize(("raw", "words"), [(7, "an integer"), (1.5, "a real number")])
def test_a_number_is_named_as_what_it_is(raw: Raw, words: str) -> None:
    with pytest.raises(BadValue, match=f"is {words}, not a UUID"):
        decode_uuid(raw)


@SEVERAL
@given(st.uuids(), st.integers(0, 35), st.characters(codec="utf-8"))
def test_one_wrong_character_is_noticed(value: UUID, at: int, char: str) -> None:
    text = str(value)
    assume(char not in "0123456789abcdefABCDEF" and not (char == "-" and text[at] == "-"))
    with pytest.raises(BadValue):
        decode_uuid(text[:at] + char + text[at + 1 :])
