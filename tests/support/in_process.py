"""A command of the program called in this process: no interpreter is started for it."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from unittest import mock

import pytest
from loguru import logger
from typer.main import get_command

from tests.conftest import CommandLine
from vestige_migrate.cli.app import answer, migrate, root
from vestige_migrate.errors import MigrationError

NOWHERE = "postgresql://me@127.0.0.1:1/nothing?connect_timeout=2"
"""A destination that refuses every connection."""


def called(*arguments: str | Path) -> Any:
    """What the command returns (its exit code). Raises what it raises."""
    try:
        return get_command(migrate).main([str(each) for each in arguments], standalone_mode=False)
    finally:
        logger.remove()


def refusal(*arguments: str | Path) -> MigrationError:
    """The error that the command ends with."""
    with pytest.raises(MigrationError) as caught:
        called(*arguments)
    return caught.value


def answered(
    command: CommandLine, *arguments: str | Path, script: str = "vestige-migrate", **environment: str
) -> CompletedProcess[str]:
    """What `command(...)` gives, but for what only a process of its own can show."""
    out, err = io.StringIO(), io.StringIO()
    argv = [script, *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", argv),
        mock.patch.dict(os.environ, command.environment(**environment), clear=True),
        contextlib.chdir(command.home),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = answer(root if script == "vestige" else migrate)
        finally:
            logger.remove()
    return CompletedProcess(argv, code, out.getvalue(), err.getvalue())
