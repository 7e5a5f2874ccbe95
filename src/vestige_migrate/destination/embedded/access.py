"""Who may connect: the accounts that run and that started the server, through its socket, and nobody else."""

from __future__ import annotations

import os
from pathlib import Path

from loguru import logger

from vestige_migrate.destination.embedded.account import Account
from vestige_migrate.destination.embedded.address import PORT
from vestige_migrate.destination.embedded.files import read_text, replace_file
from vestige_migrate.errors import DestinationUnusable

_ACCESS = "vestige-access.conf"
_MAP = "vestige-migrate"
# https://www.postgresql.org/docs/18/auth-peer.html: the kernel says whose process it is that connects.
_RULES = f"""\
# vestige-migrate: processes of the accounts in pg_ident.conf, by what the kernel says of them. No password, no network.
local all         all peer map={_MAP}
local replication all peer map={_MAP}
"""


def is_ours(data: Path) -> bool:
    """Whether the rules of this data directory are those of this version; earlier ones let everybody in."""
    return f"map={_MAP}" in (read_text(data / "pg_hba.conf") or "")


def write_rules(data: Path, account: Account) -> None:
    """Lets nobody in but the accounts that `guard` names."""
    replace_file(data / "pg_hba.conf", _RULES, account)


def guard(data: Path, sockets: Path, account: Account, starter: Account) -> list[str]:
    """Writes the rules, and gives the arguments of the server that no file of its own can overrule.

    The files say the same for a server that somebody starts by hand.
    """
    if not is_ours(data):
        before = read_text(data / "pg_hba.conf")
        if before is not None:
            replace_file(data / "pg_hba.conf.before", before, account)
            logger.warning(
                "{} was made by an earlier version, whose server let every account of this host in: from now on only "
                "{} may connect (the old rules are in pg_hba.conf.before)",
                data,
                " and ".join(dict.fromkeys((starter.name, account.name))),
            )
        write_rules(data, account)
    _write_map(data, account, starter)
    chosen = _settings(sockets)
    lines = "".join(f"{name} = {_quoted(value)}\n" for name, value in chosen.items())
    replace_file(data / _ACCESS, f"# vestige-migrate: written anew at every start\n{lines}", account)
    include(data, _ACCESS, account)
    return [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]


def _settings(sockets: Path) -> dict[str, str]:
    return {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": '"' + str(sockets).replace('"', '""') + '"',
        "unix_socket_permissions": "0700",
    }


def _write_map(data: Path, account: Account, starter: Account) -> None:
    # `all` as the database user is PostgreSQL 16's: these accounts own the server, and may be any role in it.
    wanted = [f"{_MAP} {_name(who.name)} all" for who in dict.fromkeys((account, starter))]
    text = read_text(data / "pg_ident.conf") or ""
    missing = [line for line in wanted if line not in text.splitlines()]
    if missing:
        replace_file(data / "pg_ident.conf", "".join(f"{line}\n" for line in [*text.splitlines(), *missing]), account)


def _name(name: str) -> str:
    if name.startswith("/"):  # a regular expression there, quoted or not
        raise DestinationUnusable(f"the account {name} cannot be named in pg_ident.conf: run this as another account")
    return '"' + name.replace('"', '""') + '"'


def include(data: Path, name: str, account: Account) -> None:
    """Makes the server's main settings include a file of ours."""
    main = data / "postgresql.conf"
    line = f"include_if_exists = '{name}'"
    text = read_text(main) or ""
    if line not in text.splitlines():
        replace_file(main, f"{text.rstrip(os.linesep)}\n{line}\n", account)


def _quoted(value: str) -> str:
    """A value in a configuration file (https://www.postgresql.org/docs/18/config-setting.html)."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
