"""What only a pgvector older than 0.7 does: `python -m tests.old_servers 15.5 -m old_server`."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from loguru import logger

from tests.conftest import Copier
from tests.support.compare import assert_same
from tests.support.sources import SourceSpec, build_source
from tests.support.verifying import Verifier
from vestige_migrate.destination.indexes.build import HNSW_INDEX

pytestmark = [pytest.mark.old_server, pytest.mark.only_old_server, pytest.mark.indexed]


@pytest.mark.parametrize("dimension", [2001, 4096])
def test_vectors_of_more_than_2000_dimensions_come_over_without_an_index_and_that_is_said(
    tmp_path: Path, copy: Copier, dimension: int
) -> None:
    spec = SourceSpec(memories=20, schedules=0, edges=0, events=0, dimension=dimension, model="long-model")
    source = build_source(tmp_path / "vestige.db", spec)
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING", format="{message}")
    try:
        foreseen = copy(source, dry_run=True).estimate
        report = copy(source)
        again = copy(source)
    finally:
        logger.remove(sink)
    assert foreseen is not None
    assert foreseen.hnsw is None
    assert (report.exit_code, report.memories_copied, again.tables["knowledge_nodes"].inserted) == (0, 20, 0)
    said = [line for line in lines if f"the vectors have {dimension:,}" in line]
    assert len(said) == 3, lines
    assert all("0.7" in line for line in said)
    assert_same(source, copy.database)
    found = Verifier(copy.database)(source)
    assert (found.exit_code, found.missing_indexes) == (0, [])
    with psycopg.connect(copy.database) as connection:
        assert connection.execute("SELECT to_regclass(%s)", (HNSW_INDEX,)).fetchone() == (None,)
