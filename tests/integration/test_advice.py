"""What is advised where no connection can be made: by what is the case, never by the words of a message."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.conftest import Copier
from tests.support.refusing_server import refusing_server
from vestige_migrate import DestinationUnusable
from vestige_migrate.destination.connection import refusal

GERMAN = [
    ("28P01", "Passwort-Authentifizierung für Benutzer »service« fehlgeschlagen", "PGPASSFILE"),
    ("28000", "Rolle »password« existiert nicht", "pg_hba.conf"),
    ("3D000", "Datenbank »service_password« existiert nicht", "CREATE DATABASE"),
    ("53300", "tut mir leid, schon zu viele Verbindungen", "End other sessions"),
    ("57P03", "das Datenbanksystem startet", "wait for it"),
    ("42501", "keine Berechtigung für Datenbank certificate", "GRANT CONNECT ON DATABASE"),
    ("08P01", "nicht unterstützter Startparameter", "usually port 5432"),
]


def advice_for(url: str, source: Path) -> str:
    with pytest.raises(DestinationUnusable) as refused:
        Copier(url)(source, dry_run=True)
    assert refused.value.exit_code == 3
    return str(refused.value)


@pytest.mark.parametrize(("state", "message", "advice"), GERMAN, ids=[state for state, _, _ in GERMAN])
def test_a_server_that_speaks_german_is_understood(state: str, message: str, advice: str, plain_source: Path) -> None:
    with refusing_server(state, message) as port:
        said = advice_for(f"postgresql://me@127.0.0.1:{port}/service_password", plain_source)
    assert message in said
    assert advice in said
    assert [other for _, _, other in GERMAN if other in said] == [advice]


def test_names_that_sound_like_a_reason_mislead_nobody(plain_source: Path) -> None:
    """A host that no DNS knows is no matter of PGSERVICEFILE, nor a closed port one of certificates."""
    said = advice_for("postgresql://password@service.invalid/certificate", plain_source)
    assert "service.invalid cannot be resolved" in said
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    refused = advice_for(f"postgresql://SSL@127.0.0.1:{port}/password?sslmode=require", plain_source)
    assert f"Nothing listens on 127.0.0.1 at port {port}" in refused
    absent = advice_for("postgresql://service@/password?host=/nowhere/ssl", plain_source)
    assert "no server's socket /nowhere/ssl/.s.PGSQL.5432" in absent
    for text in (said, refused, absent):
        assert not [word for word in ("PGSERVICEFILE", "PGPASSFILE", "sslrootcert") if word in text]


def test_a_service_is_looked_for_in_its_file(
    plain_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = tmp_path / "services"
    services.write_text("[memory]\nhost=127.0.0.1\nport=1\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    assert "PGSERVICEFILE" in advice_for("service=memroy", plain_source)
    assert "PGSERVICEFILE" not in advice_for("service=memory", plain_source)


def test_without_a_library_to_ask_the_general_advice_is_given(
    plain_source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal, "_verbosity_setter", lambda: None)
    with refusing_server("3D000", "Datenbank »password« existiert nicht") as port:
        said = advice_for(f"postgresql://me@127.0.0.1:{port}/password", plain_source)
    assert said.endswith(refusal.CHECK)
