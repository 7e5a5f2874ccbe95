"""Where Vestige keeps its file on systems that the suite does not run on, by what the crate `directories` says."""

from __future__ import annotations

from pathlib import Path

import pytest

from vestige_migrate.places import database_places, server_places


@pytest.mark.parametrize(
    ("platform", "expected", "servers"),
    [
        (
            "darwin",
            ["Library/Application Support/com.vestige.core", ".vestige", "here/.vestige"],
            ["Library/Application Support/com.vestige.core"],
        ),
        (
            "win32",
            ["Roaming/vestige/core/data", "Roaming/vestige/core", ".vestige", "here/.vestige"],
            ["Roaming/vestige/core/data", "Roaming/vestige/core"],
        ),
        (
            "linux",
            [".local/share/core", ".local/share/vestige/core", ".vestige", "here/.vestige"],
            [".local/share/core", ".local/share/vestige/core"],
        ),
    ],
)
def test_the_places_of_each_platform(
    platform: str, expected: list[str], servers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("APPDATA", str(tmp_path / "Roaming"))
    for shared in ("", "not/absolute", str(tmp_path / ".local" / "share")):
        monkeypatch.setenv("XDG_DATA_HOME", shared)
        assert database_places() == [tmp_path / place / "vestige.db" for place in expected]
        assert server_places() == [tmp_path / place / "postgres" for place in servers]


def test_an_empty_home_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    without = database_places()
    monkeypatch.setenv("HOME", "")
    assert database_places() == without
