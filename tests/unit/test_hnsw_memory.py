"""How much memory the HNSW build gets, and why; what a machine and a container have free."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestige_migrate.copy.heartbeat import EVERY_SECONDS, Heartbeat
from vestige_migrate.destination.indexes.hnsw_memory import MemoryLimits, choose_memory, free_bytes
from vestige_migrate.destination.indexes.parallel_builds import BuildProgress

MIB = 1024 * 1024
WANTED = 187
"""MiB that 100,000 vectors of 256 dimensions want."""


@pytest.mark.parametrize(
    ("set_mib", "cache_mib", "free_mib", "given_mib", "reason"),
    [
        (64, None, 4000, WANTED, "as much as the graph needs, out of half of the 4,000 MiB that this machine has free"),
        (64, 4096, 300, 150, "half of the 300 MiB that this machine has free"),
        (170, 4096, 300, 170, "the server's own setting: more than half of the 300 MiB that this machine has free"),
        (WANTED, 4096, 100, WANTED, "the server's own setting"),
        (8192, 4096, 100, WANTED, "less than the server's own 8,192 MiB, which a parallel build would take whole"),
        (64, 600, None, 150, "a quarter of the server's effective_cache_size of 600 MiB"),
        (
            64,
            None,
            None,
            WANTED,
            "as much as the graph needs, out of the 512 MiB trusted to a server elsewhere, whose free memory cannot be "
            "seen",
        ),
    ],
)
def test_the_choice_and_its_reason(
    set_mib: int, cache_mib: int | None, free_mib: int | None, given_mib: int, reason: str
) -> None:
    cache, free = (None if size is None else size * MIB for size in (cache_mib, free_mib))
    chosen = choose_memory(100_000, 256, MemoryLimits(set_mib * MIB, cache, free))
    assert (chosen.wanted_mib, chosen.set_mib) == (WANTED, set_mib)
    assert (chosen.given_mib, chosen.reason) == (given_mib, reason)
    assert chosen.fits is (given_mib >= WANTED)
    assert chosen.local is (free_mib is not None)
    assert f"maintenance_work_mem = '{WANTED}MB'" in chosen.advice


SIZES = st.integers(1, 2**40)


@given(st.integers(0, 10**8), st.integers(1, 2000), SIZES, st.none() | SIZES, st.none() | SIZES)
def test_a_build_never_gets_less_than_is_set_and_needed_nor_more_than_is_set_or_spare(
    vectors: int, dimension: int, own: int, cache: int | None, free: int | None
) -> None:
    chosen = choose_memory(vectors, dimension, MemoryLimits(own, cache, free))
    assert chosen.given_mib >= min(chosen.set_mib, chosen.wanted_mib)
    if free is not None:
        assert chosen.given_mib <= max(chosen.set_mib, free // MIB // 2)
    assert chosen.fits or chosen.given_mib < chosen.wanted_mib


def _machine(root: Path, **files: str) -> Path:
    for name, text in {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    4096 kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_limit_of_a_container_counts_in_either_version_of_cgroups(tmp_path: Path) -> None:
    two, one = "sys/fs/cgroup/", "sys/fs/cgroup/memory/"
    unlimited = {f"{two}memory.max": "max\n", f"{two}memory.current": "1000\n"}
    limited = {
        f"{two}memory.max": "3000000\n",
        f"{two}memory.current": "2000000\n",
        f"{two}memory.stat": "anon 1\ninactive_file 500000\n",
    }
    old = {f"{one}memory.limit_in_bytes": "900000\n", f"{one}memory.usage_in_bytes": "950000\n"}
    assert free_bytes(_machine(tmp_path / "none")) == 4096 * 1024
    assert free_bytes(_machine(tmp_path / "max", **unlimited)) == 4096 * 1024
    assert free_bytes(_machine(tmp_path / "two", **limited)) == 1_500_000
    assert free_bytes(_machine(tmp_path / "one", **old)) == 0
    assert free_bytes(tmp_path / "nowhere") is None


def test_what_a_build_says_of_itself() -> None:
    assert BuildProgress("initializing", 0).describe(1000) == "initializing"
    assert BuildProgress("loading tuples", 249).describe(1000) == "loading tuples 24%"
    assert BuildProgress("loading tuples", 1000).describe(1000) == "writing the graph"
    assert BuildProgress("loading tuples", 0).describe(0) == "writing the graph"


def test_a_heartbeat_is_due_once_an_interval() -> None:
    now = [0.0]
    heard = Heartbeat(lambda: now[0])
    said = []
    for second in range(int(3 * EVERY_SECONDS) + 1):
        now[0] = float(second)
        if heard.is_due():
            said.append(heard.seconds)
    assert said == [EVERY_SECONDS, 2 * EVERY_SECONDS, 3 * EVERY_SECONDS]
