"""Where Vestige keeps its files (source-schemas.md; the `directories` crate's project directories)."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from vestige_migrate.errors import PlanError

DATA_DIR_VARIABLE = "VESTIGE_DATA_DIR"
DATABASE_NAME = "vestige.db"
SERVER_DIRECTORY = "postgres"
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


def vestige_data_dir() -> Path:
    """`$VESTIGE_DATA_DIR`, else the platform's default. Raises `PlanError` where neither leads anywhere."""
    given = os.environ.get(DATA_DIR_VARIABLE)
    if given:
        folder = expanded(given)
        check_reachable(folder, DATA_DIR_VARIABLE)
        return folder
    if sys.platform == "darwin":
        return _home() / "Library" / "Application Support" / "com.vestige.core"
    if sys.platform == "win32":
        roaming = os.environ.get("APPDATA")
        return (Path(roaming) if roaming else _home() / "AppData" / "Roaming") / "vestige" / "core"
    shared = os.environ.get("XDG_DATA_HOME")
    return (Path(shared) if shared else _home() / ".local" / "share") / "vestige" / "core"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # no HOME, and a user id that has no entry in the system's list of users
        raise PlanError(
            f"there is no home directory to find Vestige's data in: set HOME or {DATA_DIR_VARIABLE}, "
            "or say where with --sqlite-path and --postgres-url"
        ) from None


def default_database() -> Path:
    """Vestige's own file."""
    return vestige_data_dir() / DATABASE_NAME


def default_server_directory() -> Path:
    """The data directory of the bundled PostgreSQL."""
    return vestige_data_dir() / SERVER_DIRECTORY
