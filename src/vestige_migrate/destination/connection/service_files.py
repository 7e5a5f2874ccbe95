"""Where libpq looks for a service: https://www.postgresql.org/docs/current/libpq-pgservice.html"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def service_files(given: Mapping[str, Any]) -> list[Path]:
    """The files in their order, there or not; `given` are the parameters of a connection."""
    own = given.get("servicefile") or os.environ.get("PGSERVICEFILE")
    found = [Path(own)] if own else []
    if not own:
        with suppress(RuntimeError):  # there is no home directory
            found.append(Path.home() / ".pg_service.conf")
    system = os.environ.get("PGSYSCONFDIR")
    return found + ([Path(system) / "pg_service.conf"] if system else [])
