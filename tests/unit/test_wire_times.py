"""A whole column of times at once gives the moments that `decode_time` gives."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_decode_safety import raw_values
from vestige_migrate.decode.problem import BadValue, Raw
from vestige_migrate.decode.time import UNIX_EPOCH, decode_time
from vestige_migrate.wire.times import parse_times

SEVERAL = settings(max_examples=100, deadline=None)
moments = st.datetimes().map(lambda moment: moment.replace(microsecond=0))
zones = st.sampled_from(["+00:00", "Z", ""])
between = st.sampled_from("T ")
digits = st.text("0123456789", max_size=9)


def reference(values: Sequence[Raw]) -> list[int]:
    """Microseconds since 1970 by `decode_time`; raises BadValue."""
    found = []
    for value in values:
        moment = decode_time(value)
        if moment is None:
            raise BadValue("is NULL")
        found.append((moment - UNIX_EPOCH) // timedelta(microseconds=1))
    return found


def write(moment: datetime, separator: str, fraction: str, zone: str) -> str:
    return moment.isoformat(sep=separator) + (f".{fraction}" if fraction else "") + zone


texts = st.builds(write, moments, between, digits, zones)


@SEVERAL
@given(st.lists(moments, max_size=12), between, digits, zones)
def test_times_of_one_form_are_parsed_at_once(found: list[datetime], separator: str, fraction: str, zone: str) -> None:
    values = [write(moment, separator, fraction, zone) for moment in found]
    parsed = parse_times(values)
    assert parsed is not None
    assert parsed.tolist() == reference(values)


@SEVERAL
@given(st.lists(texts, max_size=12))
def test_times_of_many_forms_are_the_same_or_left_to_the_decoder(values: list[str]) -> None:
    parsed = parse_times(values)
    if parsed is not None:
        assert parsed.tolist() == reference(values)


@SEVERAL
@given(st.lists(moments, min_size=1, max_size=8), st.lists(digits, min_size=8, max_size=8))
def test_fractions_of_different_lengths_side_by_side_are_parsed(found: list[datetime], fractions: list[str]) -> None:
    """Chrono writes 0, 3, 6 or 9 digits, whatever the time has."""
    values = [write(moment, "T", fraction, "Z") for moment, fraction in zip(found, fractions, strict=False)]
    parsed = parse_times(values)
    assert parsed is not None
    assert parsed.tolist() == reference(values)


@SEVERAL
@given(texts, st.integers(0, 40), st.characters(codec="utf-8") | st.sampled_from("\udcff0123456789:.-+TZ "))
def test_a_changed_character_is_never_read_as_another_time(text: str, at: int, char: str) -> None:
    at %= len(text)
    values = [text[:at] + char + text[at + 1 :]]
    parsed = parse_times(values)
    if parsed is not None:
        assert parsed.tolist() == reference(values)


@SEVERAL
@given(st.lists(texts | raw_values, min_size=1, max_size=6))
def test_whatever_is_parsed_the_decoder_reads_the_same(values: list[Raw]) -> None:
    parsed = parse_times(values)
    if parsed is not None:
        assert parsed.tolist() == reference(values)


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00Z",
        "1582-10-15T00:00:00Z",
        "1600-02-29T12:00:00+00:00",
        "1969-12-31T23:59:59.999999Z",
        "1999-12-31T23:59:59.999999999Z",
        "2000-01-01T00:00:00Z",
        "2000-02-29T00:00:00Z",
        "2000-03-01T00:00:00Z",
        "2024-02-29 00:00:00",
        "2024-12-31T23:59:59.1Z",
        "9999-12-31T23:59:59.999999999+00:00",
    ],
)
def test_the_edges_of_the_calendar(text: str) -> None:
    parsed = parse_times([text])
    assert parsed is not None
    assert parsed.tolist() == reference([text])


@pytest.mark.parametrize(
    "value",
    [
        "1900-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-00-10T00:00:00Z",
        "2026-13-10T00:00:00Z",
        "2026-05-00T00:00:00Z",
        "0000-05-01T00:00:00Z",
        "2026-05-27T24:00:01Z",
        "2026-05-27T09:60:00Z",
        "2026-05-27T09:35:60Z",
        "2026-05-27T09:35:58.",
        "2026-05-27T09:35:58.Z",
        "2026-05-27T09:35:58.1234567890Z",
        "2026-05-27T09:35:58+02:00",
        "2026/05/27T09:35:58Z",
        "2026-05-27",
        "",
        "1716800000",
        "2026-05-27T09:35:5\u0668",
        None,
        1_716_800_000,
        b"2026-05-27T09:35:58Z",
    ],
)
def test_anything_else_is_left_to_the_decoder(value: Raw) -> None:
    plain = "2026-05-27T09:35:58Z"
    for values in ([value], [plain, value], [value, plain, plain]):
        assert parse_times(values) is None


def test_no_values_are_no_times() -> None:
    parsed = parse_times([])
    assert parsed is not None
    assert parsed.tolist() == []
