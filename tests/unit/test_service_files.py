"""Where a service of libpq's is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from vestige_migrate.destination.connection.service_files import service_files


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_the_file_that_is_named_stands_for_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PGSYSCONFDIR", str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    system = tmp_path / "pg_service.conf"
    assert service_files({}) == [tmp_path / "home" / ".pg_service.conf", system]
    monkeypatch.setenv("PGSERVICEFILE", "/etc/services.conf")
    assert service_files({}) == [Path("/etc/services.conf"), system]
    assert service_files({"servicefile": "mine.conf"}) == [Path("mine.conf"), system]


def test_an_account_without_a_home_directory_has_no_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGSYSCONFDIR", "PGSERVICEFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert service_files({"service": "vestige"}) == []
