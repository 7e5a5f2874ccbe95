"""A short campaign of faults at random moments; `just chaos` is the long one.

It has more kinds: a host that kills every worker, stopped processes and ended sessions have tests of their own here
(test_hostile_host, test_faults), which are about nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.chaos.campaign import Bench
from tests.support.own_server import own_server
from tests.support.server_folder import server_folder
from tests.support.sources import SourceSpec, build_source

MEMORIES = 600


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with (
        server_folder() as folder,
        own_server(folder) as server,
    ):
        server.set("wal_writer_delay", "2s")
        home = tmp_path_factory.mktemp("chaos")
        spec = SourceSpec(memories=MEMORIES, schedules=MEMORIES, edges=200, events=200)
        rows = {"knowledge_nodes": MEMORIES, "scheduling": MEMORIES, "edges": 200, "review_events": 200}
        source = build_source(home / "vestige.db", spec)
        yield Bench(server, source, rows, 900_000, {**os.environ, "HOME": str(home)})


@pytest.mark.parametrize(
    ("seed", "kind"),
    [
        (1, "kill workers"),
        (2, "restart immediate"),
        (3, "kill coordinator"),
        (4, "proxy drop"),
        (9, "full log"),
    ],
)
def test_nothing_is_lost(bench: Bench, seed: int, kind: str) -> None:
    outcome = bench.one(seed, kind)
    assert outcome.problem == "", str(outcome)


def test_nothing_of_a_source_in_use_is_lost(bench: Bench) -> None:
    outcome = replace(bench, living=True).one(5, "kill coordinator")
    assert outcome.problem == "", str(outcome)
