"""`vestige migrate verify`: declared, not built yet."""

from __future__ import annotations

from vestige_migrate.cli import options
from vestige_migrate.errors import NotAvailable


def verify(
    sqlite_path: options.SqlitePath = None,
    postgres_url: options.PostgresUrl = "embedded",
    report: options.Report = None,
    debug: options.Debug = False,
) -> int:
    """Compare source and destination, row by row (not available yet)."""
    raise NotAvailable(
        "verify is not available yet: run copy again instead, which reports every row of the source as inserted, "
        "already there or failed, and inserts nothing that is there"
    )
