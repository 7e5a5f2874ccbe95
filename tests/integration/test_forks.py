"""Files of forks of Vestige, whose V10 and V11 mean other things: copied from a snapshot, and never written to."""

from __future__ import annotations

import sqlite3
from base64 import b64decode
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from loguru import logger

from tests.conftest import Copier
from tests.support.compare import assert_same, stored
from tests.support.expected_left import expected_left_behind
from tests.support.in_process import called
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.untouched import files
from tests.support.vestige_schemas import make_fork
from vestige_migrate import SourceTooOld

SPEC = SourceSpec(line="shared", version=9, memories=40, edges=10)


def built(path: Path, name: str, version: int) -> Path:
    build_source(path, SPEC)
    with closing(sqlite3.connect(path)) as connection:
        make_fork(connection, name, version)
    return path


@pytest.mark.parametrize(("name", "version"), [("gemini", 10), ("typed", 11)])
@pytest.mark.parametrize("flag", ["none", "--allow-source-upgrade", "--allow-source-upgrade --dry-run"])
def test_it_is_named_and_refused_without_a_snapshot(
    tmp_path: Path, copy: Copier, name: str, version: int, flag: str
) -> None:
    path = built(tmp_path / "vestige.db", name, version)
    before = files(tmp_path)
    options = {word.strip("-").replace("-", "_"): True for word in flag.split() if word != "none"}
    with pytest.raises(SourceTooOld) as caught:
        copy(path, **options)
    for words in (
        f"is of a fork of Vestige (V{version} without knowledge_nodes.suppression_count",
        "--snapshot", "--allow-source-upgrade does not work",
    ):  # fmt: skip
        assert words in str(caught.value)
    assert files(tmp_path) == before


@pytest.mark.parametrize("more", [{}, {"archive": True}], ids=str)
def test_it_is_copied_whole_from_a_snapshot(tmp_path: Path, copy: Copier, more: dict[str, bool]) -> None:
    path = built(tmp_path / "vestige.db", "typed", 11)
    edit(
        path,
        ("UPDATE knowledge_nodes SET memory_kind = 'semantic', subject = 'Zoë', provenance = '{\"a\": 1}'", ()),
        ("CREATE TABLE chats (id INTEGER PRIMARY KEY, said TEXT)", ()),
        ("INSERT INTO chats (said) VALUES ('hello')", ()),
    )
    before = files(tmp_path)
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="WARNING", format="{message}")
    try:
        report = copy(path, snapshot=True, **more)
    finally:
        logger.remove(sink)
    assert any("is of a fork of Vestige" in line for line in lines)
    assert (report.source.lineage, report.source.schema_version, report.errors) == ("fork", 11, [])
    assert report.left_behind == ({} if "archive" in more else expected_left_behind(path))
    assert_same(path, copy.database)
    kept = [row["metadata"]["sqlite"] for row in stored(copy.database)["knowledge_nodes"].values()]
    assert {(row["memory_kind"], row["subject"], row["provenance"]) for row in kept} == {
        ("semantic", "Zoë", '{"a": 1}')
    }
    assert called("verify", "--sqlite-path", path, "--postgres-url", copy.database, "--snapshot") == 0
    assert files(tmp_path) == before


def test_a_column_in_another_spelling_makes_no_fork(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", replace(SPEC, version=12))
    edit(path, ("ALTER TABLE knowledge_nodes RENAME COLUMN suppression_count TO Suppression_Count", ()))
    assert copy(path, snapshot=True).source.lineage == "shared"


def test_its_other_vectors_are_kept_to_the_bit(tmp_path: Path, copy: Copier) -> None:
    path = built(tmp_path / "vestige.db", "gemini", 10)
    vector = np.arange(1536, dtype="<f4").tobytes()
    edit(path, ("UPDATE knowledge_nodes SET embedding_v2 = ? WHERE rowid <= 7", (vector,)))
    copy(path, snapshot=True)
    found = [row["metadata"]["sqlite"].get("embedding_v2") for row in stored(copy.database)["knowledge_nodes"].values()]
    assert [b64decode(value["base64"]) for value in found if value] == [vector] * 7
