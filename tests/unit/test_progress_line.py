"""The progress line, to the character, and the bars that it stands in."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from vestige_migrate.cli.progress import ProgressBars, render_line
from vestige_migrate.progress import Progress
from vestige_migrate.report.rows import COUNTERS

LINE = re.compile(
    r"^ *(?P<name>\w+) (?P<bar>#*-*) (?P<done>\d+)/(?P<total>\d+)"
    r" \((?P<speed>\d+)/s, eta (?P<eta>(\d+ days?, )?\d+:\d\d:\d\d|-:--:--)\)$"
)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("edges", 1200, 5000, 3400.0, 11), "            edges ###-------- 1200/5000 (3400/s, eta 0:00:01)"),
        (("knowledge_nodes", 0, 250, None, 8), "  knowledge_nodes -------- 0/250 (0/s, eta -:--:--)"),
        (("group_memberships", 4, 4, 12.6, 4), "group_memberships #### 4/4 (13/s, eta 0:00:00)"),
        (("scheduling", 4, 4, None, 4), "       scheduling #### 4/4 (0/s, eta 0:00:00)"),
        (("users", 0, 0, None, 4), "            users #### 0/0 (0/s, eta 0:00:00)"),
        (("review_events", 50, 100, 0.5, 10), "    review_events #####----- 50/100 (0/s, eta 0:01:40)"),
        (("edges", 1, 7201, 2.0, 4), "            edges ---- 1/7201 (2/s, eta 1:00:00)"),
        (("edges", 0, 172_800, 1.0, 4), "            edges ---- 0/172800 (1/s, eta 2 days, 0:00:00)"),
        (("edges", 0, 10, 0.0, 4), "            edges ---- 0/10 (0/s, eta -:--:--)"),
        # Another program wrote to the source meanwhile.
        (("edges", 12, 10, 5.0, 4), "            edges #### 12/10 (5/s, eta 0:00:00)"),
    ],
)
def test_the_line_is_the_documented_one(arguments: tuple[str, int, int, float | None, int], line: str) -> None:
    assert render_line(*arguments) == line


def test_the_bar_makes_room_for_what_is_said_after_it() -> None:
    plain = render_line("HNSW index", 240, 1000, 50.0, 24)
    said = render_line("HNSW index", 240, 1000, 50.0, 24, "loading tuples 24%")
    assert said == "       HNSW index #---- 240/1000 (50/s, eta 0:00:15) loading tuples 24%"
    assert len(said) == len(plain)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(list(COUNTERS)),
    st.integers(0, 10**7),
    st.integers(0, 10**7),
    st.none() | st.floats(0.01, 10**6),
    st.integers(4, 24),
)
def test_every_line_has_its_form_and_its_width(
    name: str, done: int, total: int, speed: float | None, width: int
) -> None:
    line = render_line(name, done, total, speed, width)
    found = LINE.match(line)
    assert found is not None
    assert line.index(name) + len(name) == 17
    assert len(found["bar"]) == width
    assert (found["name"], int(found["done"]), int(found["total"])) == (name, done, total)
    if total:
        assert abs(found["bar"].count("#") - width * min(1, done / total)) <= 0.5


def shown(bars_for: list[Progress], width: int = 100, enabled: bool = True) -> list[str]:
    """The last state of the bars, line by line."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    with ProgressBars(console, enabled) as bars:
        for progress in bars_for:
            bars.update(progress)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    return [line.rstrip() for line in re.split(r"[\r\n]+", plain) if line.strip()]


def test_one_bar_a_table_in_the_order_of_their_appearance() -> None:
    lines = shown([Progress("users", 0, 4), Progress("knowledge_nodes", 0, 250), Progress("users", 4, 4)])
    assert [line.split()[0] for line in lines[-2:]] == ["users", "knowledge_nodes"]
    assert " 4/4 (" in lines[-2]
    assert " 0/250 (" in lines[-1]


def test_a_table_that_the_source_lacks_has_no_bar() -> None:
    assert not any("edges" in line for line in shown([Progress("users", 4, 4)]))


def test_nothing_is_shown_where_bars_are_off() -> None:
    assert shown([Progress("users", 4, 4)], enabled=False) == []


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_long_line_is_whole_on_a_usual_terminal(width: int) -> None:
    (line, *_) = shown([Progress("group_memberships", 123_456_789, 999_999_999)], width)[-1:]
    assert LINE.match(line)
    assert len(line) <= width
