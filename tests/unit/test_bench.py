"""The benchmark's own sums: which rounds make a ratio, what is judged, and what is measured when."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.__main__ import parse
from bench.bars import BARS, NAMES, Bar
from bench.chart import chart
from bench.check import TABLES, expected
from bench.contest import Contestant, hold
from bench.grown import grown_file
from bench.results import SCHEMA, kept_peak
from bench.rows import Row, cells, row_of
from bench.scaling import Point, Scaling
from bench.source import source_file
from bench.table import markdown

BY_NAME = {bar.name: bar for bar in BARS}


def _row(
    name: str, measured: tuple[float, ...], reference: tuple[float, ...] = (), rows: int = 0, dimension: int = 0
) -> Row:
    bar = BY_NAME[name]
    return Row(bar, rows or bar.rows, dimension or bar.dimension, measured, reference)


def test_a_ratio_is_of_medians_of_the_rounds_that_have_both_figures() -> None:
    rounds = [{"copy": 9.0, "pgloader": 10.0}, {"copy": 1.0}, {"pgloader": 1.0}, {"pgloader": 30.0, "copy": 12.0}]
    row = row_of(BY_NAME["pgloader"], 100_000, 256, rounds)
    assert (row.measured, row.reference) == ((9.0, 12.0), (10.0, 30.0))
    assert row.ratio == pytest.approx(10.5 / 20)
    assert row.ratios == pytest.approx((0.9, 0.4))
    assert cells(row, judge=True)[3] == "0.525 (0.4 to 0.9)"


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (_row("memories", (1.3,) * 5, (1.0,) * 5), "met"),
        (_row("memories", (1.31,) * 5, (1.0,) * 5), "MISSED"),
        (_row("memories", (1.0,) * 4, (1.0,) * 4), "not judged (fewer than 5 rounds)"),
        (_row("memories", (1.0,) * 5, (1.0,) * 5, rows=1_000), "not judged (the bar is for 100,000 x 256)"),
        (_row("row_by_row", (1.0,) * 5, (7.0,) * 5, dimension=256), "not judged (the bar is for 20,000 x 768)"),
        (_row("pgloader", (1.0,) * 5, (1.0,) * 5), "MISSED"),
        (_row("row_by_row", (1.0,) * 5, (7.0,) * 5), "met"),
        (_row("cpu", (2.1, 2.1, 2.1, 9.0, 9.0)), "met"),
        (_row("memory", (100.0, 201.0)), "MISSED"),
        (_row("memory_growth", (80.0,), (70.0,)), "MISSED"),
        (_row("memory_growth", (70.0,), (80.0,)), "MISSED"),
        (_row("memory_growth", (76.0,), (80.0,)), "met"),
        (_row("grown", ()), "not measured"),
    ],
)
def test_verdicts(row: Row, verdict: str) -> None:
    assert row.verdict() == verdict
    assert row.verdict(judge=False) != "MISSED"


def test_rounds_alternate_their_order_and_a_slow_contestant_may_have_fewer() -> None:
    order: list[str] = []

    def contestant(name: str, rounds: int) -> Contestant:
        def measure() -> dict[str, float]:
            order.append(name)
            return {name: 1.0}

        return Contestant(name, rounds, measure)

    rounds = hold([contestant("a", 3), contestant("b", 3), contestant("c", 1), contestant("d", 0)], lambda _: None)
    assert order == ["a", "b", "c", "b", "a", "a", "b"]
    assert rounds == [{"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 1}, {"a": 1, "b": 1}]


def test_what_is_measured_at_which_size() -> None:
    usual, _ = parse([])
    assert usual.wanted(1_000) == {"start"}
    assert usual.wanted(100_000) == {*NAMES, "workers"} - {"start"}
    assert usual.rounds_of("row_by_row", 20_000) == 1
    assert parse(["--runs", "5"])[0].rounds_of("row_by_row", 20_000) == 5
    large, _ = parse(["--rows", "1000000"])
    assert {"memories", "everything", "memory", "cpu"} <= large.wanted(1_000_000)
    assert not large.wanted(1_000_000) & {"row_by_row", "executemany", "pgloader", "workers", "grown"}
    smoke, _ = parse(["--rows", "1000", "--smoke"])
    assert smoke.wanted(1_000) == {*NAMES, "workers"}
    assert parse(["--only", "row-by-row,memory_growth"])[0].wanted(100_000) == {
        "row_by_row", "memory_growth", "memory",
    }  # fmt: skip
    for wrong in (["--only", "speed"], ["--only", "start", "--rows", "100000"]):
        with pytest.raises(SystemExit):
            parse(wrong)


def test_a_peak_is_that_of_the_newest_results_that_have_one(tmp_path: Path) -> None:
    def keep(name: str, rows: int, *peaks: float, schema: int = SCHEMA) -> None:
        suite = {"rows": rows, "dimension": 256, "rounds": [{"peak_mib": peak} for peak in peaks] or [{"load": 1.0}]}
        (tmp_path / f"bench-{name}.json").write_text(json.dumps({"schema": schema, "suites": [suite]}))

    assert kept_peak(tmp_path, 1_000_000, 256) is None
    keep("20260101T000000Z", 1_000_000, 99.0)
    keep("20260102T000000Z", 1_000_000, 70.0, 71.0)
    keep("20260103T000000Z", 1_000_000)
    keep("20260104T000000Z", 100_000, 50.0)
    keep("20260105T000000Z", 1_000_000, 5.0, schema=1)
    assert kept_peak(tmp_path, 1_000_000, 256) == 71.0


def test_a_grown_source_has_the_old_rows_and_one_percent_more_and_is_the_same_every_time(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        source = source_file(tmp_path / name, 400, 8)
        grown = grown_file(source, 400, 8)
        digests.append(expected(grown))
    assert digests[0] == digests[1]
    counts = {table: rows for table, (rows, _) in digests[0].items()}
    assert counts["knowledge_nodes"] == counts["scheduling"] == 404
    assert counts["edges"] == counts["review_events"] == 202
    with closing(sqlite3.connect(grown)) as connection:
        connection.execute("ATTACH ? AS old", (str(source),))
        for table in TABLES:
            lost = connection.execute(f"SELECT * FROM old.{table} EXCEPT SELECT * FROM main.{table}").fetchall()
            assert lost == []


def _scaling() -> Scaling:
    def point(workers: int, seconds: float) -> Point:
        return Point(workers, seconds, 0.8, 300_000 / seconds, seconds + 1, 3.0, 12.0, 0.1, 0.002 * (workers > 1))

    return Scaling(100_000, 300_000, 2, (point(1, 15.0), point(2, 7.6)), point(1, 0.2))


def test_the_chart_is_well_formed_and_has_a_mark_for_every_row_that_was_measured() -> None:
    rows = [
        _row("memories", (1.2,) * 5, (1.0,) * 5),
        _row("everything", (100.0,) * 5, (1.0,) * 5),
        _row("pgloader", (), ()),
    ]
    root = ElementTree.fromstring(chart("1 < 2 & 3", rows, True, [_scaling()]))
    texts = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "1 < 2 & 3" in texts
    assert sum("(≤ 1." in text for text in texts) == 2
    width = float(root.attrib["width"])
    dots = list(root.iter("{http://www.w3.org/2000/svg}circle"))
    assert len(dots) == 2 + 2
    assert all(0 < float(dot.attrib["cx"]) < width for dot in dots)


def test_markdown_has_a_line_for_every_row_with_as_many_cells_as_its_header() -> None:
    rows = [Row(bar, bar.rows, 256, (), (), "no reason") for bar in BARS]
    text = markdown("Today", rows, True, [_scaling()], {"cpus": 2})
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert [len(lines) for lines in tables] == [2 + len(BARS), 2 + 6]
    assert all(line.count("|") == lines[0].count("|") for lines in tables for line in lines)


def test_every_bar_has_a_name_of_its_own() -> None:
    assert len(set(NAMES)) == len(BARS)
    assert all(isinstance(bar, Bar) and bar.limit > 0 for bar in BARS)
