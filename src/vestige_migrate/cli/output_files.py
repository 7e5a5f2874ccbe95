"""Where a command may write its report and its log. Asking touches nothing: no file is made, opened or changed.

An output is refused where it is an input of the run, under whatever name (a link, another spelling, a descriptor),
where it lies in a folder that the program uses, and where another account of the host decides what is written to.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from vestige_migrate.errors import PlanError
from vestige_migrate.paths import absolute, expanded, shown

Identity = tuple[int, int]
"""Device and inode: what a file is known by, whatever it is called."""
Entry = tuple[Identity, str]
"""A name in a folder, for a file that need not be there yet."""

_MOST_LINKS = 40
"""As many as Linux follows (path_resolution(7))."""
_DESCRIPTORS = re.compile(r"/dev/fd|/proc/(\d+)(?:/task/\d+)?/fd")
"""Folders whose names are the numbers of open files."""
_DATABASE_STARTS = (
    b"SQLite format 3\0",
    b"\x37\x7f\x06\x82",
    b"\x37\x7f\x06\x83",
    b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7",
)
"""How a database, a WAL (two byte orders) and a rollback journal begin (https://sqlite.org/fileformat2.html)."""
_START_BYTES = 65_536
_PORTABLE = re.compile(rb'"archiveFormat"\s*:\s*"vestige\.portable\.')
"""By which a portable archive is known; Vestige writes it at the very beginning."""
_SHARED = stat.S_IWOTH
_CLUSTER = "PG_VERSION"
"""What a data directory of PostgreSQL has in it."""


@dataclass(frozen=True)
class Used:
    """A file or folder of the run that no output may be, and what it is to the run ("the source")."""

    path: Path
    what: str


@dataclass(frozen=True)
class InUse:
    """What a run reads, and the folders it uses. `folders` are not written into at any depth."""

    files: tuple[Used, ...] = ()
    folders: tuple[Used, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where an option's path leads once every link is followed: a name in a folder, or an open file of ours."""

    option: str
    given: str
    folder: Path
    name: str
    descriptor: int | None = None

    @property
    def path(self) -> Path:
        return self.folder / self.name

    def refused(self, why: str) -> PlanError:
        """The error for this place."""
        return PlanError(f"{self.option} {shown(Path(self.given))} {why}")

    def look(self) -> os.stat_result | None:
        """What is there now; None where nothing is. Raises OSError."""
        if self.descriptor is not None:
            return os.fstat(self.descriptor)
        try:
            return self.path.lstat()
        except FileNotFoundError:
            return None


def accept(option: str, path: str, in_use: InUse) -> Place:
    """The place of this output. Raises `PlanError` where it may not be written to."""
    place = _find(option, path)
    check(place, in_use)
    return place


def check(place: Place, in_use: InUse) -> None:
    """Raises `PlanError` where the place is an input, in a folder that is in use, or not ours to write to."""
    try:
        found = place.look()
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise place.refused("cannot be written: Is a directory")
        _check_in_use(place, in_use, found)
        if found is None:
            return
        if stat.S_ISSOCK(found.st_mode):
            raise place.refused("cannot be written: it is a socket; give a file, or a pipe")
        if stat.S_ISREG(found.st_mode):
            _check_regular(place, found)
    except OSError as error:
        raise place.refused(f"cannot be written: {error.strerror}") from None


def check_apart(one: Place, other: Place) -> None:
    """Raises `PlanError` where two outputs are one file or pipe. A device takes what comes (`/dev/null`)."""
    found, beside = one.look(), other.look()
    if found is None or beside is None:
        same = found is beside and _entry(one.path) == _entry(other.path)
    else:
        same = os.path.samestat(found, beside) and not stat.S_ISCHR(found.st_mode)
    if same:
        raise other.refused(f"is the file of {one.option} too: give each a path of its own")


def is_input(found: os.stat_result, in_use: InUse) -> Used | None:
    """Which input this open file is; None where it is none of them."""
    same = (used for used in in_use.files if identity(used.path) == (found.st_dev, found.st_ino))
    return next(same, None)


def identity(path: Path) -> Identity | None:
    """Device and inode of what the path leads to; None where it leads nowhere."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _find(option: str, given: str) -> Place:
    start = Place(option, given, Path(), "")
    path = absolute(expanded(given), option)
    try:
        return _follow(start, path)
    except OSError as error:
        raise start.refused(f"cannot be written: {error.strerror}") from None


def _follow(start: Place, path: Path) -> Place:
    """Follows every link as the system does, so that each can be looked at; the last name need not exist."""
    folder = Path(path.anchor)
    waiting = list(path.parts[:0:-1])
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            folder = folder.parent
            continue
        if not waiting and (number := _descriptor(start, folder, part)) is not None:
            return Place(start.option, start.given, folder, part, number)
        try:
            found = (folder / part).lstat()
        except FileNotFoundError:
            if waiting:
                raise
            return Place(start.option, start.given, folder, part)
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            _check_link(start, folder, part, found, last=not waiting)
            target = (folder / part).readlink()
            if target.is_absolute():
                folder = Path(target.anchor)
            waiting += [name for name in reversed(target.parts) if name != target.anchor]
        elif waiting:
            folder = folder / part
        else:
            return Place(start.option, start.given, folder, part)
    raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))  # the path ends in `..` or is the root


def _descriptor(start: Place, folder: Path, name: str) -> int | None:
    """The number of an open file of ours that this is a name for; None where it is an ordinary path."""
    found = _DESCRIPTORS.fullmatch(str(folder))
    if found is None or not name.isdecimal():
        return None
    if found[1] not in (None, str(os.getpid())):
        raise start.refused("is an open file of another process: give the path of the file itself")
    number = int(name)
    import fcntl  # not on every system, as these folders are not

    try:
        mode = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
    except (OSError, OverflowError):
        raise start.refused(f"cannot be written: descriptor {name} is not open") from None
    if mode == os.O_RDONLY:
        raise start.refused(f"cannot be written: descriptor {name} is open for reading only")
    return number


def _check_link(start: Place, folder: Path, name: str, link: os.stat_result, last: bool) -> None:
    """Refuses a link of somebody else's: whoever made it decides where we write, with our rights.

    Links in the folders of the path count where anybody may make one, which is Linux's own rule for such folders
    (`fs.protected_symlinks`, proc_sys_fs(5)).
    """
    if link.st_uid in (os.geteuid(), 0):
        return
    around = folder.stat()
    if last or (around.st_mode & _SHARED and link.st_uid != around.st_uid):
        raise start.refused(
            f"leads through {folder / name}, a symbolic link of another account: give the path of the file itself"
        )


def _check_in_use(place: Place, in_use: InUse, found: os.stat_result | None) -> None:
    mine = (found.st_dev, found.st_ino) if found is not None else None
    entry = _entry(place.path) if place.descriptor is None else None
    for used in in_use.files:
        named = entry is not None and entry in _entries(used.path)
        if named or (mine is not None and mine == identity(used.path)):
            raise place.refused(
                f"is {used.what} ({shown(used.path)}): writing there would destroy it. Give another path"
            )
    if place.descriptor is not None:
        return
    above = [identity(folder) for folder in (place.path, *place.path.parents)]
    for used in in_use.folders:
        folder = identity(used.path)
        if (folder is not None and folder in above) or _will_be(place.path, Path(os.path.realpath(used.path))):
            raise place.refused(f"lies in {used.what} ({shown(used.path)}): give a path elsewhere")
    for folder_above in place.path.parents:
        if (folder_above / _CLUSTER).is_file():
            raise place.refused(
                f"lies in a data directory of PostgreSQL ({shown(folder_above)}): give a path elsewhere"
            )


def _will_be(path: Path, folder: Path) -> bool:
    """Whether the path is that of a folder which is still to be made, or of one above it."""
    return _folded(str(path)) in {_folded(str(each)) for each in (folder, *folder.parents)}


def _entries(path: Path) -> list[Entry]:
    """The names that a file is or would be found by: as given, and where links lead."""
    real = Path(os.path.realpath(path))
    return [entry for each in (path, real) if (entry := _entry(each)) is not None]


def _entry(path: Path) -> Entry | None:
    folder = identity(path.parent)
    return (folder, _folded(path.name)) if folder is not None else None


def _folded(name: str) -> str:
    """Names that some file system takes for one (upper and lower case, composed accents) are one here everywhere."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _check_regular(place: Place, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise place.refused(
            f"belongs to another account (user id {found.st_uid}), who could read what is written there: give another "
            "path, or remove the file first"
        )
    if place.descriptor is not None or not found.st_size:
        return
    start = _start_of(place.path)
    if start.startswith(_DATABASE_STARTS):
        raise place.refused(
            "is an SQLite database, or the log of one: writing there would destroy it. Give another path"
        )
    if _PORTABLE.search(start):
        raise place.refused(
            "is a portable archive of Vestige, and may be the only one of a memory: writing there would destroy it. "
            "Give another path"
        )
    if b"\0" in start:
        raise place.refused(
            "is no text, so it is neither a report nor a log, and may be an encrypted or packed memory: writing there "
            "would destroy it. Give another path"
        )


def _start_of(path: Path) -> bytes:
    """By which a memory is known that this run does not read, such as a backup: one that is encrypted or packed has a
    NUL among so many bytes, and no text has one."""
    try:
        with path.open("rb") as file:
            return file.read(_START_BYTES)
    except PermissionError:
        return b""  # a file that may be written and not read
