"""Every command and option that a message or the documentation names is there, and can be used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from typer.main import get_command

import vestige_migrate
from tests.conftest import ROOT
from vestige_migrate.cli.app import migrate
from vestige_migrate.errors import ModelMismatch
from vestige_migrate.model import ModelSignature

PACKAGE = Path(vestige_migrate.__file__).parent
UNAVAILABLE = "not available yet"
NAMED = re.compile(r"vestige(?:-| )migrate ([a-z]+)(?: (start|stop|status)\b)?")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
OTHERS = {
    "--shm-size", "--force-reinstall", "--no-instructions",
    "--username", "--encoding", "--locale", "--locale-provider", "--builtin-locale", "--auth-local", "--auth-host",
    "--system", "--user-group", "--no-create-home", "--home-dir", "--shell",
}  # fmt: skip
"""Options of other programs (docker's, pip's, initdb's, useradd's)."""
NO_COMMAND = {"is", "in", "began", "worker", "probe", "coordinator"}
"""What stands behind the program's name where it is only named, or in the names of its sessions."""


def _commands() -> tuple[set[str], set[str]]:
    """Commands that can be used, and all options of those."""
    names, options = set(), set()
    waiting = [("", get_command(migrate))]
    while waiting:
        name, command = waiting.pop()
        if UNAVAILABLE in (command.help or ""):
            continue
        names.add(name)
        options |= {each for parameter in command.params for each in (*parameter.opts, *parameter.secondary_opts)}
        waiting += [(f"{name} {key}".strip(), each) for key, each in getattr(command, "commands", {}).items()]
    return names, options | {"--help"}


COMMANDS, OPTIONS = _commands()


def _texts() -> Iterator[tuple[str, str]]:
    """Every text in the package with where it is: parts that stand beside each other are one; no docstrings."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {
            id(after.value)
            for node in ast.walk(tree)
            for before, after in pairwise(
                [None, *getattr(node, "body", [])] if isinstance(getattr(node, "body", None), list) else []
            )
            if isinstance(after, ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node.value
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", "".join(map(str, parts))


def unknown(text: str) -> set[str]:
    """Commands and options that the text names and nobody can use."""
    found = set()
    for match in NAMED.finditer(text):
        if match[1] not in NO_COMMAND and " ".join(filter(None, match.groups())) not in COMMANDS:
            found.add(match[0])
    return found | {name for name in OPTION.findall(text) if name not in OPTIONS | OTHERS}


def test_every_command_and_option_in_a_message_is_there() -> None:
    # reembed.py declares the command that is not available, and says so.
    wrong = {where: bad for where, text in _texts() if not where.startswith("cli/reembed") and (bad := unknown(text))}
    assert wrong == {}


def test_what_would_be_found() -> None:
    for text in (
        "run vestige migrate reembed --model x",
        "vestige-migrate repair",
        "give --fix-it",
        "vestige migrate server restart",
    ):
        assert bool(unknown(text)) is (text != "vestige migrate server restart"), text
    assert unknown("run vestige migrate verify, or vestige-migrate copy --snapshot") == set()
    assert {"copy", "verify", "demo", "server", "server stop"} <= COMMANDS
    assert "reembed" not in COMMANDS


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_every_command_in_the_documentation_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert {each for each in unknown(text) if not each.startswith("--")} == set()


def test_a_mismatch_of_models_says_what_can_be_done_about_it() -> None:
    one, other = ModelSignature("one", 8, "a"), ModelSignature("other", 9, "b")
    for other_role, role, words in (
        ("embedder", "source", "Let Vestige re-embed the source with other and copy again, or run this command again"),
        ("destination", "source", "Let Vestige re-embed the source with other and copy again, or copy into a new"),
        ("destination", "embedder", "Name the embedder that the destination has vectors of, other, or copy into a new"),
    ):
        assert words in str(ModelMismatch(one, other, other_role, role))
