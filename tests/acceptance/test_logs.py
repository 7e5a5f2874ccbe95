"""Log lines: when there are any, where they go, and that no password is ever among them."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.acceptance.conftest import copy_of
from tests.conftest import CommandLine
from tests.support.passwords import in_form, owned_with_password
from tests.support.sources import SourceSpec, build_source, edit

pytestmark = [pytest.mark.in_process, pytest.mark.bare_database]

LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR) +\S")
SECRET = "Geheim7 @/:%'\\é"
PIECES = ("Geheim", "eheim7")
"""What is left of the password in every way of quoting it."""


def messages(text: str) -> list[str]:
    """The log lines without their times."""
    assert all(LINE.match(line) for line in text.splitlines()), text
    return [line[20:] for line in text.splitlines()]


def test_a_line_at_the_start_every_thousand_memories_and_at_the_end(
    tmp_path: Path, database: str, command: CommandLine
) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(dimension=8).sized(2500))
    log = command.home / "copy.log"
    arguments = (*copy_of(path, database), "--log-file", log)
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = messages(log.read_text())
    assert found[0].startswith(f"INFO    copying {path} (V15, plan line) to postgresql://")
    assert found[1].startswith("INFO    workers 1, batches of 500 rows, model nomic-ai/nomic-embed-text-v1.5 (dim 8,")
    counted = [line for line in found if " memories" in line]
    assert counted == ["INFO    1000 of 2500 memories", "INFO    2000 of 2500 memories"]
    assert found[-1].startswith("INFO    knowledge_nodes 2500, scheduling 2500, edges 500, review_events 500, ")
    assert re.search(r"users 4, groups 2, group_memberships 4; 0 errors; \d+\.\d s$", found[-1])
    assert stat.S_IMODE(log.stat().st_mode) == 0o600

    # A second run adds to the file; at a level above INFO that is nothing where nothing is wrong.
    assert command(*arguments, "--log-level", "warning").returncode == 0
    assert messages(log.read_text()) == found


def test_the_level_decides_and_the_log_is_on_standard_error(
    tmp_path: Path, database: str, command: CommandLine
) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(dimension=8).sized(10))
    with psycopg.connect(database) as connection:
        connection.execute("CREATE EXTENSION vector")
    edit(path, ("UPDATE scheduling SET reps = 'often' WHERE rowid = 1", ()))
    done = command(*copy_of(path, database), "--log-level", "warning")
    assert done.returncode == 1
    assert [line.split()[0] for line in messages(done.stderr)] == ["WARNING"]


def test_a_log_file_has_the_name_that_was_given(source: Path, database: str, command: CommandLine) -> None:
    name = "odd {time} {0} é [b]x.log"
    done = command(*copy_of(source, database), "--dry-run", "--log-file", name)
    assert done.returncode == 0, done.stderr
    assert [file.name for file in command.home.iterdir()] == [name]
    assert len(messages((command.home / name).read_text())) == 3


@pytest.fixture
def owner(database: str) -> Iterator[str]:
    """The test's database as a keyword string of a role with the password `SECRET`, which owns it."""
    with owned_with_password(database, SECRET) as conninfo:
        yield conninfo


def assert_silent(done: CompletedProcess[str], *files: Path) -> None:
    """No piece of the password in any output."""
    for text in (done.stdout, done.stderr, *(file.read_text() for file in files)):
        for piece in PIECES:
            assert piece not in text


FORMS = ["URL", "query", "keywords", "PGPASSWORD"]


@pytest.mark.parametrize("form", FORMS)
def test_a_password_is_masked_in_every_output_of_a_copy(
    form: str, source: Path, owner: str, command: CommandLine
) -> None:
    url, environment = in_form(form, owner)
    file, log = command.home / "report.json", command.home / "copy.log"
    arguments = (*copy_of(source, url), "--debug", "--log-level", "TRACE")
    if form == "keywords":  # with all of it on the terminal
        done = command(*arguments, **environment)
        assert done.returncode == 0, done.stderr
        assert_silent(done)
        assert ":***@" in done.stderr
        return
    more = () if form == "URL" else ("--dry-run",)
    done = command(*arguments, "--report", file, "--log-file", log, *more, **environment)
    assert done.returncode == 0, done.stderr
    assert_silent(done, file, log)
    masked = form != "PGPASSWORD"
    assert (":***@" in log.read_text()) is masked
    assert (":***@" in json.loads(file.read_text())["destination"]["url"]) is masked


@pytest.mark.parametrize(
    ("form", "failure"),
    [*((form, "refused connection") for form in FORMS if form != "query"), ("URL", "missing database")],
)
def test_a_password_is_masked_where_the_connection_fails(
    form: str, failure: str, source: Path, server_url: str, command: CommandLine
) -> None:
    if failure == "refused connection":
        conninfo = make_conninfo(host="127.0.0.1", port=1, user="me", dbname="db", password=SECRET)
    else:
        conninfo = make_conninfo(server_url, dbname="there_is_none", password=SECRET)
        if "user" not in conninfo_to_dict(conninfo):
            conninfo = make_conninfo(conninfo, user="me")
    url, environment = in_form(form, conninfo)
    done = command(*copy_of(source, url), "--debug", **environment)
    assert done.returncode == 3
    assert done.stdout == ""
    assert_silent(done)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: cannot connect to postgresql://")
    assert "Traceback (most recent call last)" in done.stderr  # --debug asks for it
