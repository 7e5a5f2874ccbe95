"""Loaded into the fork server alone: what that process does when the last of ours has ended.

A coordinator that is killed cannot remove the folder of the fork server's socket. The fork server outlives it, until
the last worker is gone.
"""

from __future__ import annotations

import atexit
import os
import shutil

FOLDER_VARIABLE = "_VESTIGE_MIGRATE_SOCKET_FOLDER"

_folder = os.environ.get(FOLDER_VARIABLE)
if _folder is not None:
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)
