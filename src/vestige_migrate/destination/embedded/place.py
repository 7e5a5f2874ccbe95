"""Where a server's data lies, judged before anything is made, and then made.

As root the server runs as another account, which has to reach its data. Where a folder on the way is closed to it, no
mode is changed: the data goes to a folder of root's own, and the asked path becomes a link to it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from loguru import logger

from vestige_migrate.destination.embedded.account import (
    Account,
    closed_to,
    is_root,
    known_server_account,
    name_of,
)
from vestige_migrate.destination.embedded.files import OWNER_ONLY, make_folder, read_text, settle_folder
from vestige_migrate.destination.embedded.programs import MAJOR
from vestige_migrate.destination.embedded.state import STATE, make_root_folder
from vestige_migrate.errors import DestinationUnusable
from vestige_migrate.paths import shown
from vestige_migrate.shared_folders import make_folders, others_can_exchange

CONFIG = "vestige.conf"
"""Of every data directory that this program made, whichever version of it."""
LOCK = "vestige.lock"
MAKING = ".vestige-making"
SERVERS = STATE / "servers"
_MOST_BYTES = 900
"""PostgreSQL's paths end at 1,024 bytes (MAXPGPATH), with the names of its own files in them."""
_OF_A_HALF = frozenset({
    "PG_VERSION", "base", "global", "pg_commit_ts", "pg_dynshmem", "pg_hba.conf", "pg_ident.conf", "pg_logical",
    "pg_multixact", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat", "pg_stat_tmp", "pg_subtrans",
    "pg_tblspc", "pg_twophase", "pg_wal", "pg_xact", "postgresql.auto.conf", "postgresql.conf", CONFIG,
})  # fmt: skip
"""What PostgreSQL 18's initdb makes (its initdb.c), and our settings. Whole names and no patterns: somebody's
`vestige.db` or `pg_backups` may lie beside them, and what is taken for half a data directory is removed."""
_MAKING = re.compile(rf"{re.escape(MAKING)}-[0-9a-f]+")
_ELSEWHERE = "give another directory with --postgres-url embedded:DIR"


class Content(Enum):
    """What is at a place."""

    NOTHING = "nothing"
    EMPTY = "an empty folder"
    HALF = "a data directory that was not finished"
    DATA = "a data directory"


@dataclass(frozen=True)
class Place:
    """`asked` is the path that was given, `data` where the data directory is or will be."""

    asked: Path
    data: Path
    content: Content
    moved: bool = False
    """Whether the data is in root's own folder because the asked path cannot be reached."""

    @property
    def name(self) -> str:
        """For people: the path that was given, and the other one where that differs."""
        return f"{shown(self.asked)} (in {self.data})" if self.moved else shown(self.asked)


def find_place(asked: Path) -> Place:
    """Judges the place; makes and changes nothing. Raises `DestinationUnusable` where no server can be there."""
    _check_path(asked)
    try:
        real = _real(asked)
        return _found(asked, real)
    except OSError as error:
        raise DestinationUnusable(
            f"{shown(asked)} cannot be looked at ({error.strerror}) by the account {name_of(os.geteuid())}: "
            f"{_ELSEWHERE}"
        ) from None


def _found(asked: Path, real: Path) -> Place:
    own = Place(asked, real, _content(asked, real))
    if not is_root():
        return own
    other = _place_of_root(real)
    if own.content in (Content.NOTHING, Content.EMPTY) and other != real and _is_there(other):
        return Place(asked, other, _content(asked, other), moved=True)
    return replace(own, moved=real.parent == SERVERS)


def _check_path(asked: Path) -> None:
    text = os.fsencode(asked)
    if b"\n" in text or b"\r" in text or b"\0" in text:
        raise DestinationUnusable(
            f"the data directory {str(asked)!r} has a line break in its path, which PostgreSQL's own files cannot "
            f"hold: {_ELSEWHERE}"
        )
    if len(text) > _MOST_BYTES or max(map(len, text.split(b"/"))) > 255:
        raise DestinationUnusable(
            f"the path of the data directory is too long ({len(text)} bytes; at most {_MOST_BYTES}, and 255 for one "
            f"name): {_ELSEWHERE}"
        )


def _real(asked: Path) -> Path:
    """The path behind links. As root only links of root's own are followed at the end of it."""
    with suppress(FileNotFoundError):
        found = asked.lstat()
        if stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, os.geteuid()):
            raise DestinationUnusable(
                f"{shown(asked)} is a link that the account {name_of(found.st_uid)} made: it is not followed. "
                f"{_advice()}"
            )
    try:
        return asked.resolve()
    except RuntimeError:  # Python before 3.13 for links that lead back to themselves
        raise DestinationUnusable(f"{shown(asked)} is a link that leads back to itself: {_ELSEWHERE}") from None


def _advice() -> str:
    return _ELSEWHERE[0].upper() + _ELSEWHERE[1:]


def _place_of_root(real: Path) -> Path:
    """Where the data of a path goes that the server's account cannot reach."""
    if real.parent == SERVERS:
        return real
    name = re.sub(r"[^A-Za-z0-9._-]", "_", real.name)[:32].lstrip(".") or "data"
    return SERVERS / f"{name}-{hashlib.sha256(os.fsencode(real)).hexdigest()[:12]}"


def _is_there(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _content(asked: Path, real: Path) -> Content:
    try:
        found = real.lstat()
    except FileNotFoundError:
        return _nothing(asked, real)
    if not stat.S_ISDIR(found.st_mode):
        raise DestinationUnusable(f"{shown(asked)} is no folder, so that no server's data can be in it: {_ELSEWHERE}")
    _check_owner(asked, found.st_uid)
    names = {entry.name for entry in os.scandir(real)}
    if not names:
        return Content.EMPTY
    if "PG_VERSION" in names:
        return _data(asked, real, names, found.st_uid)
    if LOCK in names and all(name == LOCK or _is_of_a_half(name) for name in names):
        return Content.HALF
    raise DestinationUnusable(
        f"{shown(asked)} is not empty, and is no data directory of the bundled PostgreSQL: it is left as it is. "
        f"{_advice()}"
    )


def _is_of_a_half(name: str) -> bool:
    return name in _OF_A_HALF or _MAKING.fullmatch(name) is not None


def _nothing(asked: Path, real: Path) -> Content:
    above = next(parent for parent in real.parents if parent.exists())
    if not above.is_dir():
        raise DestinationUnusable(f"{shown(asked)} cannot be made: {shown(above)} is no folder. {_advice()}")
    if not os.access(above, os.W_OK | os.X_OK):
        raise DestinationUnusable(
            f"{shown(asked)} cannot be made: the account {name_of(os.geteuid())} may not write to {shown(above)}. "
            f"{_advice()}"
        )
    return Content.NOTHING


def _check_owner(asked: Path, owner: int) -> None:
    account = known_server_account()
    if owner == os.geteuid() or (account is not None and owner == account.uid):
        return
    whose = name_of(owner)
    raise DestinationUnusable(
        f"{shown(asked)} belongs to the account {whose}: a server's data is used by one account only. Run this as "
        f"{'root' if whose == 'pgserver' else whose}, or {_ELSEWHERE}"
    )


def _data(asked: Path, real: Path, names: set[str], owner: int) -> Content:
    version = (read_text(real / "PG_VERSION") or "").strip()
    if version != str(MAJOR):
        raise DestinationUnusable(
            f"{shown(asked)} has the data of PostgreSQL {version or '(unknown)'}, and the bundled one is {MAJOR}, "
            f"which cannot open it: it is left as it is. {_advice()}, or start it with the programs of version "
            f"{version or 'its own'} and give its URL"
        )
    if CONFIG not in names:
        raise DestinationUnusable(
            f"{shown(asked)} has data of PostgreSQL {version}, and not from this program ({CONFIG} is missing): its "
            f"settings are left as they are. {_advice()}, or start it as you did before and give its URL"
        )
    if is_root() and owner == os.geteuid():
        raise DestinationUnusable(
            f"{shown(asked)} has a server's data and belongs to root, as whom PostgreSQL refuses to run: it was copied "
            f"or restored without its owner. Run chown -R pgserver:pgserver on it, or {_ELSEWHERE}"
        )
    return Content.DATA


def settle(place: Place, account: Account) -> Place:
    """The place, moved to where the account can reach it. Changes nothing yet."""
    if account.uid == os.geteuid() or place.moved:
        return place
    start = place.data if place.content is not Content.NOTHING else _above(place.data)
    closed = closed_to(account, start.parent if place.content in (Content.EMPTY, Content.HALF) else start)
    has_data = place.content in (Content.DATA, Content.HALF)
    if closed is None and (has_data or not others_can_exchange(_above(place.data), account.uid)):
        return place
    if closed is not None and has_data:
        raise DestinationUnusable(
            f"the server on {shown(place.asked)} runs as the account {account.name}, which cannot pass the folder "
            f"{shown(closed)}: move {shown(place.asked)} to a folder that others may pass, or let them pass this one "
            f"(chmod o+x)"
        )
    other = _place_of_root(place.data)
    if closed is not None:
        why = f"root's server runs as the account {account.name}, which cannot pass the folder {shown(closed)}"
    else:
        why = f"others than root could put other data in its place, since they may write to {shown(_above(place.data))}"
    logger.info("the data of {} goes to {}: {}", shown(place.asked), other, why)
    return replace(place, data=other, moved=True)


def _above(path: Path) -> Path:
    return next(parent for parent in path.parents if parent.exists())


def make_place(place: Place, account: Account) -> bool:
    """Makes the data directory, empty and open to the account only; False where it was there.

    Raises `DestinationUnusable` where it cannot be made.
    """
    try:
        if place.moved:
            make_root_folder(STATE)
            make_root_folder(SERVERS)
        else:
            _make_parents(place.data.parent)
        made = make_folder(place.data, account)
    except OSError as error:
        closed = f": root's server runs as {account.name}, which cannot use {shown(place.asked)}" if place.moved else ""
        raise DestinationUnusable(
            f"the data directory {place.data} cannot be made ({error.strerror}){closed}. {_advice()}"
        ) from None
    if not made:
        _close(place.data, account)
    return made


def _make_parents(folder: Path) -> None:
    for parent in reversed([folder, *folder.parents]):
        with suppress(FileExistsError):
            parent.mkdir(0o755)  # whatever the umask: nobody else may put another data directory there
            if is_root():
                settle_folder(parent, None, 0o711)  # ours, made this moment: the server's account has to pass it


def _close(folder: Path, account: Account) -> None:
    """An empty folder, or an unfinished or older data directory of ours, for the account alone."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(descriptor)
        if found.st_uid not in (os.geteuid(), account.uid):
            raise DestinationUnusable(f"{folder} belongs to the account {name_of(found.st_uid)} now: {_ELSEWHERE}")
        if found.st_uid != account.uid:
            os.fchown(descriptor, account.uid, account.gid)
        if stat.S_IMODE(found.st_mode) != OWNER_ONLY:
            os.fchmod(descriptor, OWNER_ONLY)
    finally:
        os.close(descriptor)


def link(place: Place) -> None:
    """Makes the asked path a link to data that lies elsewhere, where nothing is there."""
    if not place.moved or place.data == place.asked or os.path.lexists(place.asked):
        return
    try:
        make_folders(place.asked.parent)
        place.asked.symlink_to(place.data)
    except FileExistsError:
        return
    except OSError as error:
        logger.warning("{} cannot be made a link to {} ({})", shown(place.asked), place.data, error.strerror)


def clear(place: Place) -> None:
    """Removes what an unfinished data directory holds, but for the lock and whatever came there meanwhile."""
    for entry in os.scandir(place.data):
        if not _is_of_a_half(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            Path(entry.path).unlink()


def unmake(place: Place) -> None:
    """Takes back a data directory that was made a moment ago and came to nothing."""
    if (place.data / "PG_VERSION").exists():
        return
    with suppress(OSError):
        clear(place)
        (place.data / LOCK).unlink(missing_ok=True)
        place.data.rmdir()
        if place.asked.is_symlink() and place.moved:
            place.asked.unlink()
