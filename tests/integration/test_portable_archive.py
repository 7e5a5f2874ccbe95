"""Portable archives as sources: a copy of one brings what a copy of its file brings, but for what no archive holds."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from tests.conftest import CommandLine, Copier
from tests.support.compare import assert_same, stored
from tests.support.in_process import NOWHERE, called, refusal
from tests.support.portable_archives import cell, document, export, table_of, what_is_in_it, write
from tests.support.sources import SourceSpec, build_source, edit
from tests.support.untouched import files
from tests.support.verifying import Verifier
from tests.support.vestige_schemas import Line
from vestige_migrate import Outcome, SqliteToPostgresPlan, run_sqlite_to_postgres
from vestige_migrate.progress import Progress

pytestmark = pytest.mark.in_process

SPEC = SourceSpec(line="released", version=39, memories=40, edges=12)
SECRET = "a content that is in no message"


@pytest.mark.parametrize(("line", "version"), [("shared", 13), ("plan", 14), ("released", 25), ("released", 39)])
def test_an_archive_brings_what_its_file_brings(tmp_path: Path, copy: Copier, line: Line, version: int) -> None:
    spec = SourceSpec(line=line, version=version, form="vestige", memories=40, edges=12, events=0)
    path = build_source(tmp_path / "vestige.db", spec)
    archive = export(path, tmp_path / "memories.json")
    report = copy(archive)
    assert (report.errors, report.memories_copied, report.edges_copied) == ([], 40, 12)
    assert (report.source.schema_version, report.source.lineage) == (version, line)
    assert report.source.portable_archive is not None
    assert ("domains" in report.source.portable_archive.lacks) == (version > 13)
    assert_same(what_is_in_it(path, tmp_path / "expected.db"), copy.database)
    if version in (13, 39):
        assert called("verify", "--sqlite-path", archive, "--postgres-url", copy.database) == 0
    if version == 25:  # a later one has vectors of a profile, which no archive holds
        of_the_file = copy(path)
        assert of_the_file.errors == []
        assert [name for name, table in of_the_file.tables.items() if table.inserted] == ["domains"]
        assert_same(path, copy.database)


def test_every_command_and_option_takes_an_archive(
    tmp_path: Path, copy: Copier, command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its name, in any order, with a byte order mark; it is never written to, and nothing is left behind."""
    folder, temporary, report_file = tmp_path / "in", tmp_path / "tmp", tmp_path / "report.json"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    path = build_source(folder / "vestige.db", SPEC)
    edit(path, ("UPDATE knowledge_nodes SET scope = 'mine' WHERE rowid <= 10", ()))
    content = document(path)
    content["tables"] = [dict(reversed(table.items())) for table in content["tables"]]  # rows first
    archive = folder / "notes.txt"
    archive.write_text("\ufeff\n" + json.dumps(dict(reversed(content.items()))), encoding="utf-8")
    other = build_source(folder / "other.db", SourceSpec(line="released", version=20, memories=8, edges=2, seed=9))
    before = files(folder)
    arguments = ("--sqlite-path", archive, "--postgres-url", copy.database, "--report", report_file, "--workers", "1")

    dry = command("copy", *arguments, "--dry-run", "--scope", "mine")
    assert (dry.returncode, json.loads(report_file.read_text())["memories_copied"]) == (0, 10), dry.stderr
    done = command("copy", *arguments, "--archive")
    assert done.returncode == 0, done.stderr
    said = json.loads(report_file.read_text())["source"]["portable_archive"]
    assert (said["vestige_version"], said["exported_at"]) == ("3.1.1", "2026-09-29T06:00:00.123456789Z")
    assert {"domains", "embedding_model", "embedding_profile_vectors"} <= set(said["lacks"])
    assert {"agent_runs", "walk_receipts"} <= set(said["lacks_unplaced"])
    assert said["missing"] == []
    assert "not in the source, as a portable archive holds none of it: domains, embedding_model" in done.stdout
    again = command("copy", *arguments, "--archive")
    assert "nothing new" in again.stdout
    assert_same(what_is_in_it(path, tmp_path / "expected.db"), copy.database)
    verified = command("verify", *arguments, "--archive")
    assert verified.returncode == 0, verified.stdout
    assert "a portable archive holds none of it" in verified.stdout
    # The file's own rows have the keys that its archive's have: nothing of these is kept twice.
    kept = command("copy", "--sqlite-path", path, "--postgres-url", copy.database, "--archive", "--report", report_file)
    of_archive = {table["name"] for table in content["tables"]}
    assert "archived insights: 3 of 3 rows are there, 0 of them new" in kept.stderr
    assert "archived fsrs_config: 1 of 1 rows are there, 0 of them new" in kept.stderr
    placed = {"knowledge_nodes", "node_embeddings", "memory_connections"}
    assert set(json.loads(report_file.read_text())["archived"]) > of_archive - placed

    newer = "UPDATE knowledge_nodes SET content = 'later', updated_at = '2031-01-01T00:00:00Z' WHERE rowid < 4"
    edit(path, (newer, ()))
    export(path, archive)
    before = files(folder)
    both = command("copy", *arguments, "--sqlite-path", other, "--snapshot", "--on-conflict", "newer")
    assert both.returncode == 0, both.stderr
    assert len(stored(copy.database)["knowledge_nodes"]) == 48
    counts = json.loads(report_file.read_text())["sources"][0]["tables"]["knowledge_nodes"]
    assert (counts["inserted"], counts["updated"]) == (0, 3)
    for option in ("--report", "--log-file"):
        onto = command("copy", "--sqlite-path", archive, "--postgres-url", copy.database, option, archive)
        assert (onto.returncode, "is the source" in onto.stderr) == (2, True)
    assert files(folder) == before
    assert list(temporary.glob("vestige-migrate-*")) == []


def test_what_cannot_be_read_in_an_archive_is_named_by_row_and_the_rest_comes_over(
    tmp_path: Path, copy: Copier, command: CommandLine
) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(line="released", version=31, memories=20, edges=6))
    content = document(path)
    nodes, vectors = table_of(content, "knowledge_nodes"), table_of(content, "node_embeddings")
    columns = nodes["columns"]
    ids = [row[0]["value"] for row in nodes["rows"]]
    at = {name: columns.index(name) for name in ("content", "stability", "sentiment_score")}
    nodes["rows"][0].append(cell(SECRET))
    nodes["rows"][1][at["stability"]] = {"type": "real", "value": None}
    nodes["rows"][2][at["sentiment_score"]] = {"type": "number", "value": SECRET}
    nodes["rows"][3][at["content"]] = cell(f"{SECRET} \ud800")
    nodes["rows"][4][at["content"]] = cell("𝄞 \0 " + SECRET)
    vectors["rows"][5][vectors["columns"].index("embedding")] = {"type": "blob", "value": "abc"}
    vector_of = vectors["rows"][5][0]["value"]
    table_of(content, "insights")["rows"][0][0] = cell(2**63)
    content["tables"].append({"name": "Somebody's own", "columns": ["a"], "rows": [[cell(2**53 + 1)], [cell(1e-310)]]})
    archive = tmp_path / "archive.json"
    archive.write_text(json.dumps(content))
    archive.write_bytes(archive.read_bytes().replace(b"\\ud834\\udd1e", b"\xff\xfe"))
    report_file = tmp_path / "report.json"
    arguments = ("--sqlite-path", archive, "--postgres-url", copy.database)
    for dry in (("--dry-run",), ()):
        done = command("copy", *arguments, "--report", report_file, *dry)
        assert done.returncode == 1, done.stderr
        errors = json.loads(report_file.read_text())["errors"]
        named = {(error["table"], error["id"], error["column"], error["outcome"]) for error in errors}
        gone, altered, without = Outcome.NOT_COPIED, Outcome.COPIED_WITH_REPLACEMENT, Outcome.COPIED_WITHOUT_VALUE
        expected = {
            ("knowledge_nodes", "00000000-0000-0000-0000-000000000000", None, gone),
            ("scheduling", "00000000-0000-0000-0000-000000000000", None, gone),
            ("knowledge_nodes", ids[1], "stability", without),
            ("knowledge_nodes", ids[2], "sentiment_score", without),
            ("knowledge_nodes", vector_of, "embedding", without),
        }
        assert expected <= named
        if not dry:
            assert named - expected == {
                ("knowledge_nodes", ids[3], "content", altered),
                ("knowledge_nodes", ids[4], "content", altered),
                *(("edges", *rest) for table, *rest in named if table == "edges"),
            }
        assert "row 1 of insights cannot be read (column id: its integer has more than 64 bits)" in done.stderr
        assert SECRET not in done.stderr + done.stdout + report_file.read_text()
    found = stored(copy.database)["knowledge_nodes"]
    assert len(found) == 19
    verified = command("verify", *arguments)
    assert verified.returncode == 1
    assert f"row 1 of the source's knowledge_nodes cannot be read (it has {len(columns) + 1} cells" in verified.stdout
    assert SECRET not in verified.stderr + verified.stdout


def test_a_row_for_the_table_of_what_has_no_place_that_cannot_be_read_is_an_error_there(
    tmp_path: Path, copy: Copier
) -> None:
    """Where those rows are asked for: else they stay in the archive, as all of their table do."""
    content = document(
        build_source(tmp_path / "vestige.db", SourceSpec(line="released", version=20, memories=4, edges=2))
    )
    table_of(content, "insights")["rows"][1].pop()
    for row in table_of(content, "sync_tombstones")["rows"]:
        row[0] = {"type": "txt", "value": SECRET}
    archive = write(tmp_path / "archive.json", content)
    named = [("insights", 2), *(("sync_tombstones", number) for number in (1, 2, 3))]
    for dry_run in (True, False):
        report = copy(archive, archive=True, dry_run=dry_run)
        assert [(error.table, error.outcome) for error in report.errors] == [
            (table, Outcome.NOT_COPIED) for table, _ in named
        ]
        for error, (table, number) in zip(report.errors, named, strict=True):
            assert error.message.startswith(f"row {number} of the source's {table} cannot be read")
        assert (report.exit_code, report.memories_copied) == (1, 4)
        assert report.archived is not None
        assert (report.archived["insights"], "sync_tombstones" in report.archived) == (2, False)
        without = copy(archive, dry_run=dry_run)
        assert (without.exit_code, without.left_behind["insights"], without.left_behind["sync_tombstones"]) == (0, 3, 3)
    compared = Verifier(copy.database)(archive, archive=True)
    assert {difference.table for difference in compared.differences} == {"insights", "sync_tombstones"}


def test_a_change_of_the_archive_during_a_run_is_said(tmp_path: Path, copy: Copier) -> None:
    path = build_source(tmp_path / "vestige.db", SourceSpec(line="released", version=20, memories=30, edges=3))
    archive = export(path, tmp_path / "archive.json")
    changed: list[Progress] = []

    def change(progress: Progress) -> None:
        if not changed and progress.done:
            changed.append(progress)
            write(tmp_path / "next.json", document(path) | {"exportedAt": "later"}).replace(archive)

    plan = SqliteToPostgresPlan(archive, copy.database, workers=1)
    report = run_sqlite_to_postgres(plan, on_progress=change)
    assert (report.source_changed, report.errors, report.memories_copied) == (True, [], 30)
    assert not copy(archive).source_changed


def test_a_version_newer_than_known_and_a_table_that_is_missing_are_said_under_the_name_of_the_archive(
    tmp_path: Path, command: CommandLine, copy: Copier
) -> None:
    content = document(build_source(tmp_path / "vestige.db", SPEC)) | {"schemaVersion": 57}
    content["tables"] = [table for table in content["tables"] if table["name"] != "node_embeddings"]
    content["tables"][0]["name"] = "Knowledge_Nodes"
    archive = write(tmp_path / "archive.json", content)
    done = command("copy", "--sqlite-path", archive, "--postgres-url", copy.database, "--dry-run", "--report", "-")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["tables"]["knowledge_nodes"]["inserted"] == 40
    assert report["source"]["portable_archive"]["missing"] == ["node_embeddings"]
    assert "is at V57 of the released line, newer than any this program knows" in done.stderr
    assert f"{archive} lacks tables that an archive holds: node_embeddings" in done.stderr
    assert f"{archive}: knowledge_nodes is written Knowledge_Nodes" in done.stderr
    assert tempfile.gettempdir() + "/vestige-migrate" not in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"content": "x"}]', "JSON without archiveFormat, so no portable archive of Vestige either"),
        (b'\xef\xbb\xbf\n[{"content": "x"}]', "`vestige portable-export FILE` writes one"),
        (b"\x1f\x8b\x08\x00" + bytes(range(256)), "is packed: unpack it, and give what comes out (gzip -dc "),
        (b"PK\x03\x04" + b"x" * 100, "is packed: unpack it, and give what comes out (unzip -p "),
    ],
)
def test_a_packed_archive_and_another_export_are_refused_with_the_way_on(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "archive.json"
    path.write_bytes(content)
    for name in ("copy", "verify"):
        error = refusal(name, "--sqlite-path", path, "--postgres-url", NOWHERE)
        assert message in str(error)
        assert error.exit_code == 3
