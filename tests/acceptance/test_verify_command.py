"""`vestige-migrate verify` and `copy --verify` as a user runs them."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.support.running import RunningCopy, blocked_sessions, our_sessions, wait_until
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.verifying import Verifier

pytestmark = pytest.mark.in_process

STRANGER = "aaaaaaaa-0000-0000-0000-000000000001"


@pytest.fixture
def verify(database: str) -> Verifier:
    return Verifier(database)


@pytest.mark.holds("a copy")
def test_the_same_then_different(source: Path, copy: Copier, verify: Verifier, command: CommandLine) -> None:
    arguments = ("verify", "--sqlite-path", source, "--postgres-url", copy.database, "--workers", "2")
    found = command(*arguments)
    assert found.returncode == 0, found.stderr
    assert "same: compared" in found.stdout
    assert "search: recall@10 of the HNSW index" in found.stdout
    assert "search: full text finds 40 of 40 memories by their own rarest words" in found.stdout
    assert "error" not in found.stderr.lower()
    memory = verify.one("SELECT id FROM knowledge_nodes ORDER BY id LIMIT 1")
    verify.tamper(
        f"UPDATE knowledge_nodes SET content = 'secret', tags = '{{secret}}' WHERE id = '{memory}'",
        f"INSERT INTO users (id, handle) VALUES ('{STRANGER}', 'secret')",
        "DELETE FROM domains WHERE id = (SELECT min(id) FROM domains)",
    )
    found = command(*arguments)
    assert found.returncode == 1
    assert f"  knowledge_nodes {memory}: different in content, tags" in found.stdout
    assert f"  users {STRANGER}: not in the source" in found.stdout
    assert "missing from the destination" in found.stdout
    assert "different in 3 rows: compared" in found.stdout
    assert "secret" not in found.stdout + found.stderr


@pytest.mark.indexed
def test_the_report_as_json(source: Path, tmp_path: Path, copy: Copier, command: CommandLine) -> None:
    edit(source, ("UPDATE knowledge_nodes SET tags = 'x' WHERE rowid = 3", ()))
    copy(source)
    target = tmp_path / "report.json"
    base = ("verify", "--sqlite-path", source, "--postgres-url", copy.database, "--report")
    found = command(*base, target)
    assert found.returncode == 0
    assert "altered as the copy reports, no difference: 1" in found.stdout
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    report = json.loads(target.read_text())
    assert (report["schema"], report["command"], report["complete"], report["same"]) == (2, "verify", True, True)
    assert report["tables"]["knowledge_nodes"] == {
        "source_rows": 40, "same": 39, "altered": 1, "not_copied": 0, "repeated": 0, "forgotten": 0,
        "different": 0, "missing": 0, "extra": 0,
    }  # fmt: skip
    [altered] = report["altered"]
    assert (altered["column"], altered["outcome"]) == ("tags", "copied_without_value")
    assert report["search"]["recall_at_10"] >= 0.9
    streamed = command(*base, "-")
    assert json.loads(streamed.stdout)["same"] is True


@pytest.mark.holds("a copy")
def test_more_than_twenty_differences_are_counted(
    source: Path, copy: Copier, verify: Verifier, command: CommandLine
) -> None:
    verify.tamper("UPDATE scheduling SET reps = reps + 1")
    found = command("verify", "--sqlite-path", source, "--postgres-url", copy.database)
    assert found.returncode == 1
    assert found.stdout.count("different in reps") == 20
    assert "+20 more (the whole list: --report FILE)" in found.stdout


def test_refusals(source: Path, tmp_path: Path, database: str, copy: Copier, command: CommandLine) -> None:
    empty = command("verify", "--sqlite-path", source, "--postgres-url", database)
    assert (empty.returncode, empty.stdout) == (3, "nothing was compared, for the reason in the error\n")
    assert "error: the destination has no" in empty.stderr
    absent = command("verify", "--sqlite-path", tmp_path / "none.db", "--postgres-url", database)
    assert (absent.returncode, absent.stdout) == (empty.returncode, empty.stdout)
    old = build_source(tmp_path / "old.db", SourceSpec(line="shared", version=13, form="vestige").sized(5))
    copy(old, snapshot=True)
    refused = command("verify", "--sqlite-path", old, "--postgres-url", database)
    assert refused.returncode == 3
    assert "--snapshot" in refused.stderr
    assert command("verify", "--sqlite-path", old, "--postgres-url", database, "--snapshot").returncode == 0
    assert command("verify", "--sqlite-path", old, "--workers", "0").returncode == 2
    unreachable = command("verify", "--sqlite-path", source, "--postgres-url", "postgresql://127.0.0.1:1/x")
    assert unreachable.returncode == 3
    assert "Traceback" not in "".join(item.stderr for item in (empty, absent, refused, unreachable))


def test_copy_verify(source: Path, database: str, command: CommandLine) -> None:
    arguments = ("copy", "--sqlite-path", source, "--postgres-url", database, "--verify")
    first = command(*arguments, "--report", "-")
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    assert (report["command"], report["verification"]["command"], report["verification"]["same"]) == (
        "copy",
        "verify",
        True,
    )
    assert "same: compared" in first.stderr
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE knowledge_nodes SET content = 'x' WHERE id = (SELECT min(id::text)::uuid"
                           " FROM knowledge_nodes)")  # fmt: skip
    second = command(*arguments)
    assert second.returncode == 1
    assert "different in content" in second.stdout
    both = command(*arguments, "--dry-run")
    assert both.returncode == 2
    assert "exclude each other" in both.stderr


def test_copy_verify_of_several_files(tmp_path: Path, database: str, command: CommandLine) -> None:
    spec = SourceSpec(memories=20, schedules=20, edges=5, events=5, domains=0, groups=0, memberships=0, extra_users=0)
    paths = [build_source(tmp_path / f"{seed}.db", replace(spec, seed=seed)) for seed in (1, 2)]
    files = [part for path in paths for part in ("--sqlite-path", path)]
    found = command("copy", *files, "--postgres-url", database, "--verify", "--report", "-")
    assert found.returncode == 0, found.stderr
    verification = json.loads(found.stdout)["verification"]
    assert verification["tables"]["knowledge_nodes"]["same"] == 40
    assert len(verification["sources"]) == 2
    assert command("verify", *files, "--postgres-url", database).returncode == 0


def held_comparison(
    source: Path, database: str, command: CommandLine, connection: psycopg.Connection[object]
) -> RunningCopy:
    """A comparison whose workers wait for a lock on the schedules."""
    connection.execute("LOCK TABLE scheduling")
    running = RunningCopy.start(
        *("--sqlite-path", source, "--postgres-url", database, "--workers", "2", "--report", "-"),
        environment=command.environment(),
        command="verify",
    )
    wait_until(lambda: blocked_sessions(database) == 2, "both workers to wait for the lock")
    return running


@pytest.fixture
def larger(tmp_path: Path, copy: Copier) -> Path:
    """Enough schedules for several ranges, copied."""
    path = build_source(tmp_path / "larger.db", SourceSpec(memories=1500, schedules=1500, edges=100, events=100))
    copy(path)
    return path


def test_a_killed_worker_is_replaced_and_its_range_counted_once(
    larger: Path, database: str, command: CommandLine
) -> None:
    with psycopg.connect(database) as connection:
        running = held_comparison(larger, database, command, connection)
        killed = running.workers()
        for worker in killed:
            worker.kill()
        psutil.wait_procs(killed, timeout=10)
        connection.rollback()
    code, out, err = running.finish()
    assert code == 0, err
    assert "was killed by signal 9" in err
    report = json.loads(out)
    assert {name: (table["source_rows"], table["same"]) for name, table in report["tables"].items()} == {
        name: (table["source_rows"], table["source_rows"]) for name, table in report["tables"].items()
    }
    assert report["tables"]["scheduling"]["source_rows"] == 1500


def test_ctrl_c_leaves_nothing_behind(larger: Path, database: str, command: CommandLine) -> None:
    with psycopg.connect(database) as connection:
        running = held_comparison(larger, database, command, connection)
        running.interrupt()
        code, out, err = running.finish()
        assert code == 130
        assert json.loads(out)["error"]["type"] == "Interrupted"
        assert "error: interrupted: nothing was changed by comparing" in err
        connection.rollback()
    wait_until(lambda: our_sessions(database) == 0, "the sessions to end")
