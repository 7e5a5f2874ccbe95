"""`--help` and `--version` of every command and of both console scripts."""

from __future__ import annotations

import re

import pytest
import typer
from typer.main import get_command

from tests.conftest import CommandLine
from vestige_migrate import __version__
from vestige_migrate.cli.app import migrate, root
from vestige_migrate.plan import default_workers

COPY: dict[str, str | None] = {
    "--from": "sqlite",
    "--to": "postgres",
    "--sqlite-path": None,
    "--postgres-url": None,
    "--workers": str(default_workers()),
    "--batch-size": "500",
    "--max-errors": "(no limit)",
    "--max-connections": "4",
    "--retries": "5",
    "--answer-timeout": "30",
    "--allow-source-upgrade": None,
    "--snapshot": None,
    "--embedding-model": None,
    "--embedding-dimension": None,
    "--embedding-hash": None,
    "--indexes": "auto",
    "--on-conflict": "(skip, newer with --follow)",
    "--yes": None,
    "--deletions": "(ignore with skip, else report)",
    "--follow": None,
    "--until-idle": None,
    "--restore-forgotten": None,
    "--archive": None,
    "--codebase": None,
    "--owner": None,
    "--scope": None,
    "--verify": None,
    "--schema": "(the first on search_path)",
    "--dry-run": None,
    "--report": None,
    "--progress": None,
    "--log-file": None,
    "--log-level": "INFO",
    "--debug": None,
    "--help": None,
}
VERIFY: dict[str, str | None] = {
    "--sqlite-path": None,
    "--postgres-url": None,
    "--workers": str(default_workers()),
    "--retries": "5",
    "--answer-timeout": "30",
    "--snapshot": None,
    "--codebase": None,
    "--owner": None,
    "--scope": None,
    "--archive": None,
    "--schema": "(the first on search_path)",
    "--report": None,
    "--progress": None,
    "--log-file": None,
    "--log-level": "INFO",
    "--debug": None,
    "--help": None,
}
REEMBED: dict[str, str | None] = {
    "--model": None,
    "--dimension": "(the model's own)",
    "--postgres-url": None,
    "--batch-size": "128",
    "--drop-hnsw-first": "drop-hnsw-first",
    "--concurrent-index": None,
    "--max-connections": "4",
    "--schema": "(the first on search_path)",
    "--dry-run": None,
    "--debug": None,
    "--help": None,
}
DEMO: dict[str, str | None] = {"--dir": None, "--memories": "1000", "--debug": None, "--help": None}


def options(text: str) -> dict[str, str | None]:
    """Option -> default (None where none is shown) of a help text."""
    blocks = re.split(r"^  (--[a-z-]+)", text.partition("\nOptions:\n")[2], flags=re.MULTILINE)
    found: dict[str, str | None] = {}
    for name, words in zip(blocks[1::2], blocks[2::2], strict=True):
        default = re.search(r"[\[; ]default: (.*?)[\];]", " ".join(words.split()))
        # "(default: ...)" in the words is for a default that depends on the machine.
        found[name] = default[1] if default and "(default:" not in default[0] else None
    return found


@pytest.mark.in_process
@pytest.mark.parametrize(
    ("name", "expected"),
    [("copy", COPY), ("verify", VERIFY), ("reembed", REEMBED), ("demo", DEMO)],
    ids=["copy", "verify", "reembed", "demo"],
)
def test_the_help_has_every_option_with_its_default(
    name: str, expected: dict[str, str | None], command: CommandLine
) -> None:
    done = command("migrate", name, "--help", script="vestige", COLUMNS="220")
    assert done.returncode == 0
    assert done.stderr == ""
    assert options(done.stdout) == expected


@pytest.mark.in_process
def test_the_help_of_copy_has_the_exit_codes_and_the_environment(command: CommandLine) -> None:
    text = " ".join(command("copy", "--help", COLUMNS="220").stdout.split())
    for words in (
        "0 all rows moved", "1 some rows have errors", "2 bad arguments", "3 refused", "4 stopped in the middle",
        "130 interrupted", "[env var: VESTIGE_POSTGRES_URL]", "$VESTIGE_DATA_DIR/vestige.db",
    ):  # fmt: skip
        assert words in text


def test_the_help_of_both_scripts_is_the_same_but_for_the_name(command: CommandLine) -> None:
    long = command("migrate", "copy", "--help", script="vestige")
    short = command("copy", "--help")
    assert "Usage: vestige migrate copy [OPTIONS]" in long.stdout
    assert "Usage: vestige-migrate copy [OPTIONS]" in short.stdout
    assert options(long.stdout) == options(short.stdout)


@pytest.mark.in_process
@pytest.mark.parametrize("name", ["start", "stop", "status"])
def test_the_help_of_the_server_commands(name: str, command: CommandLine) -> None:
    done = command("server", name, "--help")
    assert done.returncode == 0
    assert f"Usage: vestige-migrate server {name} [OPTIONS] [DIR]" in done.stdout
    assert "default: postgres/ in Vestige's data dir" in " ".join(done.stdout.split())


@pytest.mark.parametrize("app", [root, migrate], ids=["vestige", "vestige-migrate"])
def test_no_command_or_option_is_without_words(app: typer.Typer) -> None:
    waiting = [get_command(app)]
    seen = 0
    while waiting:
        command = waiting.pop()
        seen += 1
        assert command.help, command.name
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{command.name} {parameter.name}"
        waiting += list(getattr(command, "commands", {}).values())
    assert seen > 8


@pytest.mark.parametrize(
    ("script", "arguments"),
    [("vestige", ("--version",)), ("vestige", ("migrate", "--version")), ("vestige-migrate", ("--version",))],
)
def test_the_version(script: str, arguments: tuple[str, ...], command: CommandLine) -> None:
    done = command(*arguments, script=script)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"vestige-migrate {__version__}\n", "")
