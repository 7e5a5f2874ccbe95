"""Paths as people give them and as they are shown to people."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vestige_migrate.errors import PlanError

_URL = re.compile(r"postgres(ql)?(\+\w+)?:/", re.IGNORECASE)
"""A path has lost the second slash."""


def expanded(path: str | Path) -> Path:
    """The path with `~` and `~user` replaced; as it is where there is no such user, for then it names no home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def absolute(path: Path, option: str) -> Path:
    """The path from the root on, with its links as they are.

    Raises `PlanError`, which names the option, where the path is relative and the working folder is gone.
    """
    check_reachable(path, option)
    return path.absolute()


def check_reachable(path: Path, option: str) -> None:
    """Raises `PlanError` where the path is relative to a working folder that is gone or cannot be entered, and where it
    is no path but a server's URL: folders of that name would be made, and its password would be in them."""
    if _URL.match(str(path)):
        raise PlanError(f"{option} takes a path, and was given the URL of a server: that goes to --postgres-url")
    if not path.is_absolute() and not can_enter_working_folder():
        raise PlanError(
            f"{option} {shown(path)} is a relative path, and the folder that this program was started in is gone or "
            "may not be entered: give an absolute path, or change to a folder that is there"
        )


def can_enter_working_folder() -> bool:
    """Whether its name leads into it: to one that was removed, or that another account has closed, it does not."""
    try:
        os.stat(f"{Path.cwd()}/.")  # noqa: PTH116  # `Path` drops the dot, which takes the right to enter
    except OSError:
        return False
    return True


def shown(path: Path) -> str:
    """The path as text for people and reports: bytes of a name that are no UTF-8 become U+FFFD."""
    return os.fsencode(path).decode(errors="replace")
