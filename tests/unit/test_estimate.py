"""The estimate of a dry run as pure functions: no more work may cost less, no better machine more; and its lines."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vestige_migrate.cli.estimate_output import describe, size, span
from vestige_migrate.destination.indexes.hnsw_memory import MemoryLimits
from vestige_migrate.estimate import rates
from vestige_migrate.estimate.figures import Conditions, Work, estimate
from vestige_migrate.estimate.server_speed import ServerSpeed
from vestige_migrate.report.estimate import Estimate

MIB = 1024 * 1024
MANY = settings(max_examples=60, deadline=None)
PACE = ServerSpeed((0.0001, 0.0003), (1.2e-7, 1.6e-7), (1e-9, 4e-9))
SHARE = st.floats(0, 1)


def memories(count: int, dimension: int = 256, text: int = 400) -> Work:
    return Work(
        memories=count,
        dependents=2 * count,
        vectors=count,
        content_bytes=count * text,
        vector_bytes=4 * dimension * count,
        other_bytes=540 * count,
        bytes_at_most=count * 6000,
        exact=False,
    )


AT = Conditions(2, 500, 2, True, PACE, MemoryLimits(64 * MIB, None, 8192 * MIB), 8, 1024 * MIB, 256)


@st.composite
def conditions(draw: st.DrawFn) -> Conditions:
    absent = draw(SHARE)
    kept = draw(st.booleans())
    return Conditions(
        workers=draw(st.integers(1, 16)),
        batch_size=draw(st.integers(1, 5000)),
        cpus=draw(st.integers(1, 32)),
        local=draw(st.booleans()),
        pace=PACE,
        limits=MemoryLimits(draw(st.integers(1, 2**36)), None, draw(st.none() | st.integers(1, 2**38))),
        parallel=draw(st.integers(0, 16)),
        wal_bytes=1024 * MIB,
        dimension=draw(st.none() | st.integers(1, 2000)),
        rows_there=draw(st.integers(0, 10**6)),
        vectors_there=draw(st.integers(0, 10**6)),
        plain_built=absent,
        plain_kept=1 - absent,
        hnsw_builds=not kept,
        hnsw_kept=kept,
    )


def at_most(less: Estimate, more: Estimate) -> None:
    for one, other in ((less.load, more.load), (less.indexes, more.indexes), (less.seconds, more.seconds)):
        assert one[0] <= other[0] * (1 + 1e-9)
        assert one[1] <= other[1] * (1 + 1e-9)


@MANY
@given(conditions(), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 2000))
def test_more_rows_never_take_less(at: Conditions, rows: int, more: int, dimension: int) -> None:
    less, larger = estimate(memories(rows, dimension), at), estimate(memories(rows + more, dimension), at)
    at_most(less, larger)
    assert less.seconds[0] <= less.seconds[1]
    assert (less.bytes, less.table_bytes, less.index_bytes) <= (larger.bytes, larger.table_bytes, larger.index_bytes)


@MANY
@given(conditions(), st.integers(0, 10**6), st.integers(1, 2000), st.integers(1, 2000))
def test_longer_vectors_never_take_less(at: Conditions, rows: int, one: int, other: int) -> None:
    short, long = sorted((one, other))
    # Whether a graph fits is no matter of the memory that there is here.
    at = replace(at, limits=MemoryLimits(2**40, None, None))
    less = estimate(memories(rows, short), replace(at, dimension=short))
    more = estimate(memories(rows, long), replace(at, dimension=long))
    at_most(less, more)
    assert less.index_bytes <= more.index_bytes


@MANY
@given(conditions(), st.integers(0, 10**6), st.integers(1, 16))
def test_fewer_workers_or_cpus_are_never_quicker(at: Conditions, rows: int, fewer: int) -> None:
    work = memories(rows)
    at_most(estimate(work, at), estimate(work, replace(at, workers=min(fewer, at.workers))))
    at_most(estimate(work, at), estimate(work, replace(at, cpus=min(fewer, at.cpus))))
    at_most(estimate(work, at), estimate(work, replace(at, parallel=min(fewer, at.parallel))))


@MANY
@given(conditions(), st.integers(1, 10**6), st.floats(1, 50))
def test_a_slower_server_or_network_takes_longer(at: Conditions, rows: int, times: float) -> None:
    slower = ServerSpeed(
        *((low * times, high * times) for low, high in (PACE.round_trip, PACE.search_byte, PACE.sent_byte))
    )
    at_most(estimate(memories(rows), at), estimate(memories(rows), replace(at, pace=slower)))


def test_the_range_has_what_was_measured_at_two_sizes() -> None:
    """docs/workers.md: 100,000 x 256 took 21 to 30 s on an idle machine, 20,000 x 768 6 to 8.3 s."""
    low, high = estimate(memories(100_000), AT).seconds
    assert low < 21
    assert high > 30
    low, high = estimate(memories(20_000, 768), replace(AT, dimension=768)).seconds
    assert low < 6
    assert high > 8.3
    assert high / low < 6  # and is no range that everything lies in


def test_the_index_takes_what_it_was_measured_to_take() -> None:
    for dimension, measured in ((256, 1366), (768, 4096), (1536, 8192)):
        assert rates.hnsw_disk_bytes(60_000, dimension) / 60_000 == pytest.approx(measured, rel=0.01)


def test_what_is_only_asked_about_and_what_is_kept_cost_their_share() -> None:
    nothing = estimate(Work(asked=300_000), replace(AT, plain_built=0, plain_kept=1, hnsw_builds=False, hnsw_kept=True))
    assert (nothing.rows, nothing.hnsw, nothing.indexes) == (0, None, (0.0, 0.0))
    assert nothing.load[1] < 0.2 * estimate(memories(100_000), AT).load[1]
    one_by_one = replace(AT, plain_built=0, plain_kept=1, hnsw_builds=False, hnsw_kept=True, vectors_there=100_000)
    assert estimate(memories(1000), one_by_one).load[0] > estimate(memories(1000), AT).load[0]
    inserted, replaced = memories(1000), replace(memories(1000), updated=1000)
    assert estimate(replaced, AT).load[0] > estimate(inserted, AT).load[0]


def test_a_graph_too_large_is_said_and_costs() -> None:
    small = replace(AT, limits=MemoryLimits(64 * MIB, None, 100 * MIB))
    found = estimate(memories(100_000), small)
    assert found.hnsw is not None
    assert not found.hnsw.fits
    assert found.indexes[1] > 2 * estimate(memories(100_000), AT).indexes[1]
    assert any("does not fit" in line for line in describe(found))


def test_the_lines() -> None:
    lines = describe(estimate(memories(100_000), AT))
    assert [line.partition(":")[0] for line in lines] == [
        "to move", "disk in the destination", "memory of the HNSW build", "time",
    ]  # fmt: skip
    assert lines[0] == (
        "to move: 300,000 rows, about 187.3 MiB: content 38.1 MiB, vectors 97.7 MiB, the rest 51.5 MiB "
        "(by samples; the source has 572.2 MiB in all)"
    )
    assert "wants 187 MiB; maintenance_work_mem is 64 MiB and would be set to 187 MiB (as much as the graph" in lines[2]
    assert "2 workers on 2 CPUs, which the server shares" in lines[3]
    (moved, time) = describe(estimate(Work(), replace(AT, dimension=None)))
    assert moved == "to move: nothing, every row is there already"
    assert time.startswith("time: 0 to 3 s (under 1 s to load, under 1 s for indexes), if ")


def test_works_of_several_files_add_up() -> None:
    assert memories(10) + memories(5) == memories(15)
    assert not (Work(exact=True) + Work(exact=False)).exact


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ((0.1, 0.9), "under 1 s"),
        ((0.9, 3.2), "0 to 4 s"),
        ((20.5, 119.0), "20 to 119 s"),
        ((50.0, 121.0), "0 to 3 min"),
        ((900.0, 7100.0), "15 to 119 min"),
        ((3700.0, 7300.0), "1 to 3 h"),
    ],
)
def test_a_span_is_rounded_outwards(seconds: tuple[float, float], text: str) -> None:
    assert span(seconds) == text


def test_sizes_have_a_unit() -> None:
    assert [size(count) for count in (0, 1023, 1536, 5 * MIB, 3 * 1024**4, 5 * 1024**5)] == [
        "0 bytes", "1023 bytes", "1.5 KiB", "5.0 MiB", "3.0 TiB", "5120.0 TiB",
    ]  # fmt: skip
