"""Where a copy goes: asked for, never guessed, and said with what libpq chose by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.in_process import called, refusal
from vestige_migrate.cli.options import POSTGRES_URL_VARIABLE

COMMANDS = (("copy",), ("copy", "--dry-run"), ("verify",), ("reembed", "--model", "m"))


@pytest.fixture(autouse=True)
def _private_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VESTIGE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv(POSTGRES_URL_VARIABLE, raising=False)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("value", [None, "", " \n"], ids=["not set", "empty", "blank"])
def test_nothing_goes_to_a_server_that_nobody_named(
    command: tuple[str, ...],
    value: str | None,
    server_url: str,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not to the bundled server, and not to the one that libpq's own variables lead to."""
    for name, setting in conninfo_to_dict(server_url).items():
        monkeypatch.setenv({"dbname": "PGDATABASE"}.get(name, f"PG{name.upper()}"), str(setting))
    if value is not None:
        monkeypatch.setenv(POSTGRES_URL_VARIABLE, value)
    more = () if command[0] == "reembed" else ("--sqlite-path", str(source), "--report", str(tmp_path / "r.json"))
    error = refusal(*command, *more)
    assert error.exit_code == 2
    said = "no destination was given" if value is None else "VESTIGE_POSTGRES_URL is set and empty"
    for words in (said, "--postgres-url", "VESTIGE_POSTGRES_URL", "postgresql://", "'embedded'"):
        assert words in str(error)
    assert not (tmp_path / "data").exists()
    if more:
        report = json.loads((tmp_path / "r.json").read_text())
        assert report["error"] == {"type": "PlanError", "message": str(error), "exit_code": 2}


@pytest.mark.parametrize("form", ["postgresql://", "dbname='{dbname}'"])
def test_what_libpq_chose_is_said(
    form: str, database: str, source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A URL that was given may be completed from the environment; a file leaves a newline behind it."""
    given = {name: str(value) for name, value in conninfo_to_dict(database).items()}
    for name, setting in given.items():
        monkeypatch.setenv({"dbname": "PGDATABASE"}.get(name, f"PG{name.upper()}"), setting)
    monkeypatch.setenv("PGPASSWORD", given.get("password", "geheim77"))
    monkeypatch.setenv(POSTGRES_URL_VARIABLE, f"  {form.format(**given)}\r\n")
    for command, code in ((("copy", "--dry-run"), 0), (("copy",), 0), (("verify",), 0)):
        arguments = (*command, "--sqlite-path", source, "--report", "-", "--workers", "1")
        assert called(*arguments) == code
        out, err = capsys.readouterr()
        shown = json.loads(out)["destination"]["url"]
        found = conninfo_to_dict(shown)
        assert {name: found[name] for name in ("host", "port", "user", "dbname") if name in given} == {
            name: given[name] for name in ("host", "port", "user", "dbname") if name in given
        }
        assert f"the destination is {shown}\n" in err
        assert "geheim77" not in out + err
    assert called("verify", "--sqlite-path", source, "--workers", "1", "--log-level", "ERROR") == 0
    assert f"destination: {shown}\n" in capsys.readouterr().out
