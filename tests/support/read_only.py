"""Folders that nobody may write to, root included, and copies by a user whom that binds.

Tests often run as root, whom file modes do not bind. There are two ways that do: the immutable attribute (`chattr +i`,
where the file system and the container allow it), and a copy that runs as another user. Where neither works there is
no such test, and that is a failure, not a skip.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from tests.support.in_process import answered

NOBODY = 65534
_WAIT_SECONDS = 120


@dataclass(frozen=True)
class ReadOnlyFolder:
    """A folder of the test's own that `locked` makes read-only, files and all, by `way`."""

    path: Path
    way: str
    database: str

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Read-only for the length of the context; proved by trying to write."""
        self._lock(True)
        try:
            self._prove()
            yield
        finally:
            self._lock(False)

    def copy(self, source: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """`vestige-migrate copy` by a user whom the lock binds; its report is on standard output."""
        code = "from vestige_migrate.cli import vestige_migrate; vestige_migrate()"
        where = ("copy", "--sqlite-path", str(source), "--postgres-url", self.database)
        arguments = (*where, "--workers", "2", "--no-progress", "--report", "-", *options)
        if self._user() is None:
            return answered(arguments, self._environment(), Path("/"))
        return self.run_python(code, *arguments)

    def run_python(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The code, as a user whom the lock binds."""
        user = self._user()
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            timeout=_WAIT_SECONDS,
            check=False,
            cwd="/",
            env=self._environment(),
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VESTIGE_")}
        path = os.pathsep.join(sys.path)
        return {**kept, "PYTHONPATH": path, "HOME": "/nowhere", "PYTHONDONTWRITEBYTECODE": "1"}

    def _user(self) -> int | None:
        """Who runs the copy: the owner of the server's socket, who alone may use it, else nobody."""
        if self.way != "another user":
            return None
        host = str(conninfo_to_dict(self.database).get("host", ""))
        owner = Path(host).stat().st_uid if host.startswith("/") else NOBODY
        return owner or NOBODY

    def _lock(self, lock: bool) -> None:
        if self.way == "immutable":
            _chattr("+i" if lock else "-i", self.path)
            return
        for item in self.path.rglob("*"):
            item.chmod(0o444 if lock else 0o644)
        self.path.chmod(0o555 if lock else 0o755)

    def _prove(self) -> None:
        attempts = [(self.path / "probe", "x"), *((item, "r+b") for item in self.path.iterdir())]
        if self._user() is None:
            opened = [path for path, mode in attempts if _opens(path, mode)]
        else:
            calls = [f"open({str(path)!r}, {mode!r})" for path, mode in attempts]
            opened = [
                path for (path, _), call in zip(attempts, calls, strict=True) if not self.run_python(call).returncode
            ]
        assert opened == [], "not read-only"


def _opens(path: Path, mode: str) -> bool:
    try:
        path.open(mode).close()
    except OSError:
        return False
    return True


def report(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON report of a copy that went well."""
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def ways() -> list[str]:
    """The ways to make a folder read-only here. Raises where there is none."""
    if os.geteuid() != 0:
        return ["modes"]
    found = ["immutable"] if _chattr_works() else []
    if _another_user_works():
        found.append("another user")
    if not found:
        raise RuntimeError("root cannot make a folder read-only here: neither chattr +i nor another user works")
    return found


@contextmanager
def read_only_folder(way: str, database: str) -> Iterator[ReadOnlyFolder]:
    """A folder that every user can reach, which pytest's own are not."""
    path = Path(tempfile.mkdtemp(prefix="vestige-read-only-"))
    try:
        path.chmod(0o755)
        yield ReadOnlyFolder(path, way, database)
    finally:
        shutil.rmtree(path)


def _chattr(flag: str, path: Path) -> bool:
    done = subprocess.run(["chattr", "-R", flag, path], capture_output=True, check=False)
    return done.returncode == 0


def _chattr_works() -> bool:
    if shutil.which("chattr") is None:
        return False
    with tempfile.TemporaryDirectory(prefix="vestige-read-only-") as directory:
        works = _chattr("+i", Path(directory))
        _chattr("-i", Path(directory))
    return works


def _another_user_works() -> bool:
    """Whether another user may be become, and may read this Python and this code (not where they lie in /root)."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", "import vestige_migrate"],
            capture_output=True, check=False, cwd="/", env=environment, user=NOBODY, group=NOBODY, extra_groups=[],
        )  # fmt: skip
    except (PermissionError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
