"""How the bundled server is asked for, and how it is reached."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from vestige_migrate.paths import absolute, expanded
from vestige_migrate.report.endpoints import USUAL_SCHEMA

PREFIX = "embedded"
DATABASE = "vestige"
MAINTENANCE = "postgres"
PORT = 5432
"""Only a part of the socket's name: the server listens on no network."""


@dataclass(frozen=True)
class EmbeddedServer:
    """A running bundled server. `started` says that this call started it; one that ran before is none of ours to stop.

    `data_directory` is as it was asked for; the data may lie behind a link.
    """

    data_directory: Path
    url: str = field(repr=False)
    psql: str = field(repr=False)
    started: bool = False

    def psql_in(self, schema: str | None) -> str:
        """The command that opens psql with the tables of this schema on its search_path; pgvector is in public."""
        if schema is None or schema == USUAL_SCHEMA:
            return self.psql
        program = shlex.split(self.psql)[0]
        return shlex.join([program, f"{self.url}&options={quote(_search_path(schema), safe='')}"])


def is_embedded(url: str) -> bool:
    """Whether a --postgres-url asks for the bundled server."""
    return url == PREFIX or url.startswith(PREFIX + ":")


def data_directory(url: str, default: Path) -> Path:
    """The data directory that `embedded` or `embedded:DIR` names."""
    _, _, given = url.partition(":")
    return absolute(expanded(given), f"--postgres-url {PREFIX}:DIR") if given else default


def url_of(sockets: Path, port: int = PORT, database: str = DATABASE) -> str:
    """The libpq URL of a server whose socket is in this folder.

    The port is said: PGPORT in somebody's environment would choose another socket. The path is percent-encoded by its
    bytes, whatever they are; a comma in it would still divide it (sockets.py).
    """
    return f"postgresql://postgres@/{database}?port={port}&host={quote(os.fsencode(sockets), safe='/')}"


def _search_path(schema: str) -> str:
    """The setting as `options` takes it: in there a backslash keeps a space from ending it."""
    quoted = schema.replace('"', '""')
    return re.sub(r"([\\\s])", r"\\\1", f'-csearch_path="{quoted}",{USUAL_SCHEMA}')


def psql_command(bin_path: Path, url: str) -> str:
    """The command line that opens psql on the server, quoted for a shell."""
    own = bin_path / "psql"
    return shlex.join([str(own) if own.exists() else "psql", url])
