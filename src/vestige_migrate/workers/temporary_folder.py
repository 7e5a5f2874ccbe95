"""The folder for temporary files. Imports nothing that needs one."""

from __future__ import annotations

import tempfile

from vestige_migrate.errors import HostUnusable

_LONGEST_SOCKET_PATH = 103
"""Bytes of a Unix socket's path on macOS (`sun_path` without its end); Linux takes four more."""
_SOCKET_IN_FOLDER = "/pymp-xxxxxxxx/listener-xxxxxxxx"
"""What `multiprocess` adds to the folder of temporary files."""
LONGEST_FOLDER = _LONGEST_SOCKET_PATH - len(_SOCKET_IN_FOLDER)
"""Bytes of the path of a folder that the workers' socket fits into."""


def usual_folder() -> str:
    """TMPDIR, or where the system has its own. Raises `HostUnusable` where none can be written to.

    To be asked before `multiprocess` is imported, which looks for it then and there (dill does).
    """
    try:
        return tempfile.gettempdir()
    except OSError:
        raise HostUnusable(
            "there is no folder for temporary files (TMPDIR, /tmp and /var/tmp cannot be written to), and the worker "
            "processes need one: set TMPDIR to a folder that can be written to, with a path of less than "
            f"{LONGEST_FOLDER} bytes"
        ) from None
