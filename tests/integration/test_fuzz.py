"""A little of `just fuzz`: random rows through the decode path, random files through real copies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.check import in_database
from tests.fuzz.files import Maker
from tests.fuzz.rows import fuzz_rows
from vestige_migrate.decode.problem import Raw
from vestige_migrate.wire import column

SEED = 4
"""Any would do: the campaign goes through all of them."""
FILES = 6


def test_random_rows_are_kept_or_named() -> None:
    assert list(fuzz_rows(SEED, 1600)) == []


def test_a_value_that_is_lost_in_silence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(_: Raw) -> list[str]:
        return []

    monkeypatch.setattr(column, "decode_strings", lose)
    found = list(fuzz_rows(SEED, 1))
    assert any("tags" in problem and "altered without an error" in problem for problem in found)


def test_random_files_are_copied_and_compare_equal(tmp_path: Path, server_url: str) -> None:
    maker = Maker(tmp_path)
    found = {seed: in_database(server_url, seed, maker.make(seed)).problems for seed in range(SEED, SEED + FILES)}
    assert found == {seed: [] for seed in found}
