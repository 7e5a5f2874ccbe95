"""A command of the program called in this process: no interpreter is started for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from typer.main import get_command

from vestige_migrate.cli.app import migrate
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
