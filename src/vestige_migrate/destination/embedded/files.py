"""Files in folders of the server's account, written by root where root starts it.

That account could put a link where a file of ours is expected, so links are never followed, a file with a second name
is never taken, and whole files are written beside their place and renamed.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from vestige_migrate.destination.embedded.account import Account
from vestige_migrate.errors import DestinationUnusable

OWNER_ONLY = 0o700
"""The mode of every folder that the server's data or socket is in."""
_FILE_MODE = 0o600
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def open_own(path: Path, flags: int, account: Account) -> int:
    """A descriptor of a file that belongs to the account, made where it is missing."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(descriptor)
        raise DestinationUnusable(f"{path} is no ordinary file with one name: remove it and run again")
    if found.st_uid != account.uid:
        os.fchown(descriptor, account.uid, account.gid)
    return descriptor


def replace_file(path: Path, text: str, account: Account) -> None:
    """Writes the file whole, whatever has its name now."""
    beside = path.with_name(f".{path.name}.{token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            if account.uid != os.geteuid():
                os.fchown(file.fileno(), account.uid, account.gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def read_text(path: Path) -> str | None:
    """What is in a small file; None where there is none. Links are not followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def make_folder(path: Path, account: Account, mode: int = OWNER_ONLY) -> bool:
    """Makes a folder with this owner and mode; False, and nothing changed, where something is there already."""
    try:
        path.mkdir(OWNER_ONLY)
    except FileExistsError:
        return False
    settle_folder(path, account, mode)
    return True


def settle_folder(path: Path, account: Account | None, mode: int) -> None:
    """Gives a folder that was made a moment ago its owner (None: as it is) and its mode.

    Whoever may write to the folder above could put another in its place meanwhile, of his own with what he wants in
    it, or a link to one: only a folder of ours is changed. Raises `DestinationUnusable`, and OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise DestinationUnusable(
                f"{path} was made a moment ago, and another account has put something else in its place: give a "
                "directory in a folder that only you can write to"
            )
        if account is not None and account.uid != os.geteuid():
            os.fchown(descriptor, account.uid, account.gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def is_closed_folder_of(path: Path, account: Account) -> bool:
    """Whether this is a real folder, no link to one, that only the account can use."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == account.uid and not found.st_mode & 0o077


def is_safe_way_to(path: Path, account: Account) -> bool:
    """Whether nobody but root, we and the account can put something else in the place of this path or a folder above.

    A folder that others may write to will do where it is sticky, as /tmp is: there only owners can rename.
    """
    trusted = {0, os.geteuid(), account.uid}
    for parent in path.parents:
        try:
            found = parent.lstat()
        except OSError:
            return False
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in trusted:
            return False
        if found.st_mode & _OTHERS_WRITE and not found.st_mode & stat.S_ISVTX:
            return False
    return True
