"""The simulation of hosts with more cores, where its answer is known otherwise."""

from __future__ import annotations

import pytest

from bench.simulate import BatchCost, MeasuredPoint, cost_of, fit, simulate

COST = BatchCost(client=0.004, server=0.016)


def speed(cost: BatchCost, workers: int, cores: int) -> float:
    return simulate(cost, workers, cores).batches_per_second


def test_one_worker_takes_as_long_as_all_its_steps() -> None:
    assert speed(COST, 1, 8) == pytest.approx(1 / 0.020, rel=0.05)
    assert speed(BatchCost(0.004, 0.016, idle=0.020), 1, 8) == pytest.approx(1 / 0.040, rel=0.05)


def test_cores_bound_the_speed_however_many_workers_there_are() -> None:
    for workers in (2, 8, 16):
        assert speed(COST, workers, 2) == pytest.approx(2 / 0.020, rel=0.05)
    assert speed(COST, 16, 16) == pytest.approx(16 / 0.020, rel=0.05)


def test_work_beside_the_workers_takes_cores_too() -> None:
    assert speed(BatchCost(0.004, 0.016, behind=0.020), 8, 2) == pytest.approx(2 / 0.040, rel=0.05)


def test_the_serial_part_bounds_the_speed_of_many_cores() -> None:
    cost = BatchCost(0.004, 0.016, serial=0.004)
    found = simulate(cost, 32, 32)
    assert found.batches_per_second == pytest.approx(1 / 0.004, rel=0.1)
    assert found.lock_waits > 0.5
    assert simulate(COST, 32, 32).lock_waits == 0


def test_time_without_cpu_is_idle_and_cpu_beyond_the_time_is_beside_it() -> None:
    waiting = cost_of(MeasuredPoint(1, seconds=0.030, client_cpu=0.004, server_cpu=0.016, lock_waits=0))
    assert (waiting.server, waiting.behind, waiting.idle) == pytest.approx((0.016, 0, 0.010))
    beside = cost_of(MeasuredPoint(1, seconds=0.018, client_cpu=0.004, server_cpu=0.016, lock_waits=0))
    assert (beside.server, beside.behind, beside.idle) == pytest.approx((0.014, 0.002, 0))


def test_the_serial_part_is_found_from_the_waits_of_two_cores() -> None:
    true = BatchCost(0.004, 0.016, serial=0.016 * 0.2)
    points = []
    for workers in (1, 2, 4):
        seen = simulate(true, workers, 2)
        points.append(MeasuredPoint(workers, 1 / seen.batches_per_second, 0.004, 0.016, seen.lock_waits))
    found = fit(points, 2)
    assert found is not None
    assert found.best.serial / found.best.server == pytest.approx(0.2, abs=0.04)
    assert found.lowest.serial <= found.best.serial <= found.highest.serial
    assert fit(points[1:], 2) is None
