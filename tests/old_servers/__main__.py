"""Runs pytest with its server an older one: `python -m tests.old_servers 15.5 [pytest's arguments]`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conftest import SERVER_VARIABLE
from tests.old_servers.running import running
from tests.old_servers.wheels import WHEELS, NotToBeHad, installed
from tests.support.server_folder import server_folder


def main() -> int:
    """pytest's exit code; 2 where there is no such server, or it cannot be had."""
    if len(sys.argv) < 2 or sys.argv[1] not in WHEELS:
        sys.stderr.write(f"usage: python -m tests.old_servers {'|'.join(WHEELS)} [pytest's arguments]\n")
        return 2
    wheel = WHEELS[sys.argv[1]]
    # Not both in memory: programs may not be run from there everywhere.
    with server_folder() as folder, tempfile.TemporaryDirectory(prefix="vestige-test-") as programs:
        Path(programs).chmod(0o711)
        try:
            root = installed(wheel, Path(programs))
        except NotToBeHad as error:
            sys.stderr.write(f"{error}\n")
            return 2
        with running(root, folder) as url:
            sys.stdout.write(f"PostgreSQL {wheel.postgresql} with pgvector {wheel.pgvector}\n")
            sys.stdout.flush()
            environment = {**os.environ, SERVER_VARIABLE: url}
            pytest = [sys.executable, "-m", "pytest", *sys.argv[2:]]
            return subprocess.run(pytest, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
