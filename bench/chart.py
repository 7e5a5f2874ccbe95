"""The chart: every ratio against its bar, and rows a second against the number of workers. One SVG, written by hand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

from bench.bars import K, M
from bench.rows import Row
from bench.scaling import HOSTS, SIMULATED_WORKERS, Scaling

_WIDTH, _LABELS, _MARGIN = 960, 430, 20
_LINE, _PLOT = 26, 300
_LEAST, _MOST = 0.1, 3.0
"""Ends of the first chart's axis, in parts of the bar; what lies beyond is drawn at the end."""
_GOOD, _BAD, _OPEN, _INK, _RULE = "#2f7d4f", "#b3402e", "#5b7089", "#222222", "#c8c8c8"
_COLOURS = ("#1f5fa8", "#5b7089", "#2f7d4f", "#a87a1f", "#7d3f98", "#b3402e")

Line = tuple[str, str, list[tuple[float, float]], bool]
"""Name, colour, (workers, rows a second), and whether it is measured rather than simulated."""


def chart(title: str, rows: Sequence[Row], judge: bool, scalings: Sequence[Scaling]) -> str:
    """The whole SVG."""
    drawn = [row for row in rows if row.value is not None]
    parts = [_text(_MARGIN, 24, title, size=15)]
    top = 48
    if drawn:
        parts += _ratios(drawn, judge, top)
        top += _LINE * len(drawn) + 60
    for scaling in scalings:
        parts += _speeds(scaling, top)
        top += _PLOT + 90
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" width="{_WIDTH}" height="{top}"'
        f' font-family="sans-serif">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, size: int = 11, anchor: str = "start", colour: str = _INK) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
    )


def _dot(x: float, y: float, radius: int, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>'


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str = _RULE, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _ratio_x(parts_of_bar: float) -> float:
    share = math.log(min(max(parts_of_bar, _LEAST), _MOST) / _LEAST) / math.log(_MOST / _LEAST)
    return _LABELS + share * (_WIDTH - _LABELS - 130)


def _ratios(rows: Sequence[Row], judge: bool, top: int) -> list[str]:
    """A dot a row, in parts of its bar, with the range of its rounds; right of the line is missed."""
    bottom = top + _LINE * len(rows)
    parts = []
    for mark in (0.1, 0.2, 0.5, 1.0, 2.0):
        heavy = mark == 1.0
        parts.append(_rule(_ratio_x(mark), top, _ratio_x(mark), bottom, _INK if heavy else _RULE, 1.5 if heavy else 1))
        parts.append(_text(_ratio_x(mark), bottom + 15, "the bar" if heavy else f"{mark:g} of it", anchor="middle"))
    for at, row in enumerate(rows):
        y = top + _LINE * at + _LINE / 2
        assert row.value is not None
        verdict = row.verdict(judge)
        colour = {"met": _GOOD, "MISSED": _BAD}.get(verdict, _OPEN)
        parts.append(_text(_LABELS - 10, y + 4, _label(row), anchor="end"))
        if row.ratios:
            ends = [_ratio_x(ratio / row.bar.limit) for ratio in (min(row.ratios), max(row.ratios))]
            parts.append(_rule(ends[0], y, ends[1], y, colour, 3))
        parts.append(_dot(_ratio_x(row.value / row.bar.limit), y, 5, colour))
        parts.append(_text(_WIDTH - 120, y + 4, f"{row.value:.3g} ({row.bar.said})", colour=colour))
    return parts


def _label(row: Row) -> str:
    rows = f"{row.rows // M}M" if row.rows >= M else f"{row.rows // K}k" if row.rows >= K else str(row.rows)
    text = f"{rows}: {row.bar.work}"
    return text if len(text) <= 66 else f"{text[:65]}…"


def _speeds(scaling: Scaling, top: int) -> list[str]:
    """Rows a second over workers, both logarithmic."""
    lines = _lines(scaling)
    values = [speed for _, _, points, _ in lines for _, speed in points]
    counts = sorted({count for _, _, points, _ in lines for count, _ in points})
    low, high = min(values) * 0.9, max(values) * 1.1
    left, right, base = 90.0, _WIDTH - 230.0, top + 30.0 + _PLOT

    def x(workers: float) -> float:
        return left + math.log(workers / counts[0]) / (math.log(counts[-1] / counts[0]) or 1) * (right - left)

    def y(speed: float) -> float:
        return base - math.log(speed / low) / math.log(high / low) * _PLOT

    parts = [
        _text(_MARGIN, top + 12, f"Rows a second over workers: {scaling.rows:,} memories, no secondary indexes", 13)
    ]
    for count in counts:
        parts += [
            _rule(x(count), base - _PLOT, x(count), base),
            _text(x(count), base + 15, f"{count:g}", anchor="middle"),
        ]
    for speed in _marks(low, high):
        parts += [_rule(left, y(speed), right, y(speed)), _text(left - 8, y(speed) + 4, f"{speed:,.0f}", anchor="end")]
    for at, (name, colour, points, measured) in enumerate(lines):
        path = " ".join(f"{x(count):.1f},{y(speed):.1f}" for count, speed in points)
        dashes = "" if measured else ' stroke-dasharray="5 4"'
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
        if measured:
            parts += [_dot(x(count), y(speed), 4, colour) for count, speed in points]
        parts.append(_text(right + 15, base - _PLOT + 14 + 18 * at, name, 12, colour=colour))
    return parts


def _lines(scaling: Scaling) -> list[Line]:
    measured = [(float(point.workers), point.rows_per_second) for point in scaling.points]
    lines: list[Line] = [(f"measured, {scaling.cores} cores", _COLOURS[0], measured, True)]
    found = scaling.fit
    if found is not None:
        hosts = [scaling.cores, *(cores for cores in HOSTS if cores > scaling.cores)]
        for cores, colour in zip(hosts, _COLOURS[1:], strict=False):
            speeds = [(float(count), scaling.predicted(found.best, count, cores)) for count in SIMULATED_WORKERS]
            lines.append((f"simulated, {cores} cores", colour, speeds, False))
    return lines


def _marks(low: float, high: float) -> Iterable[float]:
    """1, 2, 5 times powers of ten."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return [mark for mark in marks if low <= mark <= high]
