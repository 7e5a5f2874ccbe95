"""PostgreSQL with pgvector as wheels of PyPI bring it: only unpacked, so that any Python can have it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

_PINS = (
    "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--platform", "manylinux2014_x86_64",
    "--only-binary", ":all:", "--no-deps", "--require-hashes",
)  # fmt: skip


@dataclass(frozen=True)
class Wheel:
    """One version of `pgserver` (https://pypi.org/project/pgserver), for CPython 3.11 on x86-64 Linux."""

    version: str
    sha256: str
    postgresql: str
    pgvector: str


WHEELS = {
    wheel.postgresql: wheel
    for wheel in (
        Wheel("0.0.9", "22fd3b19b7e190dd7ad14398c249cec6aefd2cc892d0bfeed7aa2500c085fc99", "15.5", "0.5.1"),
        Wheel("0.1.4", "d595789b47624a3d963aa9aa6359da9be31beb7e61f1a45541953242068b8813", "16.2", "0.6.2"),
    )
}


class NotToBeHad(Exception):
    """The server could not be fetched, with what pip said."""


def installed(wheel: Wheel, folder: Path) -> Path:
    """Fetches a wheel into this folder and unpacks it; returns the folder of PostgreSQL's `bin`, `lib` and `share`.

    Anybody may read and run what is in it. Raises `NotToBeHad`.
    """
    requirement = folder / "requirements.txt"
    requirement.write_text(f"pgserver=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    command: list[str | Path] = [sys.executable, "-m", "pip", "download", "--quiet", *_PINS]
    command += ["--dest", folder, "--requirement", requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [*folder.glob("pgserver-*.whl")]
    if done.returncode != 0 or len(found) != 1:
        raise NotToBeHad(f"PostgreSQL {wheel.postgresql} (pgserver {wheel.version}): {done.stderr.strip()}")
    with zipfile.ZipFile(found[0]) as archive:
        archive.extractall(folder)
    found[0].unlink()
    root = folder / "pgserver" / "pginstall"
    for program in (root / "bin").iterdir():
        program.chmod(0o755)
    return root
