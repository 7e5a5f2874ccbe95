"""root's own folders of this program, for what the server's account cannot reach elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vestige_migrate.errors import DestinationUnusable

STATE = Path("/var/lib/vestige-migrate")
RUN = Path("/run/vestige-migrate")
_PASSABLE = 0o711


def make_root_folder(path: Path) -> None:
    """Makes a folder of root that others can pass and not list; one that is there has to be root's to write to only.

    Raises `DestinationUnusable` where it is not, and OSError where it cannot be made.
    """
    try:
        path.mkdir(_PASSABLE)
        path.chmod(_PASSABLE)  # whatever the umask
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise DestinationUnusable(
                f"{path} is not a folder of root's own that only root can write to, so nothing is put there: look who "
                "made it, and remove it or put it right"
            ) from None
