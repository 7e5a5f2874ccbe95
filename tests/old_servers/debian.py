"""PostgreSQL with TLS, which neither the bundled server nor the old ones have: Debian's, completed with pgvector.

Debian 13 has a package of pgvector (`postgresql-17-pgvector`); to Debian 12's PostgreSQL 15 comes the library of the
old server with the same major version, which is what a library has to be built for.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.old_servers.wheels import WHEELS, NotToBeHad, Wheel, installed

_LIB, _SHARE = Path("/usr/lib/postgresql"), Path("/usr/share/postgresql")
_VECTOR = Path("share/postgresql/extension")


def usable() -> tuple[Path, Wheel | None] | None:
    """The newest of Debian's servers that runs here, and the wheel whose pgvector it needs, if any."""
    for root in sorted(_LIB.glob("*"), key=lambda root: int(root.name) if root.name.isdigit() else 0, reverse=True):
        if not _runs(root):
            continue
        if (root / "lib" / "vector.so").exists():
            return root, None
        wheel = next((wheel for release, wheel in WHEELS.items() if release.split(".")[0] == root.name), None)
        if wheel is not None:
            return root, wheel
    return None


def with_tls(folder: Path) -> Path:
    """The folder of its programs: in this folder where they had to be completed. Raises `NotToBeHad`."""
    found = usable()
    if found is None:
        raise NotToBeHad("PostgreSQL with TLS and pgvector: apt-get install postgresql-17-pgvector, or postgresql-15")
    root, wheel = found
    return root if wheel is None else _completed(root, installed(wheel, folder), folder)


def _runs(root: Path) -> bool:
    """Whether its libraries are there, too."""
    program = root / "bin" / "postgres"
    return program.exists() and subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0


def _completed(root: Path, wheel: Path, folder: Path) -> Path:
    """A copy of Debian's, with the wheel's pgvector. The programs look for the rest by its place relative to theirs."""
    copied = folder / "usr" / "lib" / "postgresql" / root.name
    shared = folder / "usr" / "share" / "postgresql" / root.name
    shutil.copytree(root, copied, ignore=shutil.ignore_patterns("bitcode", "llvmjit*", "pgxs"))
    shutil.copytree(_SHARE / root.name, shared)
    shutil.copy(wheel / "lib" / "postgresql" / "vector.so", copied / "lib")
    for file in (wheel / _VECTOR).glob("vector*"):
        shutil.copy(file, shared / "extension")
    return copied


if __name__ == "__main__":  # whether there is one
    sys.exit(usable() is None)
