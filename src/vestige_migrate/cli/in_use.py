"""What a run reads and the folders that it uses: places that none of its outputs may be."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vestige_migrate.cli.output_files import InUse, Used
from vestige_migrate.errors import MigrationError, PlanError
from vestige_migrate.paths import expanded
from vestige_migrate.places import database_places, server_places

_BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database, also where it is not there yet (https://sqlite.org/tempfiles.html)."""
_LIBPQ_FILES = {
    "passfile": "libpq's password file",
    "servicefile": "libpq's service file",
    "sslcert": "the client certificate",
    "sslkey": "the client's key",
    "sslrootcert": "the certificates of authorities",
    "sslcrl": "the list of revoked certificates",
    "sslkeylogfile": "the log of TLS keys",
}
_LIBPQ_FOLDERS = {"sslcrldir": "the folder of revoked certificates"}
_LIBPQ_DEFAULTS = (
    (".pgpass", "libpq's password file"),
    (".pg_service.conf", "libpq's service file"),
    (".postgresql/postgresql.crt", "the client certificate"),
    (".postgresql/postgresql.key", "the client's key"),
    (".postgresql/root.crt", "the certificates of authorities"),
    (".postgresql/root.crl", "the list of revoked certificates"),
)
"""Below the home directory (PostgreSQL's documentation, chapter "libpq", sections 32.16 to 32.19)."""


def in_use(sources: Sequence[Path], url: str) -> InUse:
    """Everything that a run with these sources and this `--postgres-url` reads or keeps its files in.

    What cannot be found out (a URL that is none) is left out: the run will be refused for it.
    """
    files = [used for source in (*sources, *_own_databases()) for used in _database_files(source)]
    folders = [*_server_folders(url), *_private_folders()]
    from vestige_migrate.destination.connection.service_files import service_files
    from vestige_migrate.destination.embedded import is_embedded

    given = {} if is_embedded(url) else _parameters(url)
    for known in (given, _defaults(), *_services(given)):
        files += [Used(Path(known[name]), what) for name, what in _LIBPQ_FILES.items() if known.get(name)]
        folders += [Used(Path(known[name]), what) for name, what in _LIBPQ_FOLDERS.items() if known.get(name)]
    files += [Used(path, "libpq's service file") for path in (*service_files(given), *service_files({}))]
    files += [Used(home / name, what) for home in _homes() for name, what in _LIBPQ_DEFAULTS]
    return InUse(*(tuple(each for each in found if _is_known(each.path)) for found in (files, folders)))


def _is_known(path: Path) -> bool:
    """False where the path is relative to a working folder that is gone: it names nothing then."""
    try:
        path.absolute()
    except OSError:
        return False
    return True


def _database_files(database: Path) -> list[Used]:
    path = expanded(database)
    try:
        real = Path(os.path.realpath(path))
    except OSError:  # the working folder is gone: the run will be refused for that
        return []
    found = []
    for each in dict.fromkeys((path.absolute(), real)):
        found.append(Used(each, "the source"))
        if each.name:
            found += [Used(each.with_name(each.name + end), f"the {end} file of the source") for end in _BESIDE]
    return found


def _own_databases() -> list[Path]:
    """Vestige's own file, wherever it may be: no output may be it whatever the run reads."""
    try:
        return database_places()
    except MigrationError:
        return []


def _server_folders(url: str) -> list[Used]:
    from vestige_migrate.destination import embedded

    try:
        own = server_places()
        where = embedded.data_directory(url, own[0]) if embedded.is_embedded(url) else own[0]
    except (MigrationError, OSError):
        return []
    return [Used(folder, "the data directory of the bundled server") for folder in dict.fromkeys((*own, where))]


def _private_folders() -> list[Used]:
    """Private copies of sources, of other runs too: they are removed with all that is in them."""
    from vestige_migrate.source.file.private_copies import private_folders

    try:
        found = private_folders()
    except OSError:
        return []
    return [Used(folder, "a private folder of a run") for folder in found]


def _parameters(url: str) -> Mapping[str, Any]:
    from vestige_migrate.destination.connection.connect import parse_url

    try:
        return parse_url(url)
    except PlanError:
        return {}


def _defaults() -> Mapping[str, str]:
    """What the environment gives libpq, a service in PGSERVICE included."""
    from psycopg.pq import Conninfo

    return {option.keyword.decode(): os.fsdecode(option.val) for option in Conninfo.get_defaults() if option.val}


def _services(given: Mapping[str, Any]) -> Iterator[Mapping[str, str]]:
    """The parameters of the service that the URL names, in whichever service file there is."""
    from vestige_migrate.destination.connection.service_files import service_files

    service = given.get("service")
    if not service:
        return
    for path in dict.fromkeys((*service_files(given), *service_files({}))):
        try:
            lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        except OSError:
            continue
        section = ""
        found: dict[str, str] = {}
        for line in (line.strip() for line in lines):
            if line.startswith("["):
                section = line[1:].partition("]")[0]
            elif section == service and "=" in line and not line.startswith("#"):
                name, _, value = line.partition("=")
                found[name.strip()] = value.strip()
        yield found


def _homes() -> list[Path]:
    try:
        return [Path.home()]
    except RuntimeError:
        return []
