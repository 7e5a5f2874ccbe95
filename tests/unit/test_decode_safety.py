"""What holds for every decoder: only `BadValue` is raised, whatever SQLite hands out, and no reason quotes a value.

Also home of the raw values that the other tests generate.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vestige_migrate.decode.ids import QUOTED_ID_CHARS, decode_uuid, quote_id
from vestige_migrate.decode.json import decode_object, decode_strings, decode_uuids, parse_json
from vestige_migrate.decode.number import decode_float, decode_int
from vestige_migrate.decode.problem import UNSET, BadValue, Raw, storage_class
from vestige_migrate.decode.text import decode_label, decode_text, tolerant_text
from vestige_migrate.decode.time import decode_time
from vestige_migrate.decode.vector import decode_vector
from vestige_migrate.report.rows import Outcome

Decode = Callable[[Raw], object]
DECODERS: dict[str, Decode] = {
    "uuid": decode_uuid,
    "text": decode_text,
    "label": decode_label,
    "time": decode_time,
    "float": decode_float,
    "int4": partial(decode_int, bits=32),
    "int2": partial(decode_int, bits=16),
    "object": decode_object,
    "strings": decode_strings,
    "uuids": decode_uuids,
    "vector of 2": partial(decode_vector, dimension=2),
    "vector of any": partial(decode_vector, dimension=None),
}
each_decoder = pytest.mark.parametrize("decode", DECODERS.values(), ids=list(DECODERS))

nearly_values = st.sampled_from(
    [
        *(
            "",
            " ",
            "\0",
            "\ufeff",
            "null",
            "[]",
            "{}",
            "[1]",
            "NaN",
            "-Infinity",
            "[NaN]",
            '{"a":"\\u0000"}',
            '["\\ud800"]',
        ),
        *("1e999", "-1e999", "9" * 50, "9" * 5000, "[" + "9" * 5000 + "]", "[1e99999]", "[" * 5000, '{"a":' * 5000),
        *("2026-13-01", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
        *("00000000-0000-0000-0000-00000000000g", "{}", "2026-05-27T09:35:58.+00:00", "2026-05-27\udc8009:35:58"),
    ]
)
surrogate_texts = st.binary(max_size=40).map(tolerant_text)
texts = st.text(max_size=40) | surrogate_texts | nearly_values
integers = st.integers(-(2**130), 2**130)
raw_values: st.SearchStrategy[Raw] = st.none() | integers | st.floats() | texts | st.binary(max_size=40)
"""Every storage class, integers past 64 bits and texts with surrogateescape'd bytes among them."""


def reasons(decode: Decode, raw: Raw) -> str | None:
    """Why the decoder refuses the value; None where it takes it. Anything but BadValue goes through."""
    try:
        decode(raw)
    except BadValue as problem:
        return problem.reason
    return None


@each_decoder
@settings(max_examples=80, deadline=None)
@given(raw=raw_values)
@example(raw=math.inf)
@example(raw=-math.inf)
@example(raw=math.nan)
@example(raw=2**63)
@example(raw=-(10**40))
@example(raw=b"\xff\xfe")
def test_a_decoder_raises_nothing_but_bad_value(decode: Decode, raw: Raw) -> None:
    reasons(decode, raw)


@each_decoder
def test_null_is_none(decode: Decode) -> None:
    assert decode(None) is None


MARKERS = st.text("QXZJ", min_size=8, max_size=12)
Wrapped = Callable[[str], Raw]
WRAPPINGS: dict[str, Wrapped] = {
    "plain": lambda marker: marker,
    "NUL": lambda marker: f"a\0{marker}",
    "invalid UTF-8": lambda marker: tolerant_text(b"\xff" + marker.encode()),
    "too long": lambda marker: marker * 400,
    "BLOB": lambda marker: marker.encode() + b"\xff",
    "BLOB of text": lambda marker: marker.encode(),
    "broken JSON": lambda marker: f'{{"{marker}": {marker}}}',
    "wrong shape": lambda marker: json.dumps({marker: [marker]}),
    "wrong element": lambda marker: json.dumps([marker, 1]),
    "object": lambda marker: json.dumps([{marker: marker}]),
    "JSON NUL": lambda marker: f'["{marker}\\u0000"]',
    "JSON key NUL": lambda marker: f'{{"{marker}\\u0000": 1}}',
    "JSON surrogate": lambda marker: f'["{marker}\\ud800"]',
    "JSON NaN": lambda marker: f'{{"{marker}": NaN}}',
    "JSON long": lambda marker: json.dumps([marker * 400]),
    "JSON deep": lambda marker: f'"{marker}"'.join(["[" * 9000, "]" * 9000]),
    "time": lambda marker: f"2026-05-27T09:35:58 {marker}",
    "uuid": lambda marker: f"00000000-0000-0000-0000-{marker}",
}


@each_decoder
@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=list(WRAPPINGS))
@settings(max_examples=4, deadline=None)
@given(marker=MARKERS)
def test_no_reason_quotes_the_value(decode: Decode, wrap: Wrapped, marker: str) -> None:
    reason = reasons(decode, wrap(marker))
    if reason is not None:
        assert marker not in reason
        assert "\n" not in reason
        assert len(reason) < 120


@settings(max_examples=50, deadline=None)
@given(st.integers(10**7, 2**62), st.sampled_from([decode_float, partial(decode_int, bits=16), decode_uuid]))
def test_no_reason_quotes_a_number(number: int, decode: Decode) -> None:
    for raw in (number, float(number) + 0.5):
        reason = reasons(decode, raw)
        assert reason is None or str(raw) not in reason


@settings(max_examples=100, deadline=None)
@given(raw_values)
def test_parse_json_raises_nothing_but_bad_value(raw: Raw) -> None:
    reasons(parse_json, raw)


def test_a_problem_without_a_better_value_means_copied_without_value() -> None:
    problem = BadValue("is bad")
    assert problem.instead is UNSET
    assert problem.outcome is Outcome.COPIED_WITHOUT_VALUE


def test_a_repaired_value_means_copied_with_replacement() -> None:
    assert BadValue("is bad", instead="").outcome is Outcome.COPIED_WITH_REPLACEMENT


@settings(max_examples=40, deadline=None)
@given(raw_values)
def test_every_storage_class_has_words(raw: Raw) -> None:
    assert storage_class(raw) in {"a text", "a BLOB", "an integer", "a real number", "NULL"}


@settings(max_examples=80, deadline=None)
@given(raw_values | st.text(min_size=100, max_size=300))
def test_a_quoted_id_is_bounded_and_printable(raw: Raw) -> None:
    quoted = quote_id(raw)
    assert quoted.isprintable()
    # Ten characters are the most that one takes when it is escaped (\U0001f600).
    assert len(quoted) <= 10 * (QUOTED_ID_CHARS + 2)
    if isinstance(raw, str) and len(raw) > QUOTED_ID_CHARS:
        assert "…" in quoted or "\\u2026" in quoted


def test_a_quoted_id_is_told_from_null() -> None:
    assert quote_id(None) == "NULL"
    assert quote_id("NULL") == "'NULL'"
    assert quote_id(b"abc") == "'abc'"
    assert quote_id(7) == "'7'"
