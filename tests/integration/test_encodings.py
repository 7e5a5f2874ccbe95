"""Databases that are not in UTF-8, and sessions that are told to speak something else."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.conftest import Copier
from tests.support.compare import assert_same
from tests.support.sources import edit
from tests.support.verifying import Verifier
from vestige_migrate import DestinationUnusable
from vestige_migrate.destination.connection.encoding import make_command
from vestige_migrate.destination.embedded.account import server_account
from vestige_migrate.destination.embedded.programs import programs_for


@pytest.fixture(params=["EUC_JP", "SQL_ASCII"])
def encoded(request: pytest.FixtureRequest, server_url: str) -> Iterator[tuple[str, str]]:
    """The URL of an empty database in this encoding, and the encoding."""
    names = [sql.Identifier(name) for name in (f"test_{uuid4().hex[:12]}",)]
    names.append(sql.Identifier(f"{names[0].as_string().strip(chr(34))}_utf8"))
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LOCALE 'C'").format(names[0], request.param)
        )
        yield make_conninfo(server_url, dbname=names[0].as_string().strip('"')), request.param
        for name in names:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


def createdb(command: str, url: str) -> None:
    """Runs the command that a message has, as its reader would."""
    words = shlex.split(command)
    assert words[0] == "createdb"
    words[0] = str(programs_for(server_account()) / "createdb")
    password = str(conninfo_to_dict(url).get("password", ""))
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env={**os.environ, "PGPASSWORD": password}
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.old_server
def test_a_database_that_is_not_in_utf8_is_refused_with_the_command_that_makes_one_that_is(
    encoded: tuple[str, str], source: Path
) -> None:
    url, encoding = encoded
    edit(source, ("UPDATE knowledge_nodes SET content = 'naïve 数据库 🚀' WHERE rowid = 1", ()))
    copy = Copier(url)
    said = set()
    for refuse, options in ((copy, {"dry_run": True}), (copy, {}), (Verifier(url), {})):
        with pytest.raises(DestinationUnusable, match=rf"is in the encoding {encoding}, and .* need UTF8") as refused:
            refuse(source, **options)
        assert refused.value.exit_code == 3
        said.add(str(refused.value))
    assert len(said) == 1
    createdb(said.pop().partition("give its URL: ")[2], url)
    made = make_conninfo(url, dbname=f"{conninfo_to_dict(url)['dbname']}_utf8")
    assert Copier(made)(source, indexes="none").exit_code == 0
    assert_same(source, made)


def test_the_command_works_where_the_server_has_another_locale(server_url: str) -> None:
    """Without one said, a new database would take over the template's, which goes with its own encoding alone."""
    given = {name: str(value) for name, value in conninfo_to_dict(server_url).items()}
    host, port, user = given.get("host", "localhost"), int(given.get("port", 5432)), given.get("user", "postgres")
    with psycopg.connect(server_url, autocommit=True) as connection:
        for version in {150_000, connection.info.server_version}:
            name = f"test {uuid4().hex[:12]}"
            command = make_command(host, port, user, name, "de_DE.ISO-8859-1", version)
            assert "--locale=C" in command
            createdb(command, server_url)
            connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(f"{name}_utf8")))
    for locale in ("C", "POSIX", "C.utf8", "en_US.UTF-8", "de_DE.UTF-8@euro"):
        assert "locale" not in make_command(host, port, user, "d", locale, 180_000)


def test_no_client_encoding_does_any_harm(source: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(source, ("UPDATE knowledge_nodes SET content = 'naïve 数据库 🚀', tags = '[\"é\"]' WHERE rowid <= 3", ()))
    with psycopg.connect(database, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} SET client_encoding = 'EUC_KR'").format(name))
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
    assert Copier(database)(source, verify=True).exit_code == 0
    told = make_conninfo(database, client_encoding="WIN1251", options="-c client_encoding=LATIN2")
    report = Copier(told)(source, dry_run=True)
    assert report.tables["knowledge_nodes"].skipped == 40
    assert Verifier(told)(source).same
    assert_same(source, make_conninfo(database, client_encoding="UTF8"))
