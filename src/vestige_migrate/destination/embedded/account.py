"""Who runs the bundled server, and what that account can reach. PostgreSQL refuses to run as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vestige_migrate.errors import DestinationUnusable

SERVER_ACCOUNT = "pgserver"
"""Runs the server where root starts it; earlier versions had it from the wheel."""
_NO_LOGIN = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false")
_TOOLS = "/usr/sbin:/sbin:/usr/bin:/bin"


@dataclass(frozen=True)
class Account:
    """An account of this host."""

    name: str
    uid: int
    gid: int


def check_system() -> None:
    """Raises `DestinationUnusable` on a system without Unix sockets that name their peer, which keep others out."""
    if sys.platform == "win32":
        raise DestinationUnusable(
            "the bundled PostgreSQL does not run on Windows, which has no sockets that only one account can use: give "
            "the URL of your own server with --postgres-url, or run vestige-migrate in WSL"
        )


def is_root() -> bool:
    """Whether the server has to run as somebody else."""
    return os.geteuid() == 0


def caller() -> Account:
    """The account of this process. Raises `DestinationUnusable` where it has no name."""
    import pwd

    try:
        entry = pwd.getpwuid(os.geteuid())
    except KeyError:
        raise DestinationUnusable(
            f"the account with the number {os.geteuid()} has no name in the list of users (/etc/passwd), and the "
            "bundled PostgreSQL needs one to tell who connects: add an entry for it, or give the URL of your own "
            "server with --postgres-url"
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def name_of(uid: int) -> str:
    """An account's name, or its number where it has none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"number {uid}"


def known_server_account() -> Account | None:
    """The account that runs the server; None where it is still to be made (as root, the first time)."""
    import pwd

    if not is_root():
        return caller()
    try:
        entry = pwd.getpwnam(SERVER_ACCOUNT)
    except KeyError:
        return None
    if entry.pw_uid == 0:
        raise DestinationUnusable(
            f"the account {SERVER_ACCOUNT} of this host is root under another name, and PostgreSQL refuses to run as "
            "root: give it a number of its own, or run this as an ordinary account"
        )
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def server_account() -> Account:
    """The account that runs the server, made where root has none yet. Raises `DestinationUnusable` with what to do."""
    known = known_server_account()
    if known is not None:
        return known
    tool = shutil.which("useradd", path=_TOOLS)
    if tool is None:
        raise DestinationUnusable(
            f"PostgreSQL refuses to run as root, and there is no account {SERVER_ACCOUNT} to run it and no useradd to "
            "make one: make a system account of that name, or run this as an ordinary account"
        )
    shell = next((path for path in _NO_LOGIN if Path(path).exists()), "/bin/false")
    words = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", shell]
    done = subprocess.run([tool, *words, SERVER_ACCOUNT], capture_output=True, text=True, errors="replace", check=False)
    made = known_server_account()
    if made is None:
        why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise DestinationUnusable(
            f"PostgreSQL refuses to run as root, and the account {SERVER_ACCOUNT} to run it could not be made ({why}): "
            "make a system account of that name, or run this as an ordinary account"
        )
    return made


def as_account(account: Account) -> dict[str, Any]:
    """Arguments of `subprocess` that make a child run as this account, without any of our groups."""
    if account.uid == os.geteuid():
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def can(account: Account, test: str, *paths: Path) -> bool:
    """Whether this account passes a shell's test on all of these paths, such as `-x`: really tried, ACLs and all."""
    script = f'for path do test {test} "$path" || exit 1; done'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *map(str, paths)], cwd="/", check=False, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={}, **as_account(account),
    )  # fmt: skip
    return done.returncode == 0


def closed_to(account: Account, folder: Path) -> Path | None:
    """The topmost folder on the way to this one, itself included, that the account cannot pass; None where it can."""
    if account.uid == os.geteuid() or can(account, "-x", folder):
        return None
    for parent in reversed([folder, *folder.parents]):
        if not can(account, "-x", parent):
            return parent
    return folder
