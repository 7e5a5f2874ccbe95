"""A report is the old one or the whole new one; a log that cannot be written is said once."""

from __future__ import annotations

import json
import os
import resource
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from loguru import logger

from tests.unit.test_report import filled
from vestige_migrate.cli.outputs import Outputs, RunFacts
from vestige_migrate.cli.streams import SteadyConsole
from vestige_migrate.errors import PlanError

FACTS = RunFacts("copy", False, (), "embedded")


def outputs(report: str | Path | None = None, log: Path | None = None) -> Outputs:
    return Outputs(FACTS, None if report is None else str(report), log, SteadyConsole(stderr=True))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("there", [None, 0o644, 0o666], ids=["new", "0644", "0666"])
@pytest.mark.parametrize("umask", [0, 0o777])
def test_a_report_file_is_the_json_and_its_owners_only(there: int | None, umask: int, tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    if there is not None:
        target.write_text("x" * 100_000)
        target.chmod(there)
    before = os.umask(umask)
    try:
        outputs(target).write(filled())
    finally:
        os.umask(before)
    assert json.loads(target.read_text(encoding="utf-8")) == filled().as_json()
    assert mode(target) == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_a_report_comes_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads it meanwhile reads the older one; a hard link to the older one keeps it."""
    target = tmp_path / "report.json"
    target.write_text("older")
    os.link(target, tmp_path / "kept")
    seen = []
    real = os.fsync

    def look(descriptor: int) -> None:
        seen.append(target.read_text())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    outputs(target).write(filled())
    assert seen[0] == "older"
    assert (tmp_path / "kept").read_text() == "older"
    assert json.loads(target.read_text())["schema"] == 2


def test_a_report_that_cannot_take_its_name_is_kept_under_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_self: Path, _target: Path) -> None:
        raise OSError(16, "Device or resource busy")  # such as a file that a container has mounted

    monkeypatch.setattr(Path, "replace", busy)
    target = tmp_path / "report.json"
    with pytest.raises(OSError, match=r"resource busy; the report is in .*\.tmp"):
        outputs(target).write(filled())
    (kept,) = tmp_path.iterdir()
    assert json.loads(kept.read_text())["schema"] == 2


def test_the_operators_own_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link, target = tmp_path / "report.json", tmp_path / "real" / "today.json"
    link.symlink_to(target)
    for _ in range(2):
        outputs(link).write(filled())
        assert link.is_symlink()
        assert not target.is_symlink()
        assert json.loads(target.read_text())["schema"] == 2
    assert list(target.parent.iterdir()) == [target]


def test_a_dash_is_standard_output_with_nothing_else(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    outputs("-").write(filled())
    assert json.loads(capsysbinary.readouterr().out) == filled().as_json()


def test_no_target_is_no_report(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    outputs().write(filled())
    assert capsysbinary.readouterr().out == b""


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    outputs(log=path).begin("INFO", False)
    try:
        yield
    finally:
        logger.remove()


@pytest.mark.parametrize("there", [None, 0o644], ids=["new", "0644"])
def test_a_log_is_added_to_and_is_its_owners_only(
    there: int | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "odd {time} é.log"
    if there is not None:
        target.write_text("from before\n")
        target.chmod(there)
    with logging_to(target):
        logger.warning("a line")
        logger.debug("not this")
        logger.info("[b]{}[/b] \udcff", "another")
    lines = target.read_text(encoding="utf-8").splitlines()
    assert [line[28:] if line[:1] == "2" else line for line in lines] == [
        *(["from before"] if there else []),
        "a line",
        "[b]another[/b] \\udcff",
    ]
    assert mode(target) == 0o600
    assert capfd.readouterr() == ("", "")


def limit_file_size(size: int) -> Callable[[], None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_log_that_cannot_be_written_any_more_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At a limit of file size, as under a quota; what fits again later is written again, on a line of its own."""
    target = tmp_path / "copy.log"
    with logging_to(target):
        logger.info("the first")
        restore = limit_file_size(target.stat().st_size + 10)
        try:
            for at in range(5):
                logger.info("lost {}", at)
        finally:
            restore()
        logger.info("the last")
    (said,) = capsys.readouterr().err.splitlines()
    assert said == (
        f"the log {target} cannot be written any more (File too large): the run goes on, and lines are missing from "
        "the log"
    )
    first, cut, last = target.read_text().splitlines()
    assert (first[28:], len(cut), last[28:]) == ("the first", 10, "the last")


def test_a_full_device_is_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    with logging_to(Path("/dev/full")):
        for _ in range(3):
            logger.info("lost")
    (said,) = capfd.readouterr().err.splitlines()
    assert "the log /dev/full cannot be written any more (No space left on device)" in said


def test_what_took_a_logs_place_meanwhile_is_not_written_to(tmp_path: Path) -> None:
    target, precious = tmp_path / "copy.log", tmp_path / "precious"
    precious.write_text("precious")
    accepted = outputs(log=target)
    target.symlink_to(precious)
    with pytest.raises(PlanError, match=r"--log-file .* cannot be written"):
        accepted.begin("INFO", False)
    assert precious.read_text() == "precious"
    target.unlink()
    source = tmp_path / "vestige.db"
    source.write_text("memories")
    facts = RunFacts("copy", False, (source,), "embedded")
    accepted = Outputs(facts, None, target, SteadyConsole(stderr=True))
    os.link(source, target)
    with pytest.raises(PlanError, match="is the source"):
        accepted.begin("INFO", False)
    assert source.read_text() == "memories"


@pytest.mark.root
def test_a_folder_that_takes_no_file_is_said_before_the_run() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        file = folder / "r.json"
        file.write_text("older")
        os.chown(file, 65534, 65534)
        os.seteuid(65534)
        try:
            with pytest.raises(PlanError, match=r"no file can be made in .* \(Permission denied\)"):
                outputs(file)
        finally:
            os.seteuid(0)
        assert file.read_text() == "older"
