"""A run that fails leaves a whole report with its error: never an older run's, never half of one, never none."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import copy_of
from tests.conftest import CommandLine
from tests.support.in_process import NOWHERE, called, refusal
from tests.support.running import RunningCopy
from tests.support.sources import edit
from vestige_migrate.destination.connection import first_connection

pytestmark = pytest.mark.in_process

OLD = '{"schema": 1, "complete": true}\n'


def report_of(path: Path) -> dict[str, Any]:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def assert_refusal(report: dict[str, Any], command: str, exit_code: int, type_: str, said: str) -> None:
    assert list(report)[:5] == ["schema", "command", "dry_run", "complete", "error"]
    assert (report["schema"], report["command"], report["complete"]) == (2, command, False)
    assert report["error"] == {"type": type_, "message": said, "exit_code": exit_code}


REFUSED: dict[str, tuple[tuple[str, ...], int, str]] = {
    "a server that is not there": (("copy", "--postgres-url", NOWHERE), 3, "DestinationUnusable"),
    "a dry run of it": (("copy", "--dry-run", "--postgres-url", NOWHERE), 3, "DestinationUnusable"),
    "a comparison with it": (("verify", "--postgres-url", NOWHERE), 3, "DestinationUnusable"),
    "no source": (("copy", "--sqlite-path", "none.db", "--postgres-url", NOWHERE), 3, "SourceUnusable"),
    "two sources, one of them none": (
        ("copy", "--sqlite-path", "none.db", "--sqlite-path", "vestige.db", "--postgres-url", NOWHERE),
        3,
        "SourceUnusable",
    ),
    "another pair": (("copy", "--from", "mysql", "--postgres-url", NOWHERE), 3, "UnsupportedPair"),
    "a number out of range": (("copy", "--workers", "0", "--postgres-url", NOWHERE), 2, "PlanError"),
    "half of a model": (("copy", "--embedding-model", "m", "--postgres-url", NOWHERE), 2, "PlanError"),
    "a URL that is none": (("verify", "--postgres-url", "geheim77"), 2, "PlanError"),
    "a level that is none": (("verify", "--log-level", "loud", "--postgres-url", NOWHERE), 2, "PlanError"),
    "a log that cannot be": (("copy", "--log-file", "none/x.log", "--postgres-url", NOWHERE), 2, "PlanError"),
    "a log that is the source": (("copy", "--log-file", "vestige.db", "--postgres-url", NOWHERE), 2, "PlanError"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_run_leaves_a_report_with_the_refusal(
    name: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, code, type_ = REFUSED[name]
    if "--sqlite-path" not in arguments:
        arguments += ("--sqlite-path", source.name)
    file = tmp_path / "report.json"
    file.write_text(OLD)
    error = refusal(*arguments, "--report", file)
    report = report_of(file)
    assert_refusal(report, arguments[0], code, type_, str(error))
    assert error.exit_code == code
    assert report["dry_run"] is ("--dry-run" in arguments)
    paths = [arguments[at + 1] for at, word in enumerate(arguments) if word == "--sqlite-path"]
    found = report["sources"] if len(paths) > 1 else [report["source"]]
    assert [each["path"] for each in found] == paths
    assert ("destination" in report) is (name != "a URL that is none")
    assert "geheim77" not in file.read_text()
    assert {path.name.removesuffix("-wal").removesuffix("-shm") for path in tmp_path.iterdir()} == {
        "report.json",
        "vestige.db",
    }
    capsysbinary.readouterr()
    refusal(*arguments, "--report", "-")
    assert json.loads(capsysbinary.readouterr().out) == report


def test_arguments_that_cannot_be_read_leave_it_too(source: Path, tmp_path: Path, command: CommandLine) -> None:
    file = command.home / "report.json"
    for arguments in (("copy", "--workers", "many"), ("verify", "--wrokers=2"), ("migrate", "copy", "--sqlite-path")):
        file.write_text(OLD)
        script = "vestige" if arguments[0] == "migrate" else "vestige-migrate"
        done = command(arguments[0], f"--report={file}", *arguments[1:], script=script) if script != "vestige" else (
            command("migrate", "copy", "--report", file, *arguments[2:], script=script)
        )  # fmt: skip
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        name = next(word for word in arguments if word in ("copy", "verify"))
        if arguments[-1] == "--sqlite-path":  # what was meant cannot be told: nothing is written anywhere
            assert file.read_text() == OLD
        else:
            assert_refusal(report_of(file), name, 2, "UsageError", line.removeprefix("error: "))
    before = source.read_bytes()
    done = command("copy", "--sqlite-path", source, "--report", source, "--workers", "many")
    assert done.returncode == 2
    assert source.read_bytes() == before


def test_a_defect_is_told_by_its_type_alone(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise ZeroDivisionError("geheim77")

    monkeypatch.setattr("vestige_migrate.prepare.source.find_source", fail)
    file = tmp_path / "report.json"
    with pytest.raises(ZeroDivisionError):
        called("copy", "--sqlite-path", source, "--postgres-url", NOWHERE, "--report", file)
    report = report_of(file)
    assert (report["error"]["type"], report["error"]["exit_code"]) == ("ZeroDivisionError", 4)
    assert "geheim77" not in file.read_text()


def test_a_run_that_stops_keeps_what_it_did_beside_the_error(source: Path, database: str, command: CommandLine) -> None:
    edit(source, ("UPDATE knowledge_nodes SET tags = 'x' WHERE rowid <= 9", ()))
    file = command.home / "report.json"
    file.write_text(OLD)
    done = command(*copy_of(source, database), "--max-errors", "2", "--report", file)
    assert done.returncode == 4
    report = report_of(file)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert_refusal(report, "copy", 4, "TooManyErrors", line.removeprefix("error: "))
    assert len(report["errors"]) > 2
    assert report["source"]["lineage"] == "plan"


def test_ctrl_c_leaves_it(source: Path, command: CommandLine) -> None:
    file = command.home / "report.json"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and says nothing
        url = f"host=127.0.0.1 port={silent.getsockname()[1]} connect_timeout=60"
        run = RunningCopy.start(
            "--sqlite-path", source, "--postgres-url", url, "--report", file, environment=command.environment()
        )
        silent.settimeout(30)
        connection, _ = silent.accept()
        with connection:
            run.interrupt()
            assert run.finish()[0] == 130
    assert report_of(file)["error"]["type"] == "Interrupted"
    assert report_of(file)["error"]["exit_code"] == 130


def test_a_report_that_cannot_be_written_in_the_end_leaves_the_older_one(
    source: Path, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    file = folder / "report.json"
    file.write_text(OLD)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        called(*copy_of(source, database), "--dry-run", "--report", file)
    assert caught.value.filename == str(file)
    assert file.read_text() == OLD
    assert refusal("copy", "--sqlite-path", source, "--postgres-url", NOWHERE, "--report", file).exit_code == 3
    assert f"error: the report was not written to {file}: No space left on device" in capfd.readouterr().err
    assert file.read_text() == OLD
    assert list(folder.iterdir()) == [file]


def test_a_folder_that_another_takes_the_place_of_is_not_written_into(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, precious = tmp_path / "reports", tmp_path / "precious"
    folder.mkdir()
    precious.mkdir()
    (precious / "r.json").write_text("precious")
    real = first_connection.open_first_session

    def swap(*arguments: Any, **named: Any) -> Any:
        folder.rename(tmp_path / "moved")
        folder.symlink_to(precious)
        return real(*arguments, **named)

    monkeypatch.setattr("vestige_migrate.prepare.session.open_first_session", swap)
    arguments = ("copy", "--sqlite-path", source, "--postgres-url", NOWHERE, "--report", folder / "r.json")
    assert refusal(*arguments).exit_code == 3
    assert (precious / "r.json").read_text() == "precious"


def test_pipes_and_descriptors_take_a_report_and_a_log(source: Path, tmp_path: Path, command: CommandLine) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    out = tmp_path / "out.txt"
    script = (
        f'echo before > {out}; exec 5>> {out}; "$0" copy --sqlite-path {source} --postgres-url "{NOWHERE}" '
        f"--report {pipe} --log-file /dev/fd/5; "
        f'"$0" copy --sqlite-path {source} --postgres-url "{NOWHERE}" --report /dev/stdout > {tmp_path}/stdout'
    )
    program = Path(sys.executable).parent / "vestige-migrate"
    done = subprocess.run(
        ["bash", "-c", script, program], capture_output=True, text=True, timeout=60, check=False,
        env=command.environment(),
    )  # fmt: skip
    reader.join(30)
    assert done.returncode == 3, done.stderr
    assert json.loads(read[0])["error"]["exit_code"] == 3
    assert json.loads((tmp_path / "stdout").read_text())["error"]["exit_code"] == 3
    assert out.read_text().startswith("before\n")


def test_output_that_is_redirected_into_the_source_is_refused(
    source: Path, tmp_path: Path, command: CommandLine
) -> None:
    program = Path(sys.executable).parent / "vestige-migrate"
    before = source.read_bytes()
    for redirection in (f">> {source} --report -", f"2>> {source} --log-level DEBUG", f">> {source}-wal 2>&1"):
        done = subprocess.run(
            ["bash", "-c", f'"$0" copy --sqlite-path {source} --postgres-url "{NOWHERE}" {redirection}', program],
            capture_output=True, text=True, timeout=60, check=False, env=command.environment(),
        )  # fmt: skip
        assert done.returncode == 2
        assert source.read_bytes() == before
        assert not (wal := Path(f"{source}-wal")).exists() or wal.read_bytes() == b""
