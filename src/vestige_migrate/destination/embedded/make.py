"""A new data directory. It is made in a folder inside, and moved up when it is whole: PG_VERSION comes last."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from secrets import token_hex

from vestige_migrate.destination.embedded.access import include, write_rules
from vestige_migrate.destination.embedded.account import Account, as_account
from vestige_migrate.destination.embedded.files import make_folder, replace_file
from vestige_migrate.destination.embedded.place import CONFIG, MAKING
from vestige_migrate.destination.embedded.programs import environment
from vestige_migrate.destination.embedded.settings import settings_of_this_host
from vestige_migrate.errors import DestinationUnusable

_LAST = "PG_VERSION"
# The provider `builtin` (PostgreSQL 17) has C.UTF-8 on every system, whichever locales are installed, and its order
# never changes with an update of the system's library. Names as text search and lower() need them are in it.
_ARGUMENTS = (
    "--username=postgres", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
    "--auth-local=peer", "--auth-host=reject", "--no-instructions",
)  # fmt: skip


def make_data(data: Path, programs: Path, account: Account) -> None:
    """Makes the data in the folder, which is empty but for files of ours. Raises `DestinationUnusable`."""
    inside = data / f"{MAKING}-{token_hex(4)}"
    make_folder(inside, account)
    done = subprocess.run(
        [programs / "initdb", *_ARGUMENTS, "-D", inside], capture_output=True, check=False, cwd="/",
        stdin=subprocess.DEVNULL, env=environment(), **as_account(account),
    )  # fmt: skip
    if done.returncode:
        raise DestinationUnusable(
            f"the bundled PostgreSQL could not make its data in {data}: {_reason(done)}. Nothing of it is left there"
        )
    replace_file(inside / CONFIG, settings_of_this_host(), account)
    include(inside, CONFIG, account)
    write_rules(inside, account)
    for name in sorted((entry.name for entry in os.scandir(inside)), key=lambda name: (name == _LAST, name)):
        (inside / name).rename(data / name)
    inside.rmdir()
    _flush(data)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """What initdb gives as its reason, which is not always its last line."""
    lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "error:", "could not"))]
    line = (telling or lines or [f"initdb ended with code {done.returncode}"])[0]
    return line.removeprefix("initdb: ").removeprefix("error: ")
