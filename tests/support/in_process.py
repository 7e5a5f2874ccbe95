"""A command of the program called in this process: no interpreter is started for it."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO, Any
from unittest import mock

import pytest
from loguru import logger
from typer.main import get_command

from vestige_migrate.cli.app import answer, migrate, root
from vestige_migrate.errors import MigrationError

NOWHERE = "postgresql://me@127.0.0.1:1/nothing?connect_timeout=2"
"""A destination that refuses every connection."""


def called(*arguments: str | Path) -> Any:
    """What the command returns (its exit code). Raises what it raises."""
    try:
        return _command().main([str(each) for each in arguments], standalone_mode=False)
    finally:
        logger.remove()


@functools.cache
def _command() -> Any:
    """Made once: making it reads the type of every option anew."""
    return get_command(migrate)


def refusal(*arguments: str | Path) -> MigrationError:
    """The error that the command ends with."""
    with pytest.raises(MigrationError) as caught:
        called(*arguments)
    return caught.value


def answered(
    arguments: Sequence[str], environment: dict[str, str], folder: Path, script: str = "vestige-migrate"
) -> CompletedProcess[str]:
    """What the console script gives with these arguments, but for what only a process of its own can show."""
    argv = [script, *arguments]
    with (
        _stream() as out,
        _stream() as err,
        mock.patch.object(sys, "argv", argv),
        mock.patch.dict(os.environ, environment, clear=True),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = answer(root if script == "vestige" else migrate)
        finally:
            logger.remove()
        return CompletedProcess(argv, code, _written(out), _written(err))


def _stream() -> IO[str]:
    """A file, because a report may be written past Python's stream, to its descriptor."""
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace")


def _written(stream: IO[str]) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()
