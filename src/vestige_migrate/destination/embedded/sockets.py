"""The folder of a server's socket: one that only its account can use, wherever it lies.

Usually it is the data directory. A Unix socket's path may have 107 bytes (Linux; 103 on macOS), and libpq divides
`host` at commas, so that some data directories will not do: then it is a short folder of our own.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vestige_migrate.destination.embedded.account import Account, can, is_root
from vestige_migrate.destination.embedded.address import PORT
from vestige_migrate.destination.embedded.files import (
    OWNER_ONLY,
    is_closed_folder_of,
    is_safe_way_to,
    make_folder,
    read_text,
    replace_file,
)
from vestige_migrate.destination.embedded.state import RUN, make_root_folder
from vestige_migrate.errors import DestinationUnusable

REMEMBERED = "vestige.sockets"
_LONGEST = 103 if sys.platform == "darwin" else 107
_NAME = f"/.s.PGSQL.{PORT}"
_ODD = re.compile("[\x00-\x1f\x7f,\"'\\\\\udc80-\udcff]")
"""Not in a socket's path: what libpq or the server's settings would divide or quote, and bytes that are no text."""


def choose(data: Path, account: Account) -> Path:
    """The folder for the socket of a server that is to be started; made where it is missing, and remembered.

    Raises `DestinationUnusable` where there is no safe place.
    """
    folder = _chosen(data, account)
    replace_file(data / REMEMBERED, f"{folder}\n", account)
    return folder


def remembered(data: Path) -> Path | None:
    """The folder that the last server of this data directory had."""
    with suppress(OSError):
        text = (read_text(data / REMEMBERED) or "").rstrip("\n")
        return Path(text) if text.startswith("/") else None
    return None


def is_safe(folder: Path, account: Account) -> bool:
    """Whether it is a folder of the account's that nobody else can use or exchange."""
    return is_closed_folder_of(folder, account) and is_safe_way_to(folder, account)


def release(folder: Path, data: Path) -> None:
    """Removes a folder of our own once its server has stopped; the data directory stays."""
    if folder != data and folder.name.startswith(_PREFIX) and not folder.is_symlink():
        with suppress(OSError):
            folder.rmdir()


_PREFIX = "vestige-"


def _chosen(data: Path, account: Account) -> Path:
    if _fits(data) and is_safe(data, account):
        return data
    known = remembered(data)
    if known is not None and known != data and _fits(known) and is_safe(known, account):
        return known
    name = f"{_PREFIX}{hashlib.sha256(os.fsencode(data)).hexdigest()[:12]}"
    for parent in _own_parents(account):
        folder = parent / name
        with suppress(OSError):
            make_folder(folder, account)
        if _fits(folder) and is_safe(folder, account):
            return folder
    for parent in _shared_parents():
        made = _made_in(parent, account)
        if made is not None:
            return made
    raise DestinationUnusable(
        f"there is no folder for the server's socket: the path of {data} is too long for one, or others can change the "
        "folders above it, and so it is with TMPDIR, /tmp and /var/tmp. Give a data directory with a path of less than "
        f"{_LONGEST - len(_NAME)} bytes with --postgres-url embedded:DIR"
    )


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder)) + len(_NAME) <= _LONGEST and _ODD.search(str(folder)) is None


def _own_parents(account: Account) -> Iterator[Path]:
    """Folders for sockets that nobody else can write to."""
    if is_root():
        with suppress(OSError, DestinationUnusable):
            make_root_folder(RUN)
            yield RUN
        return
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if given.startswith("/") and is_closed_folder_of(Path(given), account):
        parent = Path(given) / "vestige-migrate"
        with suppress(OSError):
            make_folder(parent, account)
        if is_closed_folder_of(parent, account):
            yield parent


def _shared_parents() -> Iterator[Path]:
    with suppress(OSError):
        yield Path(tempfile.gettempdir()).resolve()
    yield from (Path("/tmp").resolve(), Path("/var/tmp").resolve())


def _made_in(parent: Path, account: Account) -> Path | None:
    """A folder with a name that nobody can know beforehand; None where this parent will not do."""
    if not _fits(parent / f"{_PREFIX}12345678") or not is_safe_way_to(parent / _PREFIX, account):
        return None
    with suppress(OSError):
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        if account.uid != os.geteuid():
            if not can(account, "-x", parent):
                folder.rmdir()
                return None
            os.chown(folder, account.uid, account.gid, follow_symlinks=False)
        folder.chmod(OWNER_ONLY)
        return folder
    return None
