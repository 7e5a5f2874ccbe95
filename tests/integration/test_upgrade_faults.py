"""Upgrades that are killed, interrupted or out of disk space, at every point in turn."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Copier
from tests.integration.test_upgrade import backups, built, contents, versions
from tests.support.compare import assert_same


@pytest.mark.parametrize("fault", ["kill", "stop", "full", "full-wal"])
def test_a_fault_at_any_point_of_an_upgrade_leaves_the_old_version_whole(tmp_path: Path, fault: str) -> None:
    path = built(tmp_path / "vestige.db", "shared", 13, memories=5)
    before = contents(path)
    tried = tmp_path / "tried"
    tried.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.upgrade_faults", path, tried, fault],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    attempts = int(done.stdout)
    assert attempts > 20
    for attempt in range(1, attempts):
        copy = tried / f"{attempt}.db"
        assert contents(copy) == before, attempt
        assert versions(copy) == ([(13,)], 0)
        for backup in backups(copy):
            if not backup.name.endswith(".partial"):
                assert contents(backup) == before
    assert versions(tried / f"{attempts}.db") == ([(15,)], 15)


def test_a_killed_upgrade_can_be_done_again(tmp_path: Path, copy: Copier) -> None:
    path = built(tmp_path / "vestige.db", "shared", 12)
    script = (
        "import os, sys; from pathlib import Path; from vestige_migrate.source.file import upgrade;"
        "upgrade._statements = lambda c: ['CREATE TABLE users (broken)', f'SELECT {os.kill(os.getpid(), 9)}'];"
        "upgrade.upgrade_in_place(Path(sys.argv[1]))"
    )
    killed = subprocess.run([sys.executable, "-c", script, path], timeout=60, check=False)
    assert killed.returncode == -9
    assert versions(path) == ([(12,)], 0)
    assert copy(path, allow_source_upgrade=True).memories_copied == 40
    assert versions(path) == ([(15,)], 15)
    assert_same(path, copy.database)
