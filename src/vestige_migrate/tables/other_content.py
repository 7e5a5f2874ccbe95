"""The error of a row whose id another row of the source has, too: one content is stored under it."""

from __future__ import annotations

from vestige_migrate.report.rows import Outcome, RowError
from vestige_migrate.tables.base import Table


def other_content_kept(table: Table, id_: str, row: str = "this one", file: str = "") -> RowError:
    """The error of a row that is not there because another one of the same key is; `file` where that is of a file
    before this one."""
    which = "this id" if len(table.key) == 1 else "these ids"
    if file:
        message = f"{file} has another content under {which} than a file before it, whose content was kept"
    else:
        message = f"another row of the source has {which} too, and its content was kept"
    return RowError(table.name, id_, None, f"{message}: {row} is not there", Outcome.OTHER_CONTENT_KEPT)
