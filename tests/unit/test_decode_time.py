"""Times: chrono's RFC 3339, SQLite's own format, and epoch numbers (docs/bad-rows.md)."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vestige_migrate.decode.problem import BadValue, Raw
from vestige_migrate.decode.time import JULIAN_DAYS, LARGEST_EPOCH_SECONDS, UNIX_EPOCH, decode_time

SEVERAL = settings(max_examples=150, deadline=None)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
BASE = datetime(2026, 5, 27, 9, 35, 58, tzinfo=UTC)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("2026-05-27T09:35:58.123456789+00:00", BASE.replace(microsecond=123456)),
        ("2026-05-27T09:35:58.999999999Z", BASE.replace(microsecond=999999)),
        ("2026-05-27T09:35:58.1Z", BASE.replace(microsecond=100000)),
        ("2026-05-27T09:35:58.000000999+00:00", BASE),
        ("2026-05-27T09:35:58Z", BASE),
        ("2026-05-27 09:35:58", BASE),
        ("2026-05-27T09:35:58", BASE),
        ("2026-05-27 09:35:58.25", BASE.replace(microsecond=250000)),
        ("2026-05-27T11:35:58+02:00", BASE),
        ("2026-05-27T04:05:58-05:30", BASE),
        ("  2026-05-27T09:35:58Z\n", BASE),
        (b"2026-05-27T09:35:58Z", BASE),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime.max.replace(tzinfo=UTC)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
        (0, UNIX_EPOCH),
        (-1, UNIX_EPOCH - timedelta(seconds=1)),
        (1_716_800_000, datetime(2024, 5, 27, 8, 53, 20, tzinfo=UTC)),
        (1_716_800_000.5, datetime(2024, 5, 27, 8, 53, 20, 500000, tzinfo=UTC)),
        ("1716800000", datetime(2024, 5, 27, 8, 53, 20, tzinfo=UTC)),
        ("1716800000.5", datetime(2024, 5, 27, 8, 53, 20, 500000, tzinfo=UTC)),
        ("1.7168e9", datetime(2024, 5, 27, 8, 53, 20, tzinfo=UTC)),
        (1_716_800_000_123, datetime(2024, 5, 27, 8, 53, 20, 123000, tzinfo=UTC)),
        ("1716800000123", datetime(2024, 5, 27, 8, 53, 20, 123000, tzinfo=UTC)),
        (-1_716_800_000_000, UNIX_EPOCH - timedelta(seconds=1_716_800_000)),
        (2_460_000.5, datetime(2023, 2, 25, tzinfo=UTC)),
        (2_460_000.0, datetime(2023, 2, 24, 12, tzinfo=UTC)),
        ("2461187.8999782754", datetime(2026, 5, 27, 9, 35, 58, 123000, tzinfo=UTC)),
        (b"2461187.8999782754", datetime(2026, 5, 27, 9, 35, 58, 123000, tzinfo=UTC)),
        (2_460_000, UNIX_EPOCH + timedelta(seconds=2_460_000)),  # an integer is no Julian day
        ("2460000", UNIX_EPOCH + timedelta(seconds=2_460_000)),
    ],
)
def test_the_documented_forms(raw: Raw, expected: datetime) -> None:
    found = decode_time(raw)
    assert found == expected
    assert found is not None
    assert found.utcoffset() == timedelta(0)


def test_seconds_end_and_milliseconds_begin_in_2286() -> None:
    assert decode_time(LARGEST_EPOCH_SECONDS) == datetime(2286, 11, 20, 17, 46, 39, tzinfo=UTC)
    assert decode_time(LARGEST_EPOCH_SECONDS + 1) == UNIX_EPOCH + timedelta(seconds=10_000_000)


@SEVERAL
@given(
    moments,
    st.sampled_from("T "),
    st.text("0123456789", max_size=9),
    st.sampled_from(["+00:00", "Z", ""]),
)
def test_digits_past_microseconds_are_cut(moment: datetime, between: str, digits: str, zone: str) -> None:
    whole = moment.replace(microsecond=0)
    text = whole.isoformat(sep=between) + (f".{digits}" if digits else "") + zone
    expected = whole.replace(microsecond=int(digits[:6].ljust(6, "0")), tzinfo=UTC)
    assert decode_time(text) == expected


def test_julian_days_end_where_the_years_end() -> None:
    first, end = JULIAN_DAYS
    assert decode_time(first) == datetime(1, 1, 1, tzinfo=UTC)
    assert decode_time(math.nextafter(first, 0)) == UNIX_EPOCH + timedelta(seconds=math.nextafter(first, 0))
    assert decode_time(end - 1 / 86_400_000) == datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)
    assert decode_time(end) == UNIX_EPOCH + timedelta(seconds=end)


@SEVERAL
@given(moments)
def test_a_julian_day_is_read_as_sqlite_reads_it(moment: datetime) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        (day, text) = connection.execute(
            "SELECT day, strftime('%Y-%m-%d %H:%M:%f', day) FROM (SELECT julianday(?) AS day)",
            (moment.isoformat(" ", "milliseconds")[:23],),
        ).fetchone()
    expected = datetime.fromisoformat(text).replace(tzinfo=UTC)
    assert decode_time(day) == decode_time(repr(day)) == expected


@SEVERAL
@given(moments, st.integers(-1439, 1439))
def test_an_offset_is_taken_into_account(moment: datetime, minutes: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    assert decode_time(moment.replace(tzinfo=zone).isoformat()) == moment.replace(tzinfo=zone)


@SEVERAL
@given(st.integers(-LARGEST_EPOCH_SECONDS, LARGEST_EPOCH_SECONDS))
def test_small_numbers_are_seconds_in_every_storage_class(seconds: int) -> None:
    expected = UNIX_EPOCH + timedelta(seconds=seconds)
    integers: list[Raw] = [seconds, str(seconds), str(seconds).encode()]
    reals: list[Raw] = [] if JULIAN_DAYS[0] <= seconds < JULIAN_DAYS[1] else [float(seconds), f"{seconds}.0"]
    for raw in integers + reals:
        assert decode_time(raw) == expected


@SEVERAL
@given(st.integers(LARGEST_EPOCH_SECONDS + 1, 253_402_300_799_000))
def test_larger_numbers_are_milliseconds_in_every_storage_class(millis: int) -> None:
    expected = UNIX_EPOCH + timedelta(milliseconds=millis)
    for raw in (millis, float(millis), str(millis), f"{millis}.0"):
        assert decode_time(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "   ",
        "yesterday",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-05-27T25:00:00Z",
        "2026-05-27T09:60:00Z",
        "2026-05-27T09:35:60Z",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "2026-05-27T09:35:58+25:00",
        "2026-05-27T09:35:58 CEST",
        "2026-05-27T09:35:58.1\0",
        "2026-05-27T09:35:5\u0668",
        "2026-05-27T09:35:58\udcff",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        b"\xff\xfe",
        float("nan"),
        float("inf"),
        float("-inf"),
        2**63 - 1,
        -(2**63),
        1e300,
        "1e999",
        "nan",
        "inf",
        "9" * 5000,
    ],
)
def test_what_is_no_time_is_refused(raw: Raw) -> None:
    with pytest.raises(BadValue):
        decode_time(raw)
