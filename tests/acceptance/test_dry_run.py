"""--dry-run: right counts, the same log lines and report, and a destination that nobody wrote to."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.conftest import copy_of
from tests.acceptance.test_report import COUNTERS, TABLES, assert_shape
from tests.conftest import CommandLine, Copier
from tests.support.compare import counts
from tests.support.databases import LOST
from tests.support.table_counts import table_counts

pytestmark = pytest.mark.in_process


def objects(url: str) -> list[tuple[str, ...]]:
    """Everything that has been made in the database since it was created."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT 'relation', relname FROM pg_class WHERE oid >= 16384"
            " UNION ALL SELECT 'extension', extname FROM pg_extension WHERE oid >= 16384"
            " UNION ALL SELECT 'function', proname FROM pg_proc WHERE oid >= 16384 ORDER BY 1, 2"
        ).fetchall()


@pytest.mark.old_server
def test_on_an_empty_destination(plain_source: Path, database: str, command: CommandLine) -> None:
    file = command.home / "report.json"
    before = objects(database)
    done = command(*copy_of(plain_source, database), "--dry-run", "--report", file)
    assert done.returncode == 0, done.stderr
    assert objects(database) == before
    report = json.loads(file.read_text())
    assert_shape(report)
    assert (report["dry_run"], report["complete"], report["errors"]) == (True, True, [])
    assert {name: report[name] for name in COUNTERS} == COUNTERS
    for name, rows in TABLES.items():
        local = 1 if name == "users" else 0  # the bootstrap user, which the schema makes
        counts = table_counts(source_rows=rows, inserted=rows - local, skipped=local)
        assert report["tables"][name] == counts
    assert "dry run, nothing was written" in done.stdout
    assert "to insert" in done.stdout
    assert " INFO    dry run: " in done.stderr
    assert "250" in done.stderr.splitlines()[-1]


def test_on_a_half_filled_destination(plain_source: Path, copy: Copier, command: CommandLine) -> None:
    copy(plain_source)
    with psycopg.connect(copy.database) as connection:
        connection.execute(LOST)
        connection.execute("DELETE FROM knowledge_nodes WHERE id IN (SELECT id FROM knowledge_nodes LIMIT 120)")
        connection.execute("DELETE FROM domains WHERE id IN (SELECT id FROM domains LIMIT 2)")
    there, made = counts(copy.database), objects(copy.database)
    assert there["knowledge_nodes"] == 130
    done = command(*copy_of(plain_source, copy.database), "--dry-run", "--report", "-")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert_shape(report)
    assert {name: report[name] for name in COUNTERS} == COUNTERS
    for name, rows in TABLES.items():
        expected = table_counts(source_rows=rows, inserted=rows - there[name], skipped=there[name])
        assert report["tables"][name] == expected, name
    assert counts(copy.database) == there
    assert objects(copy.database) == made


@pytest.mark.parametrize("url", ["host=127.0.0.1 port=1", "missing database"])
def test_a_destination_that_cannot_be_reached_is_refused(
    url: str, plain_source: Path, server_url: str, command: CommandLine
) -> None:
    if url == "missing database":
        url = psycopg.conninfo.make_conninfo(server_url, dbname="there_is_none")
    done = command(*copy_of(plain_source, url), "--dry-run")
    assert done.returncode == 3
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: cannot connect to postgresql://")
