"""Where Vestige keeps its file and this program its bundled server, where nobody says.

Vestige asks the Rust crate `directories` for `ProjectDirs::from("com", "vestige", "core").data_dir()`; its pages have
named other folders, and people followed them. So every one of them is looked in. Where more than one has a file, only
its owner can say which is meant: it is asked for, because a copy of the wrong one would look like success.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from vestige_migrate.errors import PlanError, SourceUnusable
from vestige_migrate.paths import can_enter_working_folder, check_reachable, expanded, shown
from vestige_migrate.vestige4 import DATABASE_NAME, find_log, no_database

DATA_DIR_VARIABLE = "VESTIGE_DATA_DIR"
SERVER_DIRECTORY = "postgres"
DEMO_DIRECTORY = "migrate-demo"
_OF_PEOPLE = ".vestige"
"""In the home directory or in a project: what Vestige's pages give `--data-dir` as an example."""


def vestige_data_dir() -> Path:
    """`$VESTIGE_DATA_DIR`, else what `directories` says. Raises `PlanError` where neither leads anywhere.

    https://docs.rs/directories/latest/directories/struct.ProjectDirs.html#method.data_dir
    """
    return _given_data_dir() or _platform_data_dir()


def _given_data_dir() -> Path | None:
    given = os.environ.get(DATA_DIR_VARIABLE)
    if not given:
        return None
    folder = expanded(given)
    check_reachable(folder, DATA_DIR_VARIABLE)
    return folder


def _platform_data_dir() -> Path:
    if sys.platform == "darwin":
        return _home() / "Library" / "Application Support" / "com.vestige.core"
    if sys.platform == "win32":
        return _roaming() / "vestige" / "core" / "data"
    return _shared() / "core"


def _earlier_data_dirs() -> list[Path]:
    """What earlier versions of this program took for Vestige's folder, as Vestige's pages said."""
    if sys.platform == "darwin":
        return []
    if sys.platform == "win32":
        return [_roaming() / "vestige" / "core"]
    return [_shared() / "vestige" / "core"]


def _other_data_dirs() -> list[Path]:
    """Folders where people have it because a page said so, the current project's among them."""
    home = _home()
    found = []
    if sys.platform not in ("darwin", "win32"):
        # A client that was started from a desktop has another XDG_DATA_HOME than a shell, or none.
        found += [home / ".local" / "share" / "core", home / ".local" / "share" / "vestige" / "core"]
    found.append(home / _OF_PEOPLE)
    if can_enter_working_folder():
        found.append(Path.cwd() / _OF_PEOPLE)
    return found


def _shared() -> Path:
    """`$XDG_DATA_HOME` or its default; one that is no absolute path does not count, for `directories` as well."""
    shared = os.environ.get("XDG_DATA_HOME", "")
    return Path(shared) if os.path.isabs(shared) else _home() / ".local" / "share"  # noqa: PTH117


def _roaming() -> Path:
    roaming = os.environ.get("APPDATA")
    return Path(roaming) if roaming else _home() / "AppData" / "Roaming"


def _home() -> Path:
    try:
        # As `directories` has it, an empty HOME is none; pathlib would take it for the root.
        return Path.home() if os.environ.get("HOME") != "" else _home_of_account()
    except (RuntimeError, KeyError):  # no HOME, and a user id that has no entry in the system's list of users
        raise PlanError(
            f"there is no home directory to find Vestige's data in: set HOME or {DATA_DIR_VARIABLE}, "
            "or say where with --sqlite-path and --postgres-url"
        ) from None


def _home_of_account() -> Path:
    import pwd  # not on Windows, where no HOME counts

    return Path(pwd.getpwuid(os.getuid()).pw_dir)


def database_places() -> list[Path]:
    """Every path that Vestige's own file may have, the likeliest first. Raises `PlanError` where there is none."""
    given = _given_data_dir()
    if given is not None:
        return [given / DATABASE_NAME]
    folders = [_platform_data_dir(), *_earlier_data_dirs(), *_other_data_dirs()]
    return [folder / DATABASE_NAME for folder in dict.fromkeys(folders)]


def default_database() -> Path:
    """Vestige's own file.

    Raises `PlanError` where there are several, and `SourceUnusable` where there is none; each names where it was looked
    for. What `$VESTIGE_DATA_DIR` says is not doubted.
    """
    places = database_places()
    if len(places) == 1:
        return places[0]
    found = _different(place for place in places if _is_there(place))
    if len(found) == 1:
        return found[0]
    if found:
        raise PlanError(
            f"Vestige's database was found in several places: {_listed(found)}. Say which is meant with --sqlite-path "
            "(once for each where it is all of them)"
        )
    raise SourceUnusable(_nothing_found(places))


def likely_database() -> Path:
    """For an example: the first that is there, else where it would be."""
    places = database_places()
    return next((place for place in places if _is_there(place)), places[0])


def _nothing_found(places: Sequence[Path]) -> str:
    for place in places:
        log = find_log(place.parent)
        if log is not None:
            return no_database(log)
    return (
        f"no Vestige database was found. Looked for {_listed(places)}: give yours with --sqlite-path, or its folder in "
        f"{DATA_DIR_VARIABLE}"
    )


def default_server_directory() -> Path:
    """The data directory of the bundled PostgreSQL. Raises `PlanError` where there are two."""
    return _kept(
        SERVER_DIRECTORY,
        "the bundled PostgreSQL has two data directories",
        "--postgres-url embedded:DIR, or DIR for the command server",
    )


def default_demo_directory() -> Path:
    """The folder of the demo. Raises `PlanError` where there are two."""
    return _kept(DEMO_DIRECTORY, "there are two demos", "--dir")


def server_places() -> list[Path]:
    """Where the bundled server's data is, or was for an earlier version. Raises `PlanError` where there is no home."""
    return [folder / SERVER_DIRECTORY for folder in _own_data_dirs()]


def _own_data_dirs() -> list[Path]:
    given = _given_data_dir()
    return [given] if given is not None else [_platform_data_dir(), *_earlier_data_dirs()]


def _kept(name: str, two: str, option: str) -> Path:
    """Where an earlier version put it, if it is there and only there: a second one would look like an empty memory."""
    places = [folder / name for folder in _own_data_dirs()]
    used = _different(place for place in places if _holds_something(place))
    if len(used) > 1:
        raise PlanError(
            f"{two}, {_listed(used)} (earlier versions of this program made the second): say which is meant with "
            f"{option}"
        )
    return used[0] if used else places[0]


def _is_there(place: Path) -> bool:
    """Whether there is anything by that name, or may be: a folder that is closed to us is not passed over."""
    try:
        place.lstat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _holds_something(place: Path) -> bool:
    try:
        with os.scandir(place) as entries:
            return any(True for _ in entries)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _different(places: Iterable[Path]) -> list[Path]:
    """Without those that lead to a file or folder which another one leads to."""
    seen: dict[object, Path] = {}
    for place in places:
        try:
            found = place.stat()
        except OSError:
            seen.setdefault(os.path.realpath(place), place)
        else:
            seen.setdefault((found.st_dev, found.st_ino), place)
    return list(seen.values())


def _listed(places: Sequence[Path]) -> str:
    return ", ".join(shown(place) for place in places)
