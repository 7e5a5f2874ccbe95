"""Is the destination database in UTF-8? Any other encoding would refuse or change what memories hold."""

from __future__ import annotations

import re
import shlex

from vestige_migrate.destination.connection.connect import Connection
from vestige_migrate.errors import DestinationUnusable

UTF8 = "UTF8"
_FITS_UTF8 = re.compile(r"(C|POSIX|.*\.utf-?8(@.*)?)", re.IGNORECASE)
"""Locales beside which PostgreSQL makes a database in UTF-8 (its chk_encoding_locale_match)."""
_BUILTIN_LOCALES = 170_000
"""The version that brings C.UTF-8 of its own, whichever locales the server's system has."""
_NAME_BYTES = 63
_ENDING = "_utf8"


def check_encoding(connection: Connection) -> None:
    """Raises `DestinationUnusable`, with the command that makes a database that will do, where this is none."""
    found = connection.info.parameter_status("server_encoding")
    if found in (UTF8, None):  # the server always says it; a proxy that does not cannot be asked for more
        return
    info = connection.info
    row = connection.execute(
        "SELECT datctype::text, coalesce((SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user),"
        " false) FROM pg_database WHERE datname = 'template0'"
    ).fetchone()
    locale, may_create = row if row is not None else ("C", True)
    who = "make one" if may_create else "let a role that may create databases make one"
    command = make_command(info.host, info.port, info.user, info.dbname, str(locale), info.server_version)
    raise DestinationUnusable(
        f"the destination database {info.dbname} is in the encoding {found}, and memories need UTF8: {who} that is, "
        f"and give its URL: {command}"
    )


def make_command(host: str, port: int, user: str, database: str, template_locale: str, version: int) -> str:
    """A command line that makes a database in UTF-8 beside `database`.

    `template_locale` is the one of template0, which a new database takes over unless it is told another.
    """
    name = database.encode()[: _NAME_BYTES - len(_ENDING)].decode(errors="ignore") + _ENDING
    words = ["createdb", "-h", host, "-p", str(port), "-U", user, "-T", "template0", "-E", UTF8]
    if not _FITS_UTF8.fullmatch(template_locale):
        words.append("--locale=C")
        if version >= _BUILTIN_LOCALES:
            words += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return shlex.join([*words, name])
