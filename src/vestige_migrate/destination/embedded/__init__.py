"""The bundled PostgreSQL of the extra `embedded`: a real server on a data directory that stays.

The wheel gives the programs (`programs.py`); everything else is ours: where the data lies (`place.py`), who runs the
server (`account.py`), who may connect (`access.py`, `sockets.py`), and which process it is (`identity.py`). Nothing of
the wheel's own start-up code is used: it opens folders to everybody, takes a number in a file for a process, and lets
everybody in.
"""

from __future__ import annotations

from vestige_migrate.destination.embedded.address import (
    DATABASE,
    PREFIX,
    EmbeddedServer,
    data_directory,
    is_embedded,
    psql_command,
)
from vestige_migrate.destination.embedded.programs import MAJOR, pgvector_version
from vestige_migrate.destination.embedded.settings import settings
from vestige_migrate.destination.embedded.start import check, has_data, look, start
from vestige_migrate.destination.embedded.stop import status, stop, stop_unused

__all__ = [
    "DATABASE",
    "MAJOR",
    "PREFIX",
    "EmbeddedServer",
    "check",
    "data_directory",
    "has_data",
    "is_embedded",
    "look",
    "pgvector_version",
    "psql_command",
    "settings",
    "start",
    "status",
    "stop",
    "stop_unused",
]
