"""Loaded into the fork server alone: what that process does when the last of ours has ended.

A coordinator that is killed cannot remove the folder of the fork server's socket. The fork server outlives it, until
the last worker is gone.
"""

from __future__ import annotations

import atexit
import gc
import os
import shutil

_COLLECT_EVERY = 20_000
"""Objects between two looks for garbage. A chunk of rows makes more than Python's 700, none of them garbage before it
is written: looking took 5% of a worker's CPU."""

FOLDER_VARIABLE = "_VESTIGE_MIGRATE_SOCKET_FOLDER"
"""Set for the fork server alone; whoever else imports this module (for this name) is not changed by it."""

_folder = os.environ.get(FOLDER_VARIABLE)
if _folder is not None:
    gc.set_threshold(_COLLECT_EVERY)  # workers are forks: they have it too
    # Runs last. An interpreter that takes itself apart needs 0.1 s of CPU more, and nobody looks at how this one ends.
    atexit.register(os._exit, 0)
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)
